"""The base class of hooks: a hook that overrides nothing changes nothing."""

import torch

from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import EpochState, Hook, StepState


def test_every_method_is_optional():
    class Idle(Hook):
        name = "idle"

    model = torch.nn.Linear(2, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer, hook, world = torch.optim.SGD(model.parameters(), lr=1.0), Idle(), World(0, 1, "cpu")
    step = StepState(3, 7, model, model, optimizer, 18, world)
    hook.start(model, optimizer)
    for method in (hook.before_step, hook.after_gradients, hook.after_step):
        method(step)
    assert hook.after_epoch(EpochState(1, model, model, optimizer, world)) == {}
    hook.load_state_dict(hook.state_dict())
    assert (hook.state_dict(), hook.scored(), step.kept) == ({}, None, 18)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
