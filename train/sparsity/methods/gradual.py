"""Gradual magnitude pruning: the smallest weights die in small portions while the others learn (Zhu & Gupta 2017)."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from vit_tickets.pipeline.system.errors import say
from vit_tickets.train.runtime.hooks import StepState
from vit_tickets.train.sparsity.allocation import GLOBAL, alive_counts, alive_total
from vit_tickets.train.sparsity.methods.masked import Masked, network_of
from vit_tickets.train.sparsity.ranking import keep_largest, keep_largest_of_all
from vit_tickets.train.sparsity.schedule import Pruning
from vit_tickets.train.sparsity.scopes import masked_parameters


class Gradual(Masked):
    """Begins with all weights; after the last pruning exactly the living weights of its sparsity are left.

    What died stays dead, so masks are nested. Ties as in `ranking.keep_largest`.

    Args:
        scope: a name of `SCOPES`.
        pruning: when weights are pruned, and how many.
        allocation: `global`: one threshold over the scope; `uniform`, `erk`: within each layer.
    """

    name = "gradual_masks"

    def __init__(self, scope: str, pruning: Pruning, allocation: str = GLOBAL):
        super().__init__({})
        self.scope, self.pruning, self.allocation = scope, pruning, allocation
        self.made = 0  # prunings so far

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Raises UserError as `masked_parameters` and, for the last pruning, `alive_counts` do."""
        weights = masked_parameters(network_of(model), self.scope)
        self.shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        self.last = alive_counts(self.allocation, self.shapes, self.pruning.sparsity)
        self.initial = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        super().start(model, optimizer)

    def due(self, step: StepState) -> bool:
        return self._due_by(step) > self.made

    def change(self, step: StepState) -> int:
        self.made = self._due_by(step)
        sparsity = self.pruning.sparsity_after(self.made)
        masks, scores = self.masks, {name: weight.abs() for name, weight in self.masks.parameters.items()}
        if self.allocation == GLOBAL:
            size = sum(score.numel() for score in scores.values())
            alive = keep_largest_of_all(scores, alive_total(size, sparsity), masks.alive)
        else:
            asked, living = alive_counts(self.allocation, self.shapes, sparsity), masks.counts()
            # the rounding of counts may go up and down
            left = {name: min(living[name], max(asked[name], self.last[name])) for name in scores}
            alive = {name: keep_largest(score, left[name], ~masks.dead[name]) for name, score in scores.items()}
        before = masks.counts()
        changed = masks.change(alive, step.optimizer, network_of(step.scored))
        for name, count in masks.counts().items():
            if before[name] and not count:
                say(f"{name} has no weight left after step {step.number}: it contributes nothing from here on")
        return changed

    def _due_by(self, step: StepState) -> int:
        return self.pruning.made_by(step.number, self.pruning.epochs * step.steps_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"made": self.made}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.made = state["made"]
