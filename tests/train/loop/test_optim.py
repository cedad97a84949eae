"""Which weights decay, and by which optimizer they move."""

import pytest
import torch

from tests.reference import small_lvvit
from vit_tickets.train.loop.optim import (
    build_optimizer,
    learning_rate_of,
    load_state,
    set_learning_rate,
    start_momentum,
)
from vit_tickets.train.models.frozen import freeze
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.presets import CIFAR_RESNET, DEIT, FINETUNE, LVVIT, PROBE, RESNET50, SWIN


def groups(network, recipe):
    """Names of the parameters by weight decay."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    optimizer = build_optimizer(network, recipe)
    found = {
        group["weight_decay"]: {names.pop(id(parameter)) for parameter in group["params"]}
        for group in optimizer.param_groups
    }
    assert not names
    return optimizer, found


@pytest.fixture(scope="module")
def vit():
    return build_model("deit_micro", 10, 32, 4, None).network


def test_a_vits_biases_norms_positions_and_token_do_not_decay(vit):
    optimizer, found = groups(vit, DEIT)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["eps"] == 1e-8
    assert found.keys() == {0.0, 0.05}
    assert {"pos_embed", "cls_token", "norm.weight", "head.bias", "blocks.0.norm1.weight"} <= found[0.0]
    assert {"patch_embed.proj.weight", "head.weight", "blocks.3.attn.qkv.weight"} <= found[0.05]
    assert all(name.endswith(("weight",)) and "norm" not in name for name in found[0.05])


def test_lv_vits_stem_and_both_heads_decay():
    network = small_lvvit()
    _, found = groups(network, LVVIT)
    assert {"pos_embed", "cls_token", "aux_head.bias", "patch_embed.bn1.weight", "patch_embed.proj.bias"} <= found[0.0]
    assert all(network.get_parameter(name).ndim > 1 for name in found[0.05])
    matrices = {name for name, p in network.named_parameters() if p.ndim > 1} - {"pos_embed", "cls_token"}
    assert found[0.05] == matrices


def test_swins_position_bias_does_not_decay():
    network = build_model("swin_tiny", 10, 224, None, 14).network
    _, found = groups(network, SWIN)
    tables = {name for name, _ in network.named_parameters() if "relative_position_bias_table" in name}
    assert len(tables) == 12
    assert tables <= found[0.0]
    assert all(name.endswith(".weight") and "norm" not in name for name in found[0.05])


def test_resnets_move_by_sgd():
    network = build_model("resnet18", 10, 32, None, 2).network
    optimizer, found = groups(network, RESNET50)
    assert isinstance(optimizer, torch.optim.SGD)
    assert all((group["momentum"], group["nesterov"]) == (0.9, True) for group in optimizer.param_groups)
    assert all("bn" not in name and name.endswith(".weight") for name in found[2e-5])
    plain, found = groups(network, CIFAR_RESNET)
    assert all((group["momentum"], group["nesterov"]) == (0.9, False) for group in plain.param_groups)
    assert found.keys() == {0.0, 1e-4}
    still, _ = groups(network, RESNET50.override(momentum=0.0))
    assert all((group["momentum"], group["nesterov"]) == (0.0, False) for group in still.param_groups)


def test_the_rate_is_set_on_all_groups(vit):
    optimizer = build_optimizer(vit, DEIT)
    assert [group["lr"] for group in optimizer.param_groups] == [DEIT.peak_lr] * 2
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25] * 2


def two_convolutions() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 5, 3))


def move(network, optimizer, steps: int) -> None:
    for step in range(steps):
        set_learning_rate(optimizer, 0.1 / (1 + step))
        optimizer.zero_grad()
        network(torch.randn(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("recipe", [DEIT, RESNET50], ids=["adamw", "sgd"])
@pytest.mark.parametrize("before", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
@pytest.mark.parametrize("after", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
def test_weights_move_as_by_the_plain_loop_also_after_a_stop(recipe, before, after):
    ours, theirs = (two_convolutions().to(memory_format=layout) for layout in (before, torch.contiguous_format))
    optimizer, plain = (build_optimizer(network, recipe) for network in (ours, theirs))
    for group in plain.param_groups:
        group["fused"], group["foreach"] = False, False
    for network, moves in ((ours, optimizer), (theirs, plain)):
        torch.manual_seed(1)
        move(network, moves, 3)
    resumed = two_convolutions().to(memory_format=after)
    resumed.load_state_dict(ours.state_dict())
    goes_on = build_optimizer(resumed, recipe)
    load_state(goes_on, optimizer.state_dict())
    assert goes_on.param_groups[0]["fused"] == (after == torch.contiguous_format)
    for network, moves in ((resumed, goes_on), (theirs, plain)):
        torch.manual_seed(2)
        move(network, moves, 3)
    for mine, other in zip(resumed.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def scales(network, recipe):
    """The scale of each parameter's rate."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = build_optimizer(network, recipe).param_groups
    return {names[id(each)]: group["lr_scale"] for group in groups for each in group["params"]}


