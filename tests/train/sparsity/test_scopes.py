"""Which parameters are in a scope, with the numbers of weights that the papers count."""

from math import prod

import pytest
import timm
import torch
from torch import nn

from vit_tickets.pipeline.networks import registry  # noqa: F401 - registers our networks
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity.scopes import default_scope, masked_parameters


def built(model, **settings) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(model, **settings)


def weights(network, scope):
    return sum(parameter.numel() for parameter in masked_parameters(network, scope).values())


@pytest.mark.parametrize(
    ("scope", "count"), [("msa", 7_077_888), ("mlp", 14_155_776), ("blocks", 21_233_664), ("all", 21_912_576)]
)
def test_the_scopes_of_deit_small(scope, count):
    network = built("deit_small_patch16_224")
    names = list(masked_parameters(network, scope))
    assert weights(network, scope) == count
    assert names == [name for name, _ in network.named_parameters() if name in names]
    assert all(name.endswith(".weight") and "norm" not in name for name in names)
    assert {"patch_embed.proj.weight", "head.weight"}.issubset(names) == (scope == "all")


def test_attention_and_mlp_make_up_the_blocks_and_share_nothing():
    for model in ("deit_micro", "lvvit_micro", "eva02_tiny_patch14_224", "deit_tiny_distilled_patch16_224"):
        network = built(model)
        msa, mlp = masked_parameters(network, "msa"), masked_parameters(network, "mlp")
        assert msa.keys() | mlp.keys() == masked_parameters(network, "blocks").keys()
        assert not msa.keys() & mlp.keys()
        assert all(".attn." in name for name in msa)
        assert all(".mlp." in name for name in mlp)


def test_swins_table_of_positions_is_in_no_scope_though_it_has_two_dimensions():
    network = built("swin_tiny_patch4_window7_224")
    blocks = masked_parameters(network, "blocks")
    assert len(blocks) == 4 * 12
    assert not any("relative_position" in name for name in masked_parameters(network, "all"))
    assert "layers.1.downsample.reduction.weight" in masked_parameters(network, "all").keys() - blocks.keys()


def test_the_convolutions_of_a_resnet_are_those_behind_its_stem():
    network = built("resnet20", num_classes=10)
    names = masked_parameters(network, "conv")
    assert names.keys() == {
        name for name in masked_parameters(network, "all") if name not in ("conv1.weight", "fc.weight")
    }
    assert masked_parameters(network, "conv+stem").keys() - names.keys() == {"conv1.weight"}
    deep = built("resnet18d")
    stem = masked_parameters(deep, "conv+stem").keys() - masked_parameters(deep, "conv").keys()
    assert stem == {"conv1.0.weight", "conv1.3.weight", "conv1.6.weight"}
    vgg = built("vgg11")
    stem = masked_parameters(vgg, "conv+stem").keys() - masked_parameters(vgg, "conv").keys()
    assert stem == {"features.0.weight"}


def test_the_default_follows_from_the_network():
    assert [default_scope(built(model)) for model in ("deit_micro", "swin_tiny_patch4_window7_224")] == ["blocks"] * 2
    assert [default_scope(built(model)) for model in ("resnet20", "convnext_tiny", "vgg11")] == ["conv"] * 3
    with pytest.raises(UserError, match=r"expected a network with blocks .* found Sequential"):
        default_scope(nn.Sequential(nn.Linear(3, 3)))


def test_a_scorer_of_tokens_and_a_shared_weight():
    network = built("deit_micro")
    before = masked_parameters(network, "all").keys()
    network.token_scorer = nn.Sequential(nn.Linear(96, 1))
    assert masked_parameters(network, "all").keys() == before
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert list(masked_parameters(tied, "all")) == ["0.weight"]


@pytest.mark.parametrize(
    ("model", "scope", "message"),
    [
        (
            "resnet20",
            "blocks",
            "expected weights in scope blocks .* found none in CifarResNet; --prune-scope conv has some",
        ),
        ("deit_micro", "conv", "found none in VisionTransformer; --prune-scope blocks has some"),
        ("deit_micro", "heads", "expected a scope among msa, mlp, .* found 'heads'"),
        ("resnetv2_50x1_bit", "conv", "use their weights as they are, found stages.0.blocks.0.downsample.conv"),
    ],
)
def test_what_is_refused(model, scope, message):
    with pytest.raises(UserError, match=message):
        masked_parameters(built(model), scope)


def test_every_mask_is_of_a_matrix_or_a_kernel():
    network = built("lvvit_micro")
    shapes = {name: tuple(weight.shape) for name, weight in masked_parameters(network, "all").items()}
    assert {len(shape) for shape in shapes.values()} == {2, 4}
    assert sum(map(prod, shapes.values())) == weights(network, "all")
