"""How a loss moves the weights, and when the hooks see it."""

import math
from copy import deepcopy

import pytest
import torch

from tests.training import SMALL, equal, run_of
from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.loop.learner import Learner
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import Hook, StepState

WORLD = World(0, 1, "cpu")


class Noting(Hook):
    """Notes the gradient of the head's bias, and whether the weights have moved."""

    name = "noting"

    def __init__(self) -> None:
        self.noted: list[tuple[str, torch.Tensor, bool]] = []

    def start(self, model, optimizer) -> None:
        self.head = model.network.head
        self.before = self.head.weight.detach().clone()

    def note(self, method: str) -> None:
        self.noted.append((method, self.head.bias.grad.clone(), not torch.equal(self.head.weight, self.before)))

    def after_gradients(self, step: StepState) -> None:
        self.note("after_gradients")

    def after_step(self, step: StepState) -> None:
        self.note("after_step")


@pytest.fixture
def made(numbered_data, tmp_path):
    """A learner with a hook, from options of its recipe."""

    def make(parts=1, precision="fp32", hooks=None, path="dense", **options):
        run = run_of(numbered_data, tmp_path, path, recipe=SMALL.override(**options), precision=precision)
        hooks = [Noting()] if hooks is None else hooks
        return Learner(run, WORLD, hooks, grad_accum=parts, channels_last=False, compile=False)

    return make


def batch() -> Inputs:
    images = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    return Inputs(images, None, torch.tensor([0, 1, 0, 1, 1, 1]))


def step_of(learner: Learner) -> StepState:
    return StepState(0, 7, learner.model, learner.scored, learner.optimizer, 36, WORLD)


def moved(learner: Learner, inputs: Inputs) -> dict[str, torch.Tensor]:
    learner.train()
    learner.lr = 0.1
    learner.update(learner.loss(inputs), step_of(learner))
    return learner.model.network.state_dict()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_hooks_see_the_whole_gradient_before_it_is_clipped_and_the_weights_after_they_moved(made, precision):
    learner = made(parts=4, precision=precision, clip_grad=1e-3)
    moved(learner, batch())
    (first, whole, early), (second, clipped, late) = learner.hooks[0].noted
    assert (first, early, second, late) == ("after_gradients", False, "after_step", True)
    reference = made(hooks=[])
    reference.train()
    reference.loss(batch()).backward()
    expected = reference.model.network.head.bias.grad
    torch.testing.assert_close(whole, expected, rtol=1e-4 if precision == "fp32" else 0.05, atol=1e-6)
    assert clipped.norm() < 1e-3 < whole.norm()


@pytest.mark.parametrize("factor", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_moves_nothing(made, factor):
    learner = made()
    before = {name: value.clone() for name, value in learner.model.network.state_dict().items()}
    learner.train()
    with pytest.raises(FloatingPointError, match="norm of the gradient is nan"):
        learner.update(learner.loss(batch()) * factor, step_of(learner))
    assert equal(before, learner.model.network.state_dict())


def test_its_state_continues_in_another(made):
    first, second = made(hooks=[], opt="adamw"), made(hooks=[], opt="adamw")
    moved(first, batch())
    second.load_state_dict(deepcopy(first.state_dict()))
    assert equal(moved(first, batch()), moved(second, batch()))
    assert first.state_dict().keys() == {"model", "optimizer", "scaler", "hooks"}


def test_the_state_of_a_hook_that_it_lacks_is_refused(made):
    learner = made(hooks=[])
    state = learner.state_dict() | {"hooks": {"masks": {"head": 1}}}
    with pytest.raises(ValueError, match="expected no state of hook masks"):
        learner.load_state_dict(state)


def test_a_selector_is_fine_tuned_in_evaluation_mode(made):
    learner = made()
    learner.train()
    assert learner.model.training
    learner.prunes_tokens = True
    learner.train()
    assert not learner.model.training


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_losses_of_a_step_can_be_computed_again_and_leave_no_gradient(made, precision):
    learner = made(parts=4, precision=precision)
    learner.train()
    loss, inputs = learner.loss(batch()), batch()
    gradients = {name: parameter.grad.clone() for name, parameter in learner.model.named_parameters()}
    again = list(learner.losses(inputs))
    assert len(again) == 4
    scale = learner.scaler.get_scale() if precision == "fp16" else 1
    torch.testing.assert_close(torch.stack(again).sum() / scale, loss)
    assert all(each.requires_grad for each in again)
    for name, parameter in learner.model.named_parameters():
        assert torch.equal(parameter.grad, gradients[name])
