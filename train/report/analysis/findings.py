"""The results of one group of runs: verdicts, comparisons with baselines, pairs of runs, cost."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bootstrap import Contrast, bootstrap_means, contrast, lower_bound
from vit_tickets.train.report.analysis.bounds.planning import SPREAD, Needed
from vit_tickets.train.report.analysis.class_gains import ClassContrast, class_gains
from vit_tickets.train.report.analysis.comparison import Cell, Group
from vit_tickets.train.report.analysis.costs import Cost, cost
from vit_tickets.train.report.analysis.paired import Paired, paired
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.verdict import (
    BARELY,
    IN_THESE_RUNS,
    MIN_IMAGES,
    OPEN,
    Verdict,
    judge,
    learnt_too_little,
    needed,
    null_hypothesis,
)

# Dense accuracy, in percent, below which a baseline is weak: what a small network reaches with a full schedule.
WEAK_BELOW = {"cifar10": 90.0, "digits": 90.0}


@dataclass(frozen=True)
class NamedVerdict:
    """One of a group's verdicts.

    Attributes:
        name: which one.
        verdict: None if results are lacking.
        lacking: which results are lacking.
        todo: the commands that make these.
        weak_baseline: a sentence, if the dense accuracy to be matched is easily reached.
        decides: what would settle an open verdict, and what to type for it; None if no practical number would.
    """

    name: str
    verdict: Verdict | None
    lacking: str | None = None
    todo: tuple[str, ...] = ()
    weak_baseline: str | None = None
    decides: str | None = None


@dataclass(frozen=True)
class NullHypothesis:
    """Ticket minus a baseline that needs no ticket of the group's method.

    Attributes:
        name: row of the baseline.
        label: beats, ties, trails or inconclusive; ahead, behind, level or none with one seed, which settles nothing.
        sentence: why.
        contrast: the difference.
        needed: what would settle it, if it is open.
    """

    name: str
    label: str
    sentence: str
    contrast: Contrast
    needed: Needed


@dataclass(frozen=True)
class Finding:
    """The results of one group.

    Attributes:
        group: its runs.
        verdicts: one, or two for models that cannot drop patches.
        nulls: the ticket against baselines.
        paired: ticket and dense, ticket and random subset, of each common seed.
        classes: the same pairs class by class, all seeds together.
        cost: of training and selection.
        weak_below: dense accuracy in percent below which the baseline is weak; None if unknown.
    """

    group: Group
    verdicts: list[NamedVerdict]
    nulls: list[NullHypothesis]
    paired: list[Paired]
    classes: list[ClassContrast]
    cost: Cost
    weak_below: float | None


def find(group: Group, weak_below: float | None = None) -> Finding:
    """Compare the rows of `group` that have results.

    weak_below: dense accuracy in percent below which the baseline is weak; by default 90 for CIFAR-10 and digits (and
    their subsets, `cifar10-10000`), unknown for others.
    """
    if weak_below is None:
        weak_below = WEAK_BELOW.get(group.dataset.split("-")[0])
    verdicts = [_verdict(group, name, tested_on, weak_below) for name, tested_on in _tests(group)]
    pairs = [pair for _, tested_on in _tests(group) for pair in _pairs(group, tested_on)]
    return Finding(group, verdicts, _nulls(group), pairs, _classes(group), cost(group), weak_below)


def _tests(group: Group) -> list[tuple[str, str]]:
    """(name, tested on) of each verdict: two for models that cannot drop patches; none without a ticket to judge."""
    if group.budget is None or not any(PATHS[run.path].drops_patches for run in group.runs):
        return []
    if group.can_drop_patches:
        return [("verdict", "lt")]
    return [
        ("the paper's verdict (tested on whole images)", "dense"),
        ("the sparse verdict (tested on tickets)", "lt"),
    ]


def _cells(group: Group, tested_on: str) -> tuple[Cell, Cell, Cell]:
    """What a verdict compares: the ticket, dense, the random subset."""
    return ("lt", tested_on), (group.baseline, "dense"), (group.random, tested_on)


def _verdict(group: Group, name: str, tested_on: str, weak_below: float | None) -> NamedVerdict:
    ticket, dense, random = _cells(group, tested_on)
    lacking = [cell for cell in (ticket, dense, random) if cell not in group.matrix]
    if lacking:
        absent = [row for row, _ in lacking if not group.of(row)]
        found = f"; found no {' and no '.join(absent)} run" if absent else ""
        expected = ", ".join(cell_name(*cell) for cell in lacking)
        todo = [notices.making(group.runs, row, on, group.method, group.scored) for row, on in lacking]
        return NamedVerdict(name, None, f"expected results of {expected}{found}", tuple(dict.fromkeys(todo)))
    match, gap = _contrast(group, ticket, dense), _contrast(group, ticket, random)
    longest, shortest = _epochs(group, ticket, max), _epochs(group, dense, min)
    undertrained = _undertrained(group, dense, BARELY)
    judged = judge(match, gap, lt_epochs=longest, dense_epochs=shortest, undertrained=undertrained)
    cells = (ticket, dense, random)
    decides = _first(group, dense if undertrained else None, cells) or _decides(group, judged.needed, cells)
    return NamedVerdict(name, judged, weak_baseline=_weak_baseline(group, dense, weak_below), decides=decides)


def _decides(group: Group, wanted: Needed, cells: tuple[Cell, ...]) -> str | None:
    """`3 seeds per path, at even odds, ...: repeat dense, lt and rc with --seed 1 and --seed 2, ...`."""
    counts = [(wanted.images, "image"), (wanted.seeds, "seed")]
    counts = [notices.counted(count, noun) + (" per path" if noun == "seed" else "") for count, noun in counts if count]
    if not counts:
        return None
    single = min(len(_seeds_of(group, cell)) for cell in cells) == 1
    spread = f" and seeds differ by {SPREAD:g} points (standard deviation)" if single else ""
    said = f"about {' and '.join(counts)}, at even odds, if the differences found are the true ones{spread}"
    further = wanted.seeds and notices.further_seeds({cell[0]: _seeds_of(group, cell) for cell in cells}, wanted.seeds)
    return f"{said}: {further}" if further else said


def _first(group: Group, undertrained: Cell | None, cells: tuple[Cell, ...]) -> str | None:
    """What is needed before bounds mean anything: more images, or longer training of the `undertrained`; then seeds.

    None where there are enough images and all have learnt enough.
    """
    if group.images < MIN_IMAGES:
        said = f"at least {MIN_IMAGES} images to test on"
    elif undertrained is None:
        return None
    elif PATHS[undertrained[0].partition(":")[0]].is_trained:
        epochs = _epochs(group, undertrained, min)
        had = f"; it had {notices.counted(epochs, 'epoch')}" if epochs else ""
        said = f"{undertrained[0]} trained for longer (`--epochs`{had})"
    else:
        said = "dense runs in place of the published weights"
    seeds = {cell[0]: _seeds_of(group, cell) for cell in cells}
    if min(map(len, seeds.values())) > 1:
        return said
    wanted = max(2, *map(len, seeds.values()))
    return f"{said}, and {wanted} seeds per path: {notices.further_seeds(seeds, wanted)}"


def _seeds_of(group: Group, cell: Cell) -> list[int | None]:
    """The different seeds of a cell's runs."""
    return list(dict.fromkeys(run.seed for run in group.scored[cell]))


