"""The hooks that recipes ask for."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.training import SMALL
from vit_tickets.train.loop.run_hooks import KeepWarmup, MovingAverage, hooks_of
from vit_tickets.train.recipes.schedule import kept_at
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import StepState


def step_of(model: nn.Module, number: int = 0) -> StepState:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return StepState(number, 5, model, model, optimizer, 9, World(0, 1, "cpu"))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, []),
        ({"ema": 0.0}, []),
        ({"ema": 0.9}, ["moving_average"]),
        ({"keep_warmup": (0.0, 1.0)}, ["keep_warmup"]),
        ({"ema": 0.9, "keep_warmup": (0.0, 1.0)}, ["keep_warmup", "moving_average"]),
        ({"finish_dense": 1, "keep_warmup": (0.0, 3.0)}, ["keep_warmup", "finish_dense"]),
    ],
)
def test_a_recipe_names_its_hooks(options, names):
    run = SimpleNamespace(
        path="dense", config=SimpleNamespace(weights=None), recipe=SMALL.override(**options), kept=9, grid=6
    )
    assert [hook.name for hook in hooks_of(run)] == names


def test_the_keep_warm_up_sets_what_a_step_keeps():
    hook = KeepWarmup((1.0, 3.0), 9, 36)
    for number in range(20):
        step = step_of(nn.Linear(1, 1), number)
        hook.before_step(step)
        assert step.kept == kept_at((1.0, 3.0), 9, 36, number / 5)
    assert hook.state_dict() == {}


def test_the_last_epochs_keep_all_patches_whatever_the_warm_up_says():
    run = SimpleNamespace(
        path="dense",
        config=SimpleNamespace(weights=None),
        recipe=SMALL.override(finish_dense=1, keep_warmup=(0.0, 3.0)),
        kept=9,
        grid=6,
    )
    warmup, finish = hooks_of(run)
    for number in range(15):  # five steps an epoch, three epochs
        step = step_of(nn.Linear(1, 1), number)
        warmup.before_step(step)
        finish.before_step(step)
        assert step.kept == (kept_at((0.0, 3.0), 9, 36, number / 5) if number < 10 else 36)
    assert finish.state_dict() == {}


def test_the_moving_average_is_the_weighted_sum_of_all_weights():
    model = nn.Sequential()
    model.network = nn.Linear(3, 2)
    hook, again = MovingAverage(0.9), MovingAverage(0.9)
    hook.start(model, None)
    expected = model.network.weight.detach().double().clone()
    for _ in range(4):
        with torch.no_grad():
            model.network.weight += torch.randn(2, 3)
        hook.after_step(step_of(model))
        expected = 0.9 * expected + 0.1 * model.network.weight.detach().double()
    torch.testing.assert_close(hook.scored().network.weight.double(), expected, rtol=0, atol=1e-6)
    assert not torch.equal(hook.scored().network.weight, model.network.weight)
    again.start(model, None)
    again.load_state_dict(hook.state_dict())
    assert torch.equal(again.scored().network.weight, hook.scored().network.weight)
