"""The results of one group of runs: verdicts, comparisons with baselines, pairs of runs, cost."""

from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.class_gains import ClassContrast, class_gains
from vit_tickets.train.report.analysis.comparison import Cell, Group, cell_name
from vit_tickets.train.report.analysis.contrasts import deciding, nulls
from vit_tickets.train.report.analysis.contrasts.differences import Difference, differences
from vit_tickets.train.report.analysis.contrasts.nulls import NullHypothesis
from vit_tickets.train.report.analysis.contrasts.pairs import Paired, paired
from vit_tickets.train.report.analysis.costs import Cost, cost
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.verdict import BARELY, Verdict, judge

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
class Finding:
    """The results of one group.

    Attributes:
        group: its runs.
        verdicts: one, or two for models that cannot drop patches.
        nulls: the ticket against every other row, each on its own input.
        nulls_deployed: the same on whole images.
        differences: every row minus dense, as deployed and on its own input; training on tickets at all.
        paired: ticket and dense, ticket and random subset, of each common seed.
        classes: the same pairs class by class, all seeds together.
        cost: of training and selection.
        weak_below: dense accuracy in percent below which the baseline is weak; None if unknown.
    """

    group: Group
    verdicts: list[NamedVerdict]
    nulls: list[NullHypothesis]
    nulls_deployed: list[NullHypothesis]
    differences: list[Difference]
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
    return Finding(
        group=group,
        verdicts=verdicts,
        nulls=nulls.on_own_input(group),
        nulls_deployed=nulls.as_deployed(group),
        differences=differences(group),
        paired=pairs,
        classes=_classes(group),
        cost=cost(group),
        weak_below=weak_below,
    )


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
    return (group.ticket, tested_on), (group.baseline, "dense"), (group.random, tested_on)


def _verdict(group: Group, name: str, tested_on: str, weak_below: float | None) -> NamedVerdict:
    ticket, dense, random = _cells(group, tested_on)
    lacking = [cell for cell in (ticket, dense, random) if cell not in group.matrix]
    if lacking:
        absent = [row for row, _ in lacking if not group.of(row)]
        found = f"; found no {' and no '.join(absent)} run" if absent else ""
        expected = ", ".join(cell_name(*cell) for cell in lacking)
        todo = [notices.making(group.runs, row, on, group.method, group.scored) for row, on in lacking]
        return NamedVerdict(name, None, f"expected results of {expected}{found}", tuple(dict.fromkeys(todo)))
    match, gap = group.contrast(ticket, dense), group.contrast(ticket, random)
    longest, shortest = deciding.epochs(group, ticket, max), deciding.epochs(group, dense, min)
    undertrained = deciding.undertrained(group, dense, BARELY)
    judged = judge(match, gap, lt_epochs=longest, dense_epochs=shortest, undertrained=undertrained)
    cells = (ticket, dense, random)
    first = deciding.first(group, dense if undertrained else None, cells)
    decides = first or deciding.decides(group, judged.needed, cells)
    return NamedVerdict(name, judged, weak_baseline=_weak_baseline(group, dense, weak_below), decides=decides)


def _weak_baseline(group: Group, dense: Cell, below: float | None) -> str | None:
    found = group.accuracies[dense].mean
    if below is None or found >= below:
        return None
    return (
        f"weak baseline: {cell_name(*dense)} is {found:.2f}%, under {below:g}%; tickets that match it may not match a "
        "better one"
    )


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
            (len(group.seeds(ticket)), len(group.seeds(other))),
        )
        for ticket, other in pairs
        if {ticket, other} <= group.matrix.keys()
    ]


def _by_run(group: Group, cell: Cell) -> list[tuple[RunResult, np.ndarray]]:
    return list(zip(group.scored[cell], group.matrix[cell], strict=True)) if cell in group.scored else []
