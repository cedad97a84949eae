"""Dead weights, their gradients, moments and moving average are exactly 0 after every step, however a run trains."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from tests.training import SMALL, run_of
from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.loop.learner import Learner
from vit_tickets.train.loop.run_hooks import hooks_of
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import StepState
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.masks import Masks
from vit_tickets.train.sparsity.methods.fixed import Fixed
from vit_tickets.train.sparsity.methods.gradual import Gradual
from vit_tickets.train.sparsity.methods.grow import Grow
from vit_tickets.train.sparsity.methods.masked import Masked, network_of
from vit_tickets.train.sparsity.methods.units import Units
from vit_tickets.train.sparsity.schedule import Growth, Pruning
from vit_tickets.train.sparsity.units.alive import RandomUnits

pytestmark = pytest.mark.process
WORLD = World(0, 1, "cpu")
OPTIMIZERS = {
    "adamw": {"opt": "adamw"},
    "sgd": {"opt": "sgd", "nesterov": False},
    "nesterov": {"opt": "sgd", "nesterov": True},
    "plain": {"opt": "sgd", "momentum": 0.0},
}
METHODS = {
    "fixed": lambda: Fixed(RandomMasks("all", 0.5, 1)),
    "gradual": lambda: Gradual("all", Pruning(1, 0.6)),
    "growing": lambda: Grow(RandomMasks("all", 0.5, 1), Growth(1, every=3)),
    "units": lambda: Units(RandomUnits(0.3, 0.6, 1), Growth(1, every=3)),
}


class AfterTheStep(Fixed):
    """Masks weights once the optimizer has moved them, and nothing else, as programs of papers do."""

    def after_gradients(self, step: StepState) -> None:
        pass

    def after_step(self, step: StepState) -> None:
        self.masks.mask_weights()


@pytest.fixture
def made(numbered_data, tmp_path):
    """A learner whose first hook is `hook`."""

    def make(hook, optimizer="adamw", clip=0.5, ema=0.9, parts=1, precision="fp32", channels_last=False, **settings):
        recipe = SMALL.override(patch_size=8, clip_grad=clip, ema=ema, weight_decay=0.1, **OPTIMIZERS[optimizer])
        run = run_of(numbered_data, tmp_path, recipe=recipe, precision=precision, **settings)
        how = {"grad_accum": parts, "channels_last": channels_last, "compile": False}
        return Learner(run, WORLD, [hook, *hooks_of(run)], **how)

    return make


def batch(number: int) -> Inputs:
    generator = torch.Generator().manual_seed(number)
    images, labels = torch.randn(6, 3, 24, 24, generator=generator), torch.randint(0, 2, (6,), generator=generator)
    return Inputs(images, None, labels)


def train(learner: Learner, number: int, steps: int) -> None:
    """One step, `number`, of a run of `steps`."""
    learner.train()
    learner.lr = 0.01
    step = StepState(number, steps, learner.model, learner.scored, learner.optimizer, 9, WORLD)
    step.losses = partial(learner.losses, batch(number))
    learner.update(learner.loss(batch(number)), step)


def masks_of(learner: Learner) -> Masks:
    hook = learner.hooks[0]
    assert isinstance(hook, Masked)
    return hook.masks


def left(learner: Learner) -> dict[str, float]:
    """The largest absolute value at dead places, by where it is."""
    masks, found = masks_of(learner), {}

    def note(key: str, value: Tensor, dead: Tensor) -> None:
        found[key] = max(found.get(key, 0.0), value.detach().abs().where(dead, 0).max().item())

    for name, dead in masks.dead.items():
        weight = masks.parameters[name]
        note("weight", weight, dead)
        assert weight.grad is not None
        note("gradient", weight.grad, dead)
        note("average", network_of(learner.scored).get_parameter(name), dead)
        for key, moment in learner.optimizer.state[weight].items():
            if torch.is_tensor(moment) and moment.shape == weight.shape:
                note(key, moment, dead)
    return found


def check(learner: Learner, steps: int) -> None:
    before = masks_of(learner).alive
    for number in range(steps):
        train(learner, number, steps)
        assert set(left(learner).values()) == {0.0}, (number, left(learner))
    after, weights = masks_of(learner).alive, masks_of(learner).parameters
    assert all(weights[name][alive].count_nonzero() >= 0.9 * alive.sum() for name, alive in after.items())
    changed = any(not torch.equal(alive, before[name]) for name, alive in after.items())
    assert changed == (not isinstance(learner.hooks[0], Fixed))


PAIRS = [  # every value with every other of another column
    ("growing", "adamw", None, 0.9, 3, "fp16"),
    ("growing", "sgd", 0.5, None, 1, "bf16"),
    ("growing", "nesterov", 0.5, 0.9, 3, "fp32"),
    ("gradual", "adamw", 0.5, 0.9, 1, "bf16"),
    ("gradual", "plain", None, None, 3, "fp32"),
    ("fixed", "nesterov", None, None, 1, "fp16"),
    ("units", "adamw", 0.5, 0.9, 3, "bf16"),
]


@pytest.mark.parametrize(("method", "optimizer", "clip", "ema", "parts", "precision"), PAIRS)
def test_zeros_stay(made, method, optimizer, clip, ema, parts, precision):
    check(made(METHODS[method](), optimizer, clip, ema, parts, precision), 5)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "precision"), list(product(OPTIMIZERS, ("fp32", "bf16", "fp16"))))
def test_zeros_stay_in_every_way_to_train(made, optimizer, precision):
    for clip, ema, parts in product((None, 0.5), (None, 0.9), (1, 3)):
        check(made(METHODS["growing"](), optimizer, clip, ema, parts, precision), 50)
    check(made(METHODS["units"](), optimizer, 0.5, 0.9, 3, precision), 50)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_masks_on_weights_alone_and_after_the_step_are_not_enough(made, optimizer):
    """Momentum and the clipped norm then see gradients of dead weights, and the living ones go another way."""
    ours, theirs = (made(hook(RandomMasks("all", 0.5, 1)), optimizer) for hook in (Fixed, AfterTheStep))
    for number in range(4):
        train(ours, number, 4)
        train(theirs, number, 4)
    found = left(theirs)
    assert found["weight"] == 0
    assert found["exp_avg" if optimizer == "adamw" else "momentum_buffer"] > 1e-4
    pairs = zip(ours.model.parameters(), theirs.model.parameters(), strict=True)
    assert max((a - b).abs().max().item() for a, b in pairs) > 1e-4


def test_zeros_stay_if_the_optimizer_is_not_fused(made):
    learner = made(METHODS["growing"]())
    assert all(group["fused"] for group in learner.optimizer.param_groups)  # as in the other tests
    for group in learner.optimizer.param_groups:
        group["fused"] = False
    check(learner, 5)


def test_zeros_stay_in_convolutions_whose_weights_lie_channels_last(made):
    learner = made(METHODS["growing"](), "sgd", channels_last=True, model="resnet20")
    dead = masks_of(learner).dead["layer1.0.conv1.weight"]
    assert dead.is_contiguous(memory_format=torch.channels_last)
    check(learner, 5)
