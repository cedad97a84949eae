"""How far weight tickets agree that were found on different patches, beside chance and beside two seeds."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from vit_tickets.pipeline.inspection.weights_overlap import Masks, Shared
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.weights.rows import is_ticket, level_of

ALL = "all layers"


@dataclass(frozen=True)
class Overlap:
    """IoU of two masks, and of random ones that keep as many weights of each layer; means over pairs."""

    iou: float
    chance: float


@dataclass(frozen=True)
class Agreement:
    """The masks of one level that were found in two ways.

    Attributes:
        dataset: its name.
        model: short name.
        level: label of the level.
        row: `imp`, or with rewinding `imp:rewind5`.
        between: what differs between the two: `dense and lt sparsity 0.75` of one seed, or `two seeds of dense`.
        pairs: of tickets.
        layers: by name, all together first.
    """

    dataset: str
    model: str
    level: str
    row: str
    between: str
    pairs: int
    layers: dict[str, Overlap]


def agreements(runs: Iterable[RunResult]) -> list[Agreement]:
    """Of the tickets among `runs`: those found on different patches, seed by seed, then those of two seeds.

    Nothing where all tickets were found on the same patches.
    """
    found: dict[tuple[str, str, str, str], dict[str, dict[int | None, RunResult]]] = {}
    for run in runs:
        weights = run.config.weights
        if weights is None or run.masks is None or not is_ticket(weights.row):
            continue
        key = (run.config.dataset, run.model, level_of(weights, run.masks).label, weights.row)
        budget = f" {run.budget}" if run.budget else ""
        found.setdefault(key, {}).setdefault(f"{run.row}{budget}", {})[run.seed] = run
    return [each for key, by_patches in found.items() if len(by_patches) > 1 for each in _of_level(key, by_patches)]


def _of_level(
    key: tuple[str, str, str, str], by_patches: dict[str, dict[int | None, RunResult]]
) -> Iterator[Agreement]:
    masks = {run.folder: run.masks.masks() for of in by_patches.values() for run in of.values() if run.masks}
    for first, second in combinations(by_patches, 2):
        one, two = by_patches[first], by_patches[second]
        if pairs := [(one[seed], two[seed]) for seed in one if seed in two]:
            yield Agreement(*key, f"{first} and {second}", len(pairs), _overlaps(masks, pairs))
    for patches, by_seed in by_patches.items():
        if pairs := list(combinations(by_seed.values(), 2)):
            yield Agreement(*key, f"two seeds of {patches}", len(pairs), _overlaps(masks, pairs))


def _overlaps(masks: Mapping[str, Masks], pairs: list[tuple[RunResult, RunResult]]) -> dict[str, Overlap]:
    """Means over pairs, by layer; `masks` by the folder of a run, all of one network."""
    of_pairs = [(masks[first.folder], masks[second.folder]) for first, second in pairs]
    names = [name for name in of_pairs[0][0] if all(name in mask for pair in of_pairs for mask in pair)]
    shared = [{name: Shared.of(one[name], two[name]) for name in names} for one, two in of_pairs]
    found = {ALL: [Shared.together(list(each.values())) for each in shared]}
    found |= {name: [each[name] for each in shared] for name in names}
    return {
        name: Overlap(fmean(each.iou for each in of), fmean(each.chance for each in of)) for name, of in found.items()
    }