def _epochs(group: Group, cell: Cell, pick: Callable[[list[int]], int]) -> int | None:
    """The largest or smallest number of epochs of a cell's runs; None if that of any is unknown."""
    known = [run.epochs for run in group.scored[cell] if run.epochs is not None]
    return pick(known) if len(known) == len(group.scored[cell]) else None


def _weak_baseline(group: Group, dense: Cell, below: float | None) -> str | None:
    found = group.accuracies[dense].mean
    if below is None or found >= below:
        return None
    return (
        f"weak baseline: {cell_name(*dense)} is {found:.2f}%, under {below:g}%; tickets that match it may not match a "
        "better one"
    )


def _nulls(group: Group) -> list[NullHypothesis]:
    """Compare the ticket with baselines: a low resolution, and tickets of other methods."""
    low, no_ticket = "the low resolution with as many patches", "a ticket that does no better is no ticket"
    baselines = [(("small", "dense"), low, no_ticket)]
    for row in group.rows:
        if row.startswith("lt:"):
            moral = "a ticket that does no better needs no staged selection"
            baselines.append(((row, "lt"), f"the tickets of method {row.removeprefix('lt:')}", moral))
    if ("lt", "lt") not in group.matrix:
        return []
    return [_null(group, cell, baseline, moral) for cell, baseline, moral in baselines if cell in group.matrix]


