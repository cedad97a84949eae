"""What would settle a difference that is open: more images, longer training, further seeds, and what to type."""

from collections.abc import Callable

import numpy as np

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bootstrap import bootstrap_means, lower_bound
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES, share_for_bounds
from vit_tickets.train.report.analysis.bounds.planning import SPREAD, Needed
from vit_tickets.train.report.analysis.comparison import Cell, Group
from vit_tickets.train.report.analysis.plans import again
from vit_tickets.train.report.analysis.verdict import learnt_too_little
from vit_tickets.train.report.analysis.weights.groups import WeightGroup

LONGER = 4  # times as many epochs, where the ones there were are too few
Compared = Group | WeightGroup  # rows of patches, or of weights


def decides(group: Compared, wanted: Needed, cells: tuple[Cell, ...]) -> str | None:
    """`3 seeds per path, at even odds, ...: repeat dense, lt and rc with --seed 1 and --seed 2, ...`."""
    counts = [(wanted.images, "image"), (wanted.seeds, "seed")]
    counts = [notices.counted(count, noun) + (" per path" if noun == "seed" else "") for count, noun in counts if count]
    if not counts:
        return None
    single = min(len(group.seeds(cell)) for cell in cells) == 1
    spread = f" and seeds differ by {SPREAD:g} points (standard deviation)" if single else ""
    said = f"about {' and '.join(counts)}, at even odds, if the differences found are the true ones{spread}"
    seeds = {cell[0]: group.seeds(cell) for cell in cells}
    further = wanted.seeds and notices.further_seeds(group.runs, seeds, wanted.seeds)
    return f"{said}: {further}" if further else said


def first(group: Compared, undertrained: Cell | None, cells: tuple[Cell, ...]) -> str | None:
    """What is needed before bounds mean anything: more images, or longer training of the `undertrained`; then seeds.

    None where there are enough images and all have learnt enough.
    """
    longer = None
    if group.images < MIN_IMAGES:
        said = f"at least {MIN_IMAGES} images to test on"
    elif undertrained is None:
        return None
    elif all(PATHS[run.path].is_trained for run in group.scored[undertrained]):
        shortest = epochs(group, undertrained, min)
        had = f"; it had {notices.counted(shortest, 'epoch')}" if shortest else ""
        said = f"{undertrained[0]} trained for longer (`--epochs`{had})"
        longer = _longer(group, shortest, max(2, *(len(group.seeds(cell)) for cell in cells)))
    else:
        said = "dense runs in place of the published weights"
    seeds = {cell[0]: group.seeds(cell) for cell in cells}
    wanted = max(2, *map(len, seeds.values()))
    typed = anew(group, wanted) if group.images < MIN_IMAGES else longer
    if min(map(len, seeds.values())) > 1:
        return f"{said}: {typed}" if typed else said
    return f"{said}, and {wanted} seeds per path: {typed or notices.further_seeds(group.runs, seeds, wanted)}"


def anew(group: Compared, seeds: int) -> str | None:
    """What to type for enough images where all runs are of one plan that holds val out of train; None where nothing
    does. Its own folder stays with the images that it has."""
    plans = {(run.made_by, run.val_share) for run in group.runs}
    (plan, held), *others = plans
    share = share_for_bounds(group.images, held) if plan and not others else None
    if plan is None or share is None:
        return None
    command, out = plan
    typed = f"`vit-tickets {command} ... --val-share {share:g} --seeds {seeds} --out NEW`"
    return f"{typed}, with its other options as before, makes all anew in a folder NEW ({out} keeps its images)"


def _longer(group: Compared, epochs: int | None, seeds: int) -> str | None:
    """What to type for runs of more epochs where all are of one plan, which keeps the epochs that it has."""
    plan = group.runs[0].made_by
    if plan is None or epochs is None:
        return None
    more = LONGER * epochs
    out = f"{plan[1]}-epochs{more}"
    typed = again(group.runs, {"--epochs": more, "--seeds": seeds, "--out": out})
    return typed and f"{typed} makes all anew in another --out, with {more} epochs as an example"


def epochs(group: Compared, cell: Cell, pick: Callable[[list[int]], int]) -> int | None:
    """The largest or smallest number of epochs of a cell's runs; None if that of any is unknown."""
    known = [run.epochs for run in group.scored[cell] if run.epochs is not None]
    return pick(known) if len(known) == len(group.scored[cell]) else None


def undertrained(group: Compared, cell: Cell, share: float = 0.0) -> str | None:
    """Why the runs of a cell have learnt too little to be compared; see `learnt_too_little`."""
    return too_little(group.cell_name(cell), group.matrix[cell], group.labels, share)


def too_little(name: str, correct_Sn: np.ndarray, labels_n: np.ndarray, share: float = 0.0) -> str | None:
    """The same of runs by their correctness, bool (S, n), beside the labels of the images, int (n,)."""
    low = lower_bound(bootstrap_means({"": correct_Sn})[""])
    chance = 100 * np.unique(labels_n, return_counts=True)[1].max() / len(labels_n)
    return learnt_too_little(name, low, chance, share)