def test_each_layer_has_a_share_of_the_rate_of_the_layer_above_it(vit):
    found = scales(vit, FINETUNE)
    assert found.keys() == dict(vit.named_parameters()).keys()
    assert found["head.weight"] == found["head.bias"] == 1.0
    layers = [*(f"blocks.{number}.attn.qkv.weight" for number in (3, 2, 1, 0)), "patch_embed.proj.weight"]
    below = [found[name] for name in layers]
    assert below == pytest.approx([0.75 ** (1 + place) for place in range(5)])
    assert found["norm.weight"] == below[0]
    assert found["pos_embed"] == found["cls_token"] == below[-1]


@pytest.mark.parametrize(("model", "stem", "head"), [("lvvit_micro", "patch_embed.conv1.weight", "aux_head.weight"),
                                                     ("swin_tiny", "patch_embed.proj.weight", "head.fc.weight"),
                                                     ("resnet18", "conv1.weight", "fc.weight"),
                                                     ("resnet20", "conv1.weight", "fc.weight")])  # fmt: skip
def test_every_family_has_layers_from_stem_to_head(model, stem, head):
    found = scales(build_model(model, 10, 224 if model == "swin_tiny" else 32, None, 4).network, FINETUNE)
    assert found[head] == 1.0
    assert found[stem] == min(found.values()) < 0.5


def test_the_rate_of_a_step_is_the_heads_and_the_others_keep_their_scale(vit):
    optimizer = build_optimizer(vit, FINETUNE)
    set_learning_rate(optimizer, 0.3)
    assert learning_rate_of(optimizer) == 0.3
    assert {group["lr"] for group in optimizer.param_groups} == {
        0.3 * group["lr_scale"] for group in optimizer.param_groups
    }
    plain = build_optimizer(vit, FINETUNE.override(layer_decay=1.0))
    set_learning_rate(plain, 0.3)
    assert {group["lr"] for group in plain.param_groups} == {0.3}
    assert learning_rate_of(plain) == 0.3


@pytest.mark.parametrize(
    ("model", "heads"),
    [("deit_micro", {"head"}), ("lvvit_micro", {"head", "aux_head"}), ("resnet20", {"fc"}), ("swin_tiny", {"head.fc"})],
)
def test_of_a_frozen_network_the_head_alone_moves(model, heads):
    network = build_model(model, 10, 224 if model == "swin_tiny" else 32, None, 4).network
    freeze(network)
    optimizer = build_optimizer(network, PROBE)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    moved = {names[id(each)] for group in optimizer.param_groups for each in group["params"]}
    assert moved == {f"{layer}.{kind}" for layer in heads for kind in ("weight", "bias")}
    assert learning_rate_of(optimizer) == PROBE.peak_lr


@pytest.mark.parametrize("recipe", [RESNET50, CIFAR_RESNET, RESNET50.override(momentum=0.0), DEIT])
def test_a_first_step_that_is_skipped_leaves_no_trace(recipe):
    """Without momentum ahead of it, SGD's second step would add whatever lay in memory."""
    moved = []
    for skips in (False, True):
        network = two_convolutions()
        before = [weight.detach().clone() for weight in network.parameters()]
        optimizer, scaler = build_optimizer(network, recipe), torch.amp.GradScaler("cpu", init_scale=4)
        start_momentum(optimizer)
        stale = [torch.full_like(weight, 7e5) for weight in before]
        del stale  # what the kernel would find
        for factor in [torch.inf] * skips + [1.0, 2.0]:
            for weight in network.parameters():
                weight.grad = torch.full_like(weight, 4 * factor)
            scaler.scale(torch.zeros(1))
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update(4.0)
        moved.append([weight.detach() - start for weight, start in zip(network.parameters(), before, strict=True)])
    assert all(torch.equal(*pair) for pair in zip(*moved, strict=True))


def test_momentum_ahead_of_the_first_step_changes_nothing():
    ways = []
    for start in (False, True):
        network = two_convolutions()
        optimizer = build_optimizer(network, RESNET50)
        if start:
            start_momentum(optimizer)
        for step in range(3):
            for number, weight in enumerate(network.parameters()):
                generator = torch.Generator().manual_seed(10 * step + number)
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        ways.append([weight.detach() for weight in network.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*ways, strict=True))
