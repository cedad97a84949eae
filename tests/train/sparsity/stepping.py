"""A small model in training with hooks, step by step, without a loop."""

import copy

import torch
from torch import Tensor, nn

from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import Hook, StepState


class Model(nn.Module):
    """A model around `network`, as the loop has it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def layers(*shapes: tuple[int, int], seed: int = 0) -> Model:
    """Linear layers with weights of `shapes`, side by side and not connected."""
    torch.manual_seed(seed)
    return Model(nn.ModuleList(nn.Linear(inputs, outputs) for outputs, inputs in shapes))


class Stepping:
    """Gives `hook` gradients, and lets `optimizer` move the weights.

    steps: of an epoch. average: whether a moving average is scored, which starts as the weights and follows them.
    """

    def __init__(self, model: Model, hook: Hook, optimizer, steps: int, average: bool = False):
        self.model, self.hook, self.optimizer, self.steps, self.number = model, hook, optimizer, steps, 0
        hook.start(model, optimizer)
        self.scored = copy.deepcopy(model) if average else model

    def gradients(self, gradients: dict[str, Tensor]) -> None:
        """The hook's part of a step in which the gradients are these."""
        for name, parameter in self.model.network.named_parameters():
            parameter.grad = gradients[name].clone() if name in gradients else torch.zeros_like(parameter)
        state = StepState(self.number, self.steps, self.model, self.scored, self.optimizer, 0, World(0, 1, "cpu"))
        self.hook.before_step(state)
        self.hook.after_gradients(state)

    def move(self) -> None:
        """The optimizer's part of it."""
        self.optimizer.step()
        self.number += 1
        with torch.no_grad():
            for mean, weight in zip(self.scored.parameters(), self.model.parameters(), strict=True):
                if mean is not weight:
                    mean.lerp_(weight, 0.1)
