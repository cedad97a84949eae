"""When masks change, and how much, as functions of the steps that were made. Pure."""

import math
from dataclasses import dataclass

from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.system.errors import UserError

FEWEST = 20  # steps between two changes of growing masks
UPDATES = {"deit_tiny": 75, "deit_base": 107}  # Chen et al. 2021: 20,000 and 7,000 steps apart; of 1.5 and 0.75 million
OTHER_UPDATES = 100  # DeiT-Small: 15,000 apart


def updates_of(model: str) -> int:
    """How many changes of growing masks would fit into a whole run of `model`, by SViTE's settings."""
    return UPDATES.get(short_name(model), OTHER_UPDATES)


@dataclass(frozen=True)
class Growth:
    """Weights are swapped every so many steps, a falling share of them (Evci et al. 2020; Chen et al. 2021).

    epochs: of the whole run. updates: how many changes fit into it; at least `FEWEST` steps lie between two. every:
    steps between two, instead of `updates`. share: part of the living weights that the first change could swap. until:
    part of the run in which masks change.
    """

    epochs: int
    updates: int = OTHER_UPDATES
    every: int | None = None
    share: float = 0.5
    until: float = 0.8

    def interval(self, steps: int) -> int:
        """Steps between two changes in a run of `steps`."""
        return self.every or max(FEWEST, round(steps / self.updates))

    def due(self, number: int, steps: int) -> bool:
        """Whether masks change after `number` steps of a run of `steps`; not before the first."""
        return 0 < number < self.until * steps and number % self.interval(steps) == 0

    def share_at(self, number: int, steps: int) -> float:
        """Part of the living weights to swap: a / 2 * (1 + cos(pi * t / T_end)); 0 from T_end on."""
        end = self.until * steps
        return self.share / 2 * (1 + math.cos(math.pi * number / end)) if number < end else 0.0

    def check(self, steps: int, begun: int = 0) -> None:
        """Raise UserError if masks would never change in a run of `steps`, of which the first `begun` are left out."""
        if (interval := self.interval(steps)) >= self.until * steps:
            fewest = math.floor(interval / self.until) + 1
            raise UserError(
                f"expected {fewest} steps or more for masks that change every {interval} in the first {self.until:.0%} "
                f"of a run, found {steps}: they would never change; train longer, or pass a smaller --update-every"
            )
        last = (math.ceil(self.until * steps) - 1) // interval * interval
        if begun > last:
            expected = f"expected a start before step {last + 1:,}, the last that changes masks in a run of {steps:,}"
            raise UserError(f"{expected}, found one after {begun:,} steps: they would never change")


@dataclass(frozen=True)
class Pruning:
    """Weights are pruned step by step: s_i = s * (1 - (1 - i / n)^3), i = 1..n (Zhu & Gupta 2017, equation 1).

    epochs: of the whole run. sparsity: s, after the last pruning. times: n. first, last: parts of the run after which
    the first and the last pruning come; the others lie evenly between.
    """

    epochs: int
    sparsity: float
    times: int = 20
    first: float = 1 / 6
    last: float = 1 / 2

    def step_of(self, number: int, steps: int) -> int:
        """Steps that are made before pruning `number`, counted from 1, in a run of `steps`."""
        way = (number - 1) / max(1, self.times - 1)
        return round(steps * (self.first + way * (self.last - self.first)))

    def made_by(self, number: int, steps: int) -> int:
        """How many prunings are due once `number` steps of a run of `steps` are made."""
        return sum(self.step_of(each, steps) <= number for each in range(1, self.times + 1))

    def sparsity_after(self, number: int) -> float:
        """Dropped share of the weights after `number` prunings; exactly `sparsity` after the last."""
        return self.sparsity * (1 - (1 - number / self.times) ** 3)
