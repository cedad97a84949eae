"""Gradual pruning: exact numbers after each of its prunings, nested masks, the same result after a resume."""

import copy
import math
from fractions import Fraction

import pytest
import torch

from tests.train.sparsity import reference
from tests.train.sparsity.stepping import Stepping, layers
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity.allocation import alive_counts
from vit_tickets.train.sparsity.methods.gradual import Gradual
from vit_tickets.train.sparsity.schedule import Pruning

SHAPES = ((7, 9), (11, 3), (5, 5))
STEPS = 120


def started(allocation="global", sparsity=0.8, seed=0, steps=STEPS):
    model = layers(*SHAPES, seed=seed)
    hook = Gradual("all", Pruning(1, sparsity), allocation)
    return hook, Stepping(model, hook, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), steps)


def gradients(run):
    generator = torch.Generator().manual_seed(run.number)
    return {n: torch.randn(w.shape, generator=generator) for n, w in run.model.network.named_parameters()}


def test_the_smallest_of_all_weights_go_at_each_of_the_twenty_steps():
    hook, run = started()
    due = {round(20 + 40 * i / 19): i + 1 for i in range(20)}
    size = sum(math.prod(shape) for shape in SHAPES)
    for number in range(STEPS):
        before = [v for mask in hook.masks.alive.values() for v in mask.flatten().tolist()]
        weights = [v for weight in hook.masks.parameters.values() for v in weight.abs().flatten().tolist()]
        run.gradients(gradients(run))
        after = [v for mask in hook.masks.alive.values() for v in mask.flatten().tolist()]
        if number in due:
            sparsity = 0.8 * (1 - (1 - due[number] / 20) ** 3)
            assert after == reference.kept(weights, round((1 - sparsity) * size), before)
        else:
            assert after == before
        run.move()
    assert sum(hook.masks.counts().values()) == round((1 - Fraction("0.8")) * size)


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_layers_are_pruned_each_for_itself_and_the_last_counts_are_exact(allocation):
    hook, run = started(allocation)
    alive = hook.masks.alive
    for _ in range(STEPS):
        run.gradients(gradients(run))
        run.move()
        assert not any((mask & ~alive[name]).any() for name, mask in hook.masks.alive.items())
        alive = hook.masks.alive
    assert hook.masks.counts() == alive_counts(
        allocation, {f"{i}.weight": shape for i, shape in enumerate(SHAPES)}, 0.8
    )


def test_a_run_of_few_steps_reaches_its_sparsity():
    hook, run = started(steps=3)
    for _ in range(3):
        run.gradients(gradients(run))
        run.move()
    assert sum(hook.masks.counts().values()) == round(0.2 * 121)


def test_it_goes_on_from_its_state():
    whole, run = started()
    other, again = started(seed=5)
    for number in range(STEPS):
        if number == 50:
            again.model.load_state_dict(run.model.state_dict())
            again.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
            other.load_state_dict(copy.deepcopy(whole.state_dict()))
            again.number = 50
        for each in (run, again):
            if each is run or number >= 50:
                each.gradients(gradients(each))
                each.move()
    assert whole.masks.digest() == other.masks.digest()
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), again.model.parameters(), strict=True))


def test_a_layer_that_loses_all_its_weights_is_named(capsys):
    hook, run = started(sparsity=0.5)
    with torch.no_grad():
        hook.masks.parameters["2.weight"].mul_(1e-6)
    for _ in range(STEPS):
        run.gradients({})
        run.move()
    assert capsys.readouterr().err.count("2.weight has no weight left after step") == 1
    assert hook.masks.counts()["2.weight"] == 0


def test_a_sparsity_that_leaves_a_layer_empty_is_refused_at_the_start():
    with pytest.raises(UserError, match=r"found none in 1.weight .*a layer collapses"):
        started("uniform", 0.99)
