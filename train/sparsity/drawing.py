"""Masks drawn at random: the same on any device and any number of ranks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.train.sparsity.allocation import ERK, GLOBAL, Shapes, alive_counts
from vit_tickets.train.sparsity.ranking import keep_largest_of_all
from vit_tickets.train.sparsity.scopes import masked_parameters


@dataclass(frozen=True)
class RandomMasks:
    """Random masks for a network that is built later.

    scope: a name of `SCOPES`. sparsity: dropped share of its weights, in [0, 1). seed: of the draws. allocation: a name
    of `allocation.KINDS` but `like`.
    """

    scope: str
    sparsity: float
    seed: int
    allocation: str = ERK

    def of(self, network: nn.Module) -> dict[str, Tensor]:
        """The masks, bool on the CPU, by name; raises UserError as `masked_parameters` and `alive_counts` do."""
        shapes = {name: tuple(weight.shape) for name, weight in masked_parameters(network, self.scope).items()}
        counts = alive_counts(self.allocation, shapes, self.sparsity)
        if self.allocation == GLOBAL:
            scores = {name: torch.from_numpy(_rng(self.seed, name).random(shape)) for name, shape in shapes.items()}
            return keep_largest_of_all(scores, sum(counts.values()))
        return random_masks(shapes, counts, self.seed)


def random_masks(shapes: Shapes, counts: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Masks (bool, on the CPU) that keep `counts[name]` weights of each parameter, drawn by (seed, name) alone."""
    return {name: torch.from_numpy(_drawn(shape, counts[name], seed, name)) for name, shape in shapes.items()}


def _drawn(shape: tuple[int, ...], count: int, seed: int, name: str) -> np.ndarray:
    rng = _rng(seed, name)
    alive = np.zeros(shape, dtype=bool)
    alive.reshape(-1)[rng.permutation(alive.size)[:count]] = True
    return alive


def _rng(seed: int, name: str) -> np.random.Generator:
    return keyed_rng("mask", seed, name)
