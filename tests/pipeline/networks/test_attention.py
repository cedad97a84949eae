"""Attention as it is read, against what timm's own networks multiply their values with."""

import pytest
import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from vit_tickets.pipeline.networks import attention, vit
from vit_tickets.pipeline.system.errors import UserError

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 5}
ROTARY = {"use_rot_pos_emb": True, "use_abs_pos_emb": False}
VITS = {
    "registers": {"reg_tokens": 4, "init_values": 0.1},
    "registers beside the positions": {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1},
    "queries and keys normalised": {"qk_norm": True, "qkv_bias": False},
    "norms around the blocks, as CLIP": {"pre_norm": True},
    "no CLS token, as SigLIP": {"class_token": False, "global_pool": "map"},
    "images of any size": {"dynamic_img_size": True, "reg_tokens": 1},
}
EVAS = {
    "as DINOv3": {"num_reg_tokens": 4, "qkv_bias": False, "rope_type": "dinov3", "rope_rotate_half": True} | ROTARY,
    "as DINOv3, any size": {"num_reg_tokens": 4, "rope_type": "dinov3", "dynamic_img_size": True} | ROTARY,
    "as EVA-02": {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "use_rot_pos_emb": True},
    "fused with biases": {"qkv_bias": True, "init_values": 0.1},
    "a rotation of its own in each block": {"rope_type": "mixed", "num_reg_tokens": 1} | ROTARY,
    "normalised, attention with rotation": {"attn_type": "rope", "qk_norm": True} | ROTARY,
    "fewer keys than queries": {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 2} | ROTARY,
    "norm after attention": {"use_post_norm": True, "use_rot_pos_emb": True},
    "no CLS token": {"class_token": False, "global_pool": "map", "num_reg_tokens": 2},
}


def build(kind, options):
    torch.manual_seed(0)
    network = kind(**SMALL | options).eval()
    for parameter in network.parameters():  # far from initialisation, so that attention differs between patches
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def multiplied(layers, network, images):
    """What each of `layers` multiplies its values with, unfused: (B, H, T, T) each."""
    seen, hooks = [], []
    for layer in layers:
        layer.fused_attn = False
        hooks.append(layer.attn_drop.register_forward_hook(lambda *call: seen.append(call[2])))
    with torch.no_grad():
        network(images)
    for hook, layer in zip(hooks, layers, strict=True):
        hook.remove()
        layer.fused_attn = True
    return seen


CASES = [(VisionTransformer, options) for options in VITS.values()] + [(Eva, options) for options in EVAS.values()]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=[*VITS, *EVAS])
def test_attention_is_that_of_timm(kind, options):
    network, images = build(kind, options), torch.randn(2, 3, 16, 16)
    assert attention.check_transformer(network) is network
    attention.check_blocks(network)
    expected = multiplied([block.attn for block in network.blocks], network, images)
    x_BTD, ropes = attention.enter(network, images)
    prefix = network.num_prefix_tokens
    assert x_BTD.shape[1] == prefix + 16
    for block, rope, of_heads in zip(network.blocks, ropes, expected, strict=True):
        given = attention.input_of(block, x_BTD)
        mean = of_heads.mean(dim=1)
        torch.testing.assert_close(vit.attention_map(block.attn, given, rope), mean, rtol=1e-4, atol=1e-6)
        if attention.has_cls(network):
            row = vit.cls_attention(block.attn, given, prefix, rope)
            torch.testing.assert_close(row, mean[:, 0, prefix:], rtol=1e-4, atol=1e-6)
        x_BTD = attention.after(block, x_BTD, rope)
    with torch.no_grad():
        torch.testing.assert_close(network.norm(x_BTD), network.forward_features(images))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (VisionTransformer, {"class_token": False, "global_pool": "map"}),
        (VisionTransformer, {"reg_tokens": 3, "global_pool": "map", "pool_include_prefix": True}),
        (VisionTransformer, {"reg_tokens": 3, "global_pool": "map", "pool_include_prefix": False}),
        (Eva, {"num_reg_tokens": 2, "global_pool": "map"}),
    ],
)
def test_the_pool_attends_as_in_timm(kind, options, monkeypatch):
    network, images = build(kind, options), torch.randn(2, 3, 16, 16)
    network.attn_pool.fused_attn = False
    seen, softmax = [], torch.Tensor.softmax
    monkeypatch.setattr(
        torch.Tensor, "softmax", lambda *call, **named: seen.append(softmax(*call, **named)) or seen[-1]
    )
    with torch.no_grad():
        tokens = _tokens(network, images)
        network.forward_head(network.norm(tokens))
    expected = seen[-1].mean(dim=1)[:, 0, -16:]  # (B, H, 1, T), patches last
    torch.testing.assert_close(attention.pool_attention(network, tokens), expected, rtol=1e-4, atol=1e-6)


def _tokens(network, images):
    x_BTD, ropes = attention.enter(network, images)
    for block, rope in zip(network.blocks, ropes, strict=True):
        x_BTD = attention.after(block, x_BTD, rope)
    return x_BTD


def test_other_networks_are_refused():
    with torch.device("meta"):
        with pytest.raises(UserError, match="VisionTransformer or Eva"):
            attention.check_transformer(timm.create_model("resnet18"))
        with pytest.raises(UserError, match="expected a selector built on timm's Block and Attention"):
            attention.check_blocks(timm.create_model("vit_base_patch16_18x2_224"))
        with pytest.raises(UserError, match=r"expected a selector with attention pooling.*pass --method column-sum"):
            attention.check_pool(timm.create_model("vit_tiny_patch16_224"))


@pytest.mark.parametrize(
    ("name", "side"),
    [("vit_tiny_patch16_224", 16), ("vit_small_patch14_reg4_dinov2", 14), ("vit_base_r50_s16_224", 16)],
)
def test_a_token_stands_for_a_square_of_the_image(name, side):
    with torch.device("meta"):
        assert vit.patch_side(timm.create_model(name)) == side
