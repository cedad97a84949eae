"""Swapping weights within layers, against slow loops over flat lists."""

import numpy as np
import pytest
import torch

from tests.train.sparsity import reference
from tests.train.sparsity.stepping import Stepping, layers
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import EpochState
from vit_tickets.train.sparsity.allocation import alive_counts
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.methods.grow import Grow
from vit_tickets.train.sparsity.schedule import Growth

STEPS = 40
EVERY_FOUR = Growth(1, every=4)


def drawn(model, step, values=None):
    """Gradients of a step; with `values` whole numbers below it, so that many are equal."""
    generator = torch.Generator().manual_seed(1000 + step)
    return {
        name: torch.randn(weight.shape, generator=generator)
        if values is None
        else torch.randint(-values, values, weight.shape, generator=generator).float()
        for name, weight in model.network.named_parameters()
    }


def flat(tensor):
    return tensor.detach().flatten().numpy()


@pytest.mark.parametrize("values", [None, 2])
def test_swaps_of_a_hundred_layers_are_those_of_the_loops(values):
    rng = np.random.default_rng(1)
    shapes = [(int(rng.integers(2, 9)), int(rng.integers(2, 9))) for _ in range(100)]
    model = layers(*shapes)
    if values:
        with torch.no_grad():
            for weight in model.network.parameters():
                weight.mul_(4).round_()
    hook = Grow(RandomMasks("all", 0.45, 3), EVERY_FOUR)
    run = Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.0), STEPS)
    counts = hook.masks.counts()
    assert counts == alive_counts("erk", {f"{i}.weight": shape for i, shape in enumerate(shapes)}, 0.45)
    assert any(count == shape[0] * shape[1] for count, shape in zip(counts.values(), shapes, strict=True))
    swapped = {}
    for number in range(STEPS):
        before, gradients = {name: flat(mask) for name, mask in hook.masks.alive.items()}, drawn(model, number, values)
        weights = {name: flat(weight).copy() for name, weight in hook.masks.parameters.items()}
        run.gradients(gradients)
        after = {name: flat(mask) for name, mask in hook.masks.alive.items()}
        swapped[number] = sum(int((after[name] ^ before[name]).sum()) for name in before)
        if number in range(4, 32, 4):
            share = 0.25 * (1 + np.cos(np.pi * number / 32))
            for name, alive in before.items():
                expected = reference.swapped(weights[name], flat(gradients[name]), alive, share)
                assert (after[name] == expected).all(), (number, name)
                assert not (after[name] & ~alive & (flat(hook.masks.parameters[name]) != 0)).any()
        run.move()
        assert hook.masks.counts() == counts
    assert [number for number in swapped if swapped[number]] == list(range(4, 28, 4))  # at 28 less than a weight is due
    assert hook.after_epoch(EpochState(1, model, model, run.optimizer, World(0, 1, "cpu"))) == {
        "weight_sparsity": hook.masks.sparsity,
        "weights_changed": sum(swapped.values()),
    }
    assert hook.changed == 0


def test_nothing_grows_that_was_alive_before_the_change():
    """Not even a weight that has just died, and has the largest gradient."""
    model = layers((4, 5))
    hook = Grow(RandomMasks("all", 0.4, 0, "uniform"), EVERY_FOUR)
    run = Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.0), STEPS)
    run.number = 4
    alive = hook.masks.alive["0.weight"].clone()
    smallest = flat(hook.masks.parameters["0.weight"].abs().masked_fill(~alive, torch.inf)).argsort()[:2]
    gradient = torch.ones(20)
    gradient[smallest] = 100.0
    run.gradients({"0.weight": gradient.view(4, 5)})
    assert not hook.masks.alive["0.weight"].flatten()[smallest].any()


