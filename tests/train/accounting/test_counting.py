"""Multiply-adds of steps against what torch counts in the real step, and against formulas."""

from functools import partial
from typing import cast

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.bench import arithmetic
from tests.training import SMALL, Unplugged, metrics, run_of, trainer, trainer_of, unplug_after
from vit_tickets.pipeline.networks import vit
from vit_tickets.train.accounting.counting import (
    StepMacs,
    forward_pass,
    selection_pass,
    skeleton,
    training_pass,
)
from vit_tickets.train.loop.parts import part_sizes
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.models.online import OnlineSelector
from vit_tickets.train.models.pruned import PrunedViT
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.schedule import kept_at

FAMILIES = [
    ("deit_micro", 24, 4, 9),
    ("deit_tiny", 32, 8, 5),
    ("lvvit_micro", 24, 4, 9),
    ("swin_tiny", 32, None, 9),
    ("resnet20", 24, None, 9),
    ("resnet50", 32, None, 9),
    ("efficientnet_b0", 32, None, 9),
]


def registered(work) -> int:
    """Half of what FlopCounterMode registers in `work`; fused attention it would not register on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def real_pass(model, image_size, images, kept):
    """A forward pass, a loss and a backward pass on the CPU, with numbers."""
    kept_BK = None
    if kept is not None:
        kept_BK = torch.stack([torch.randperm(model.grid**2)[:kept].sort().values for _ in range(images)])
    outputs = model(torch.randn(images, 3, image_size, image_size), kept_BK)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    torch.stack([output.square().mean() for output in outputs]).sum().backward()


@pytest.mark.parametrize(("name", "side", "patch", "kept"), FAMILIES)
def test_a_training_pass_is_what_torch_registers_in_the_real_one(name, side, patch, kept):
    images, model = 3, build_model(name, 7, side, patch, 6 if side == 24 else 4, drop_path=0.1).train()
    for of in (None, kept):
        whole = StepMacs(model, side, model.grid**2, of is not None)([images], of or model.grid**2)
        assert whole == registered(partial(real_pass, model, side, images, of))
    computed = kept if model.can_drop_patches else None
    model.eval()
    with torch.no_grad():
        indices = torch.arange(kept).unsqueeze(0)
        for number in (None, computed):
            expected = registered(
                lambda of=None if number is None else indices: model(torch.randn(1, 3, side, side), of)
            )
            assert forward_pass(skeleton(model), side, number) == expected


def vit_step(network, tokens_of_patches, images):
    """A step of a plain ViT by its shapes alone: x W costs a product forward, one for x and one for W backward."""
    D, L, C = network.embed_dim, len(network.blocks), network.num_classes
    hidden, pixels = network.blocks[0].mlp.fc1.out_features, network.patch_embed.proj.weight[0].numel()
    n, T = tokens_of_patches, tokens_of_patches + network.num_prefix_tokens
    block = T * D * 3 * D + T * D * D + 2 * T * D * hidden + 2 * T * T * D  # qkv, projection, MLP, scores and their sum
    embedding = n * pixels * D  # twice: no gradient for pixels
    return images * (3 * (L * block + D * C) + 2 * embedding)


@pytest.mark.parametrize("kept", [1, 9, 35, 36])
def test_a_vit_costs_what_its_formula_says(kept):
    model = build_model("deit_micro", 10, 24, 4, None).train()
    macs = StepMacs(model, 24, 36, drops_patches=True)
    network = vit.check_is_vit(model.network)
    assert macs([5], kept) == vit_step(network, kept, 5)
    assert macs([2, 3], kept) == macs([5], kept)
    assert StepMacs(model, 24, 36, drops_patches=False)([5], kept) == vit_step(network, 36, 5)
    assert macs([5], kept) == 5 * arithmetic.training_step(arithmetic.Shape.of(network), kept)


@pytest.mark.parametrize("scorer", ["linear", "mlp"])
def test_what_a_scorer_chooses_costs_all_embeddings_and_the_scorer(scorer):
    """By the shapes, and by what torch registers: all patches are embedded and scored, k go through the blocks."""
    model = LearnedViT(build_model("deit_micro", 10, 24, 4, None).network, scorer).train()
    network, D = vit.check_is_vit(model.network), 96
    of_scorer = 36 * (D if scorer == "linear" else D * D // 4 + D // 4)
    embedding = 36 * 48 * D
    macs = StepMacs(model, 24, 36, drops_patches=True)
    for kept in (1, 9, 36):
        blocks = vit_step(network, kept, 5) - 5 * 2 * kept * 48 * D
        assert macs([5], kept) == blocks + 5 * (2 * embedding + 3 * of_scorer)
        assert macs([5], kept) == registered(lambda k=kept: model(torch.randn(5, 3, 24, 24), choose=k).sum().backward())
        whole = forward_pass(skeleton(model), 24, kept)
        with torch.no_grad():
            evaluated = registered(lambda k=kept: model.eval()(torch.randn(1, 3, 24, 24), choose=k))
        assert whole == evaluated == (blocks // 5) // 3 + embedding + of_scorer
        model.train()
    assert forward_pass(skeleton(model), 24, None) == forward_pass(model.network.to("meta"), 24, None)


def test_the_published_size_of_deit_small():
    """4.6 billion multiply-adds of DeiT-S (timm's table, Touvron et al. 2021), 4.1 of ResNet-50 (He et al. 2016)."""
    with torch.device("meta"):
        model = build_model("deit_small", 1000, 224, 16, None)
    assert round(forward_pass(model, 224, None) / 1e9, 1) == 4.6
    with torch.device("meta"):
        model = build_model("resnet50", 1000, 224, None, 14)
    assert round(forward_pass(model, 224, None) / 1e9, 1) == 4.1


def test_weights_without_gradients_cost_no_backward_pass():
    model = build_model("deit_micro", 10, 24, 4, None).train()
    forward = 3 * forward_pass(skeleton(model), 24, None)
    model.requires_grad_(False)
    model.network.head.requires_grad_(True)
    found = StepMacs(model, 24, 36, False)([3], 36)
    assert found == registered(lambda: real_pass(model, 24, 3, None))
    assert found == forward + 3 * 96 * 10  # the gradient of the head's weights
    model.requires_grad_(False)
    assert StepMacs(model, 24, 36, False)([3], 36) == forward


def test_a_selector_counts_as_its_tokens_become_fewer():
    network = vit.check_is_vit(build_model("deit_micro", 10, 24, 4, None).network)
    shape, stages, plan = arithmetic.Shape.of(network), (2, 4), (18, 9)
    pruned = PrunedViT(network, stages, plan)
    found = training_pass(skeleton(pruned).eval(), 24, 3, None)
    assert found == registered(lambda: real_pass(pruned.eval(), 24, 3, None))
    truncated, whole = (selection_pass(skeleton(network), 24, 2, stages, plan, whole) for whole in (False, True))
    assert truncated == 2 * arithmetic.selection(shape, stages, plan)
    assert whole == 2 * of_whole_selector(shape, stages, plan)
    images = torch.randn(2, 3, 24, 24)
    for found, predictions in ((truncated, False), (whole, True)):
        assert found == registered(lambda of=predictions: vit.identify_tokens(network, images, stages, [plan], of))


def of_whole_selector(shape, stages, plan):
    """Of one image: keys and query of the last identification are computed apart, besides its attention."""
    again = ((shape.num_patches, *plan)[-2] + shape.num_prefix + 1) * shape.width**2
    return arithmetic.pruned_forward(shape, stages, plan) + again


def test_nothing_of_the_model_is_changed_or_computed():
    model = build_model("resnet20", 10, 24, None, 6).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    StepMacs(model, 24, 36, drops_patches=True)([4], 9)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert {tensor.device.type for tensor in skeleton(model).state_dict().values()} == {"meta"}


def test_the_count_does_not_depend_on_the_kernels():
    """On the CPU torch registers no fused attention; here it is counted all the same."""
    model = build_model("deit_micro", 10, 24, 4, None).train()
    with FlopCounterMode(display=False) as fused:
        real_pass(model, 24, 2, None)
    attention = 2 * 4 * 6 * 37**2 * 96
    assert StepMacs(model, 24, 36, False)([2], 36) == fused.get_total_flops() // 2 + attention


def test_a_model_that_cannot_be_counted_is_trained_all_the_same():
    class Odd(nn.Module):
        can_drop_patches = False

        def forward(self, images, kept_BK=None):
            return images.sum().item() * images

    macs = StepMacs(Odd(), 24, 36, False)
    assert macs([2], 36) is None
    assert "meta" in str(macs.fault)


# --- whole runs


def real_steps(run_trainer, number=None):
    """What torch registers in each step of an epoch, and what the trainer says of it."""
    real, said = [], []
    loss_of, update, macs_of = run_trainer.learner.loss, run_trainer.learner.update, run_trainer._macs_of

    def losing(inputs):
        values = []
        real.append(registered(lambda: values.append(loss_of(inputs))))
        return values[0]

    def updating(loss, step):
        real[-1] += registered(lambda: update(loss, step))

    def saying(batch, step):
        said.append(macs_of(batch, step))
        return said[-1]

    run_trainer.learner.loss, run_trainer.learner.update, run_trainer._macs_of = losing, updating, saying
    run_trainer.fit()
    return real, said


@pytest.mark.parametrize(
    ("model", "path", "recipe", "passed"),
    [
        ("deit_micro", "dense", {}, {}),
        ("deit_micro", "lt", {}, {}),
        ("deit_micro", "rc", {"ema": 0.9}, {"grad_accum": 3}),
        ("deit_micro", "small", {}, {}),
        ("deit_micro", "lt", {"keep_warmup": (0.0, 1.0)}, {}),
        ("lvvit_micro", "lt", {"mix_token": 1.0}, {"grad_accum": 3}),
        ("resnet20", "lt", {}, {}),
        ("deit_micro", "learned", {"ema": 0.9}, {"grad_accum": 3}),
        ("deit_micro", "learned", {"keep_warmup": (0.0, 1.0)}, {}),
    ],
)
def test_the_steps_of_a_run_cost_what_torch_registers(
    numbered_data, numbered_tickets, tmp_path, model, path, recipe, passed
):
    recipe = SMALL.override(epochs=1, limit=24, drop_path=0.1, **recipe)
    tickets = numbered_tickets if path != "dense" else None
    made = trainer(numbered_data, tmp_path, path, tickets, model=model, recipe=recipe, passed=passed)
    real, said = real_steps(made)
    assert said == real
    assert metrics(tmp_path)[0]["macs"] == sum(real)
    assert isinstance(metrics(tmp_path)[0]["macs"], int)


@pytest.mark.parametrize("known", [True, False])
def test_a_run_that_resumes_within_an_epoch_counts_all_of_its_steps(numbered_data, tmp_path, known):
    recipe = SMALL.override(epochs=2, limit=24)
    first = trainer(numbered_data, tmp_path, recipe=recipe, passed={"checkpoint_minutes": 0.0})
    unplug_after(first, 2)
    with pytest.raises(Unplugged):
        first.fit()
    state = torch.load(tmp_path / "last.pt")
    assert state["position"]["segments"][0]["steps"] == 2
    if not known:  # as older versions wrote it
        del state["sums"]["macs"]
        torch.save(state, tmp_path / "last.pt")
    second = trainer(numbered_data, tmp_path, recipe=recipe)
    second.restore()
    second.fit()
    expected = vit_step(second.learner.model.network, 36, 24)
    assert [line.get("macs") for line in metrics(tmp_path)] == [expected if known else None, expected]


@pytest.mark.parametrize("mode", ["full", "truncated"])
def test_online_selection_is_part_of_a_step(numbered_data, selector_run, tmp_path, mode):
    recipe = SMALL.override(epochs=1, limit=24, keep_warmup=(0.2, 1.0))
    how = {"tickets": "online", "selector": selector_run, "online": mode, "sparsity": 0.5}
    made = trainer_of(run_of(numbered_data, tmp_path, "lt", recipe=recipe, **how))
    network, online = made.learner.model.network, made.prepare.online
    assert isinstance(online, OnlineSelector)
    shape = arithmetic.Shape.of(vit.check_is_vit(cast("nn.Module", online.network)))
    of_selector = {"full": of_whole_selector, "truncated": arithmetic.selection}[mode]
    kept = [kept_at((0.2, 1.0), 18, 36, number / 3) for number in range(3)]
    assert kept[0] == 36 > kept[1] > kept[2] > 18
    made.fit()
    selected = 2 * 8 * of_selector(shape, online.stages, online.counts)  # the first step has nothing to choose
    assert metrics(tmp_path)[0]["macs"] == sum(vit_step(network, each, 8) for each in kept) + selected


def test_a_path_selector_counts_its_pruned_tokens(numbered_data, selector_run, tmp_path):
    recipe = SMALL.override(epochs=1, limit=16)
    made = trainer(numbered_data, tmp_path, "selector", recipe=recipe, init=selector_run, sparsity=0.5)
    real, said = real_steps(made)
    assert said == real


@pytest.mark.parametrize("path", ["dense", "lt"])
def test_a_frozen_network_costs_no_gradients(numbered_data, numbered_tickets, selector_run, tmp_path, path):
    recipe = SMALL.override(epochs=1, limit=16, frozen=True)
    made = trainer(numbered_data, tmp_path, path, numbered_tickets, recipe=recipe, init=selector_run)
    real, said = real_steps(made)
    assert said == real
    assert real[0] < vit_step(made.learner.model.network, 18 if path == "lt" else 36, 8) / 2


def test_images_that_are_left_out_cost_nothing(tmp_path):
    model = build_model("deit_micro", 10, 24, 4, None).train()
    macs = StepMacs(model, 24, 36, True)
    assert macs(part_sizes(7, 3, False), 9) == vit_step(model.network, 9, 7)


def test_as_many_tokens_cost_as_much_at_every_image_size():
    def passed(side, kept):
        model = skeleton(build_model("deit_micro", 7, side, 4, None, drop_path=0.1).train())
        return training_pass(model, side, 2, kept), forward_pass(model, side, kept)

    assert passed(24, None) == passed(24, 36) == passed(36, 36) == passed(44, 36)
    assert passed(36, None) > passed(36, 36)
