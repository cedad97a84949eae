"""Masks over whole heads and neurons that explore, and can be cut out of the network (Chen et al. 2021, S2ViTE)."""

import math
from bisect import bisect
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.pipeline.system.errors import say
from vit_tickets.train.runtime.hooks import EpochState, StepState
from vit_tickets.train.sparsity.masks import SURVIVORS
from vit_tickets.train.sparsity.methods.grow import Grow
from vit_tickets.train.sparsity.methods.masked import network_of
from vit_tickets.train.sparsity.ranking import keep_largest
from vit_tickets.train.sparsity.schedule import Growth
from vit_tickets.train.sparsity.units.alive import Alive, RandomUnits
from vit_tickets.train.sparsity.units.layers import attentions_of, fc1_of, mlps_of
from vit_tickets.train.sparsity.units.scores import head_scores

INITIAL_STD = 0.02  # of timm's ViTs


class Units(Grow):
    """Swaps heads within each attention, and neurons within each MLP, so that each layer's number stays.

    In a change, n = min(round(r * living), dead) units of a layer die, r being `Growth.share_at`, and n of those that
    were dead before it come to life; halves are rounded up.

    - Heads die by least importance, and grow by largest gradient of their output: see `HeadScores`.
    - Neurons die by the least, and grow by the largest gradient, of their row of fc1, by sum of magnitudes.

    Units are masked on their input side alone: see `alive`. A grown head has values of 0, and queries and keys drawn
    anew, so that the network computes the same at first and all of the head learns; with queries and keys of 0 both
    would have no gradient for ever. A grown neuron begins with 0.

    Args:
        initial: the first living units.
        growth: when units change, and how many.
        grown_moments: `survivors` or `zero`: see `Masks.change`.
    """

    name = "growing_units"

    def __init__(self, initial: RandomUnits, growth: Growth, grown_moments: str = SURVIVORS):
        super().__init__({}, growth, grown_moments)
        self.units = initial
        self.swapped = {"heads": 0, "neurons": 0}  # in the unfinished epoch

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Raises UserError where units cannot be removed, or do not learn."""
        network = network_of(model)
        self.initial = self.units.of(network).masks(network)
        super().start(model, optimizer)

    def before_step(self, step: StepState) -> None:
        super().before_step(step)
        if step.number == 0 and step.world.is_main:
            say(self.said(network_of(step.model), self._steps(step)))

    def said(self, network: nn.Module, steps: int) -> str:
        """How many heads of a layer change when, in a line."""
        alive = next(iter(self.alive(network).heads.values()))
        growth, living = self.growth, int(alive.sum())
        due = [number for number in range(0, steps, growth.interval(steps)) if growth.due(number, steps)]
        counts = {number: _count(growth.share_at(number, steps), alive) for number in due}
        last = {count: number for number, count in counts.items()}  # counts fall
        shown = ", ".join(f"{count} up to step {number:,}" for count, number in last.items() if count)
        shown = shown or _never(growth, steps, alive)
        every = growth.interval(steps)
        times = counted(len(due), "time")
        return f"units change every {every:,} steps, {times}; heads of {living} living in a layer: {shown}"

    def alive(self, network: nn.Module) -> Alive:
        """The living units."""
        return Alive.of_masks(network, self.masks.alive)

    def change(self, step: StepState) -> int | None:
        network, share = network_of(step.model), self.growth.share_at(step.number, self._steps(step))
        before, after = self.alive(network), self.alive(network)
        scores = head_scores(network, step.losses, step.world, step.model)
        if not all(score.isfinite().all() for score in scores.gradient.values()):
            return None
        for name, alive in before.heads.items():
            after.heads[name] = _swapped(alive, scores.importance[name], scores.gradient[name], share)
        for name, layer in mlps_of(network).items():
            weight = fc1_of(layer).weight
            sizes, gradients = _by_row(weight), _by_row(cast("Tensor", weight.grad))
            after.neurons[name] = _swapped(before.neurons[name], sizes, gradients, share)
        masks = {name: mask.to(self.masks.dead[name].device) for name, mask in after.masks(network).items()}
        changed = self.masks.change(masks, step.optimizer, network_of(step.scored), self.grown_moments)
        self._redraw(before, after, network, network_of(step.scored), step.number)
        for kind, old, new in (("heads", before.heads, after.heads), ("neurons", before.neurons, after.neurons)):
            self.swapped[kind] += sum(int((new[name] & ~alive).sum()) for name, alive in old.items())
        return changed

    @torch.no_grad()
    def _redraw(self, before: Alive, after: Alive, network: nn.Module, scored: nn.Module, number: int) -> None:
        """Give grown heads queries and keys as of a new network, in `network` and in its moving average."""
        for name, layer in attentions_of(network).items():
            for head in (after.heads[name] & ~before.heads[name]).nonzero().flatten().tolist():
                rng = keyed_rng("grown", self.units.seed, number, name, head)
                drawn = torch.from_numpy(rng.normal(0.0, INITIAL_STD, (2, layer.head_dim, layer.qkv.in_features)))
                for of in (network, scored):
                    weight = of.get_parameter(f"{name}.qkv.weight")
                    weight.unflatten(0, (3, layer.num_heads, layer.head_dim))[:2, head] = drawn.to(weight)

    def after_epoch(self, epoch: EpochState) -> dict[str, float]:
        swapped = {f"{kind}_swapped": count for kind, count in self.swapped.items()}
        self.swapped = dict.fromkeys(self.swapped, 0)
        return super().after_epoch(epoch) | swapped

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"swapped": dict(self.swapped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.swapped = dict(state["swapped"])


def _never(growth: Growth, steps: int, alive: Tensor) -> str:
    """Why no head is swapped in a run of `steps`, and what to type."""
    if alive.all():
        return "none, as none are dropped"
    latest = bisect(range(1, steps), 0, key=lambda number: -min(_count(growth.share_at(number, steps), alive), 1) + 0.5)
    if not latest:
        return "none, as too few are alive"
    return f"none: the first change comes too late; --update-every {latest:,} or less swaps some"


def _count(share: float, alive: Tensor) -> int:
    """How many units of a layer to swap: of 2 heads the floor of r * 2 < 1 would be none, from the first change on."""
    living = int(alive.sum())
    return min(math.floor(share * living + 0.5), len(alive) - living)


def _swapped(alive: Tensor, sizes: Tensor, gradients: Tensor, share: float) -> Tensor:
    """The living units (n,) after a change, of those before it."""
    count = _count(share, alive)
    return keep_largest(sizes, int(alive.sum()) - count, alive) | keep_largest(gradients, count, ~alive)


def _by_row(weight: Tensor) -> Tensor:
    return weight.detach().abs().sum(1).double().cpu()