def test_the_swap_is_no_larger_than_what_is_dead():
    """At a sparsity of 30%, half of the living are more than all the dead."""
    model = layers((10, 10))
    hook = Grow(RandomMasks("all", 0.3, 0, "uniform"), Growth(1, every=1))
    run = Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.0), 100)
    run.number = 1
    before = hook.masks.alive["0.weight"].clone()
    run.gradients(drawn(model, 1))
    after = hook.masks.alive["0.weight"]
    assert int((after & ~before).sum()) == int((before & ~after).sum()) == 30


@pytest.mark.parametrize("moments", ["survivors", "zero"])
def test_a_grown_weight_makes_no_large_steps(moments):
    """Under a constant gradient, Adam moves by the rate; from second moments of 0 by over six times as much."""
    torch.manual_seed(0)
    model, lr = layers((20, 20)), 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    hook = Grow(RandomMasks("all", 0.5, 0, "uniform"), Growth(1, every=100, until=0.6), moments)
    run = Stepping(model, hook, optimizer, 200)
    gradient = {"0.weight": torch.full((20, 20), 0.3)}
    largest = 0.0
    run.number = 60
    for number in range(60, 160):
        before, weight = hook.masks.alive["0.weight"], hook.masks.parameters["0.weight"]
        run.gradients(gradient)
        if number == 99:  # as after very many steps
            for name, value in (("step", 1e5), ("exp_avg", 0.3), ("exp_avg_sq", 0.09)):
                moment = optimizer.state[weight][name]
                moment.copy_(torch.full_like(moment, value).where(before, 0) if moment.ndim else torch.tensor(value))
        if number == 100:
            grown, survived = hook.masks.alive["0.weight"] & ~before, hook.masks.alive["0.weight"] & before
            state = optimizer.state[weight]
            mean = state["exp_avg_sq"][survived].mean() if moments == "survivors" else 0.0
            assert int(grown.sum()) == hook.changed // 2 > 0
            assert not weight[grown].any()
            assert not state["exp_avg"][grown].any()
            assert (state["exp_avg_sq"][grown] == mean).all()
        was = weight.detach().clone()
        run.move()
        if number >= 100:
            largest = max(largest, (weight - was)[grown].abs().max().item() / lr)
    assert (largest <= 1.1) == (moments == "survivors")
    assert moments == "survivors" or 2.9 < largest < 6.6


def test_a_change_waits_for_gradients_that_are_finite():
    model = layers((4, 5), (5, 4))
    hook = Grow(RandomMasks("all", 0.5, 0, "uniform"), EVERY_FOUR)
    run = Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.0), STEPS)
    first = hook.masks.digest()
    for number in range(9):
        gradients = drawn(model, number)
        if number in (4, 5):
            gradients["1.bias"][0] = torch.inf  # not even masked
        run.gradients(gradients)
        run.move()
        assert (hook.masks.digest() == first) == (number < 6)
        assert hook.state_dict()["pending"] == (number in (4, 5))
        if number == 5:
            again = Grow(RandomMasks("all", 0.5, 0, "uniform"), EVERY_FOUR)
            again.start(model, run.optimizer)
            again.load_state_dict(hook.state_dict())
            assert again.pending
    assert hook.changed > 0


def test_a_change_that_waits_too_long_is_not_made():
    model = layers((4, 5))
    hook = Grow(RandomMasks("all", 0.5, 0, "uniform"), Growth(1, every=28))
    run = Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.0), STEPS)
    digest = hook.masks.digest()
    for run.number in range(28, 40):
        gradients = drawn(model, run.number)
        if run.number < 33:
            gradients["0.weight"][0, 0] = torch.nan
        run.gradients(gradients)
    assert hook.masks.digest() == digest
    assert not hook.pending


def test_what_is_refused():
    model = layers((4, 5))
    hook = Grow(RandomMasks("all", 0.5, 0, "uniform"), Growth(1))
    with pytest.raises(UserError, match="expected 26 steps or more"):
        Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.0), 25).gradients({})
    model.network.requires_grad_(False)
    with pytest.raises(UserError, match=r"expected weights that learn, .* found 0.weight frozen"):
        hook.start(model, torch.optim.SGD(model.parameters()))