def _null(group: Group, cell: Cell, baseline: str, moral: str) -> NullHypothesis:
    compared, dense = _contrast(group, ("lt", "lt"), cell), (group.baseline, "dense")
    weak_dense = _undertrained(group, dense, BARELY) if dense in group.matrix else None
    undertrained = weak_dense or _undertrained(group, cell)
    label, sentence = null_hypothesis(compared, baseline, moral, undertrained)
    wanted = needed(compared, 0.0) if label in OPEN else Needed()
    if label in IN_THESE_RUNS:
        both = {row: _seeds_of(group, (row, on)) for row, on in (("lt", "lt"), cell)}
        sentence += f"; one seed settles nothing: {notices.further_seeds(both, max(2, *map(len, both.values())))}"
    elif first := _first(group, (dense if weak_dense else cell) if undertrained else None, (("lt", "lt"), cell)):
        sentence += f"; what would decide: {first}"
    return NullHypothesis(cell[0], label, sentence, compared, wanted)


def _undertrained(group: Group, cell: Cell, share: float = 0.0) -> str | None:
    low = lower_bound(bootstrap_means({"": group.matrix[cell]})[""])
    chance = 100 * np.unique(group.labels, return_counts=True)[1].max() / group.images
    return learnt_too_little(cell_name(*cell), low, chance, share)


def _pairs(group: Group, tested_on: str) -> list[Paired]:
    """The runs of one seed, side by side; none for plain weights, which have no seed."""
    ticket, *others = _cells(group, tested_on)
    return [
        paired(cell_name(*ticket), lt_n, cell_name(*other), other_n, lt.seed)
        for other in others
        for lt, lt_n in _by_run(group, ticket)
        for run, other_n in _by_run(group, other)
        if lt.seed is not None and lt.seed == run.seed
    ]


def _classes(group: Group) -> list[ClassContrast]:
    cells = [_cells(group, tested_on) for _, tested_on in _tests(group)]
    pairs = dict.fromkeys((ticket, other) for ticket, *others in cells for other in others)
    return [
        ClassContrast(
            cell_name(*ticket),
            cell_name(*other),
            class_gains(group.matrix[ticket], group.matrix[other], group.labels),
        )
        for ticket, other in pairs
        if {ticket, other} <= group.matrix.keys()
    ]


def _by_run(group: Group, cell: Cell) -> list[tuple[RunResult, np.ndarray]]:
    return list(zip(group.scored[cell], group.matrix[cell], strict=True)) if cell in group.scored else []


def _contrast(group: Group, minuend: Cell, subtrahend: Cell) -> Contrast:
    seeds = len(_seeds_of(group, minuend)), len(_seeds_of(group, subtrahend))
    return contrast(cell_name(*minuend), group.matrix[minuend], cell_name(*subtrahend), group.matrix[subtrahend], seeds)


def cell_name(row: str, on: str) -> str:
    """Name of a cell of the matrix in sentences: `LT on lt`, `lt:centre on dense`."""
    path, colon, variant = row.partition(":")
    return f"{PATHS[path].title or path}{colon}{variant} on {on}"
