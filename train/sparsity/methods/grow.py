"""Masks that explore: the smallest weights give way to those with the largest gradients (Chen et al. 2021, SViTE)."""

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.runtime.hooks import StepState
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.masks import SURVIVORS
from vit_tickets.train.sparsity.methods.masked import Masked, network_of
from vit_tickets.train.sparsity.ranking import keep_largest
from vit_tickets.train.sparsity.schedule import Growth


class Grow(Masked):
    """Swaps weights within each layer, so that its number of living weights stays.

    In a change, n = min(floor(r * living), dead) living weights of smallest magnitude die, r being
    `Growth.share_at`, and n of those that were dead before it, with the largest gradients, come to life with the value
    0; a weight that has just died cannot. Ties as in `ranking.keep_largest`. A layer without dead weights takes no
    part. The gradients are those of the whole step, of all ranks; in this step the new weights move by them already.

    Args:
        initial: the first masks: bool by name of the parameter, or those to draw when the network is built.
        growth: when masks change, and how much.
        grown_moments: `survivors` or `zero`: see `Masks.change`.
    """

    name = "growing_masks"

    def __init__(self, initial: Mapping[str, Tensor] | RandomMasks, growth: Growth, grown_moments: str = SURVIVORS):
        super().__init__(initial)
        self.growth, self.grown_moments = growth, grown_moments

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Raises UserError if a masked weight has no gradients that it could be grown by."""
        super().start(model, optimizer)
        if frozen := [name for name, weight in self.masks.parameters.items() if not weight.requires_grad]:
            raise UserError(f"expected weights that learn, to grow them by their gradients, found {frozen[0]} frozen")

    def before_step(self, step: StepState) -> None:
        self.growth.check(self._steps(step))

    def due(self, step: StepState) -> bool:
        return self.growth.due(step.number, self._steps(step))

    def change(self, step: StepState) -> int:
        share = self.growth.share_at(step.number, self._steps(step))
        alive, counts = {}, self.masks.counts()
        for name, weight in self.masks.parameters.items():
            dead, living = self.masks.dead[name], counts[name]
            count = min(math.floor(share * living), dead.numel() - living)
            if count and weight.grad is not None:
                stays = keep_largest(weight.abs(), living - count, ~dead)
                alive[name] = stays | keep_largest(weight.grad.abs(), count, dead)
        return self.masks.change(alive, step.optimizer, network_of(step.scored), self.grown_moments)

    def _steps(self, step: StepState) -> int:
        return self.growth.epochs * step.steps_per_epoch
