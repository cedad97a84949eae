"""Runs that began with the same weights, at the same epoch, and saw other orders of the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.train.recipes.recipe import DEFAULTS

NEEDED = ("root", "model", "path", "recipe", "seed")


@dataclass(frozen=True)
class Pair:
    """Two children of the same weights. epoch: K, which these are of. first, second: folders of the runs."""

    epoch: int
    first: str
    second: str


@dataclass(frozen=True)
class _Begun:
    """What a run began with: epoch, SHA-256 of its weights and of its masks."""

    epoch: int
    weights: str
    masks: str | None


def pairs_of(roots: Sequence[str]) -> list[Pair]:
    """All pairs of runs of the same weights among `roots`, by the epoch of these.

    Raises UserError for a run that began with weights of its own, has no sibling, or has one that saw the same order of
    the data, or was trained otherwise.
    """
    families: dict[_Begun, list[tuple[str, RunConfig]]] = {}
    for root in dict.fromkeys(roots):
        config = RunConfig.read(root, NEEDED)
        families.setdefault(_begun(root, config), []).append((root, config))
    found = []
    for begun, runs in sorted(families.items(), key=lambda item: item[0].epoch):
        if len(runs) == 1:
            other = f"`train ... --seed {(runs[0][1].seed or 0) + 1}` makes one"
            raise UserError(f"{runs[0][0]}: expected another run from the same weights and masks, found none; {other}")
        for (first, one), (second, two) in combinations(runs, 2):
            _check_siblings(first, one, second, two)
            found.append(Pair(begun.epoch, first, second))
    return found


def _begun(root: str, config: RunConfig) -> _Begun:
    weights = config.weights
    begun_with = (weights and weights.rewind_sha256) or (config.initial and config.initial.sha256)
    if not begun_with:
        how = f"`train --init RUN/{epoch_weights(5)} --start-epoch 5 --seed S`, or `train --masks TICKET --seed S`"
        raise UserError(f"{root}: expected a run from weights that others began with, too ({how}), found other weights")
    return _Begun(config.first_epoch, begun_with, weights and weights.masks_sha256)


def _check_siblings(first: str, one: RunConfig, second: str, two: RunConfig) -> None:
    if one.seed == two.seed:
        raise UserError(f"{first}, {second}: expected other orders of the data (--seed), found seed {one.seed} twice")
    alike = [replace(config, seed=0, mask_seed=0) for config in (one, two)]
    if different := alike[0].difference(alike[1], DEFAULTS):
        raise UserError(f"{first}, {second}: expected runs that differ in their seed alone, found {different}")
