"""Logits of every cell against the same by hand, for each kind of feature map that timm has."""

import pytest
import torch
import torch.nn.functional as F

from vit_tickets.pipeline.networks.registry import create_model
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.selection.cells import cell_logits, check_cells, set_image_size

SMALL_SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 24, "depths": (1, 1, 1), "num_heads": (1, 2, 3)}
SMALL_CONVIT = {"embed_dim": 48, "depth": 2, "local_up_to_layer": 1}
SMALL_DISTILLED = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}


def build(name: str, **options):
    """A network with random weights far from their small initial values, so that cells differ."""
    torch.manual_seed(0)
    network = create_model(name, num_classes=7, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return network


def images(side: int, count: int = 2):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def assert_same(found, expected):
    assert found.shape == expected.shape
    spread = expected.std(dim=1).max()
    assert spread > 0, "cells that are all alike would prove nothing"
    assert (found - expected).abs().max() < 1e-4 * max(1.0, expected.abs().max())


@pytest.mark.parametrize(("name", "classifier"), [("test_resnet", "fc"), ("test_nfnet", "head.fc")])
@torch.no_grad()
def test_the_classifier_of_a_convolutional_network_is_a_1x1_convolution(name, classifier):
    network, x = build(name), images(96)
    assert check_cells(network, 96) == 3
    linear = network.get_submodule(classifier)
    features = network.forward_features(x)
    by_hand = F.conv2d(features, linear.weight[:, :, None, None], linear.bias).flatten(2).transpose(1, 2)
    found = cell_logits(network, x)
    assert_same(found, by_hand)
    assert torch.allclose(found.mean(1), network(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_norm_between_pool_and_classifier_sees_each_cell():
    network, x = build("test_convnext"), images(96)
    head, features = network.head, network.forward_features(x)
    normed = F.layer_norm(features.permute(0, 2, 3, 1), (features.shape[1],), head.norm.weight, head.norm.bias, 1e-6)
    assert_same(cell_logits(network, x), head.fc(normed).flatten(1, 2))


@torch.no_grad()
def test_channels_last():
    network, x = build("swin_tiny_patch4_window7_224", **SMALL_SWIN), images(64)
    assert check_cells(network, 64) == 4
    found = cell_logits(network, x)
    assert_same(found, network.head.fc(network.forward_features(x)).flatten(1, 2))
    assert torch.allclose(found.mean(1), network(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_tokens_under_an_average_pool():
    network, x = build("deit_micro", img_size=24, patch_size=4, global_pool="avg", fc_norm=False), images(24)
    assert check_cells(network, 24) == 6
    found = cell_logits(network, x)
    assert_same(found, network.head(network.forward_features(x)[:, 1:]))
    assert torch.allclose(found.mean(1), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [("deit_micro", {"img_size": 32}), ("deit_tiny_distilled_patch16_224", SMALL_DISTILLED)],
)
@torch.no_grad()
def test_a_cls_token_attends_to_one_patch_alone_and_the_mean_is_the_image_s(name, options):
    """The same by an attention mask in the last block, one patch at a time."""
    network, x = build(name, **options), images(32)
    prefix, expected = network.num_prefix_tokens, []
    before = network._pos_embed(network.patch_embed(x))
    for block in network.blocks[:-1]:
        before = block(before)
    for patch in range(16):
        mask = torch.ones(prefix + 16, prefix + 16, dtype=torch.bool)
        mask[:prefix] = False
        mask[:prefix, prefix + patch] = True
        after = network.blocks[-1](before, attn_mask=mask)
        expected.append(network.forward_head(network.norm(after)))
    expected = torch.stack(expected, dim=1)
    expected += (network(x) - expected.mean(1)).unsqueeze(1)
    assert check_cells(network, 32) == 4
    assert_same(cell_logits(network, x), expected)


def test_position_embeddings_follow_the_image_size():
    network = build("deit_micro", img_size=32)
    set_image_size(network, 48)
    assert check_cells(network, 48) == 6


@pytest.mark.parametrize(
    ("name", "options", "side", "message"),
    [
        ("deit_micro", {}, 52, "expected an image size that the 6 cells of VisionTransformer divide, found 52"),
        ("mixer_s32_224", {}, 96, "MlpMixer cannot take images of 96 pixels"),
        ("convit_tiny", SMALL_CONVIT, 224, "a feature map or timm's plain ViT, found ConVit with a CLS token"),
    ],
)
def test_what_has_no_map_is_refused_in_one_line(name, options, side, message):
    network = create_model(name, num_classes=7, **options).eval()
    set_image_size(network, side)
    with pytest.raises(UserError, match=message) as refused:
        check_cells(network, side)
    assert len(str(refused.value).splitlines()) == 1


class Flat(torch.nn.Module):
    """A classifier that pools before anyone can see a map."""

    num_classes = 7

    def __init__(self, features):
        super().__init__()
        self.forward_features = lambda images: features


@pytest.mark.parametrize(
    "features", [torch.zeros(1, 16), torch.zeros(1, 15, 4), torch.zeros(1, 4, 3, 2), [torch.zeros(1, 4, 3, 3)]]
)
def test_features_that_are_no_square_map_are_refused(features):
    with pytest.raises(UserError, match="expected an annotator with a square feature map, found Flat with features"):
        check_cells(Flat(features), 32)
