"""Runs of one model and budget by what they were trained on and by how they come to fewer weights, and what is found.

The rule is that of all verdicts. Patches are judged as in every sweep: tickets beside dense, and beside random subsets
tested on tickets. Weights are judged beside their null hypothesis: a ticket's mask on other weights, or random masks.
Both together have to beat either.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vit_tickets.pipeline.runs.paths import PATHS, path_of
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bootstrap import Accuracy, Contrast, accuracy, contrast
from vit_tickets.train.report.analysis.comparison import Group, own_input
from vit_tickets.train.report.analysis.contrasts import deciding
from vit_tickets.train.report.analysis.contrasts.findings import WEAK_BELOW, NamedVerdict
from vit_tickets.train.report.analysis.joint.sums import Interaction, interaction
from vit_tickets.train.report.analysis.matching import check_same_images, check_same_tickets
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.verdict import BARELY, Verdict, judge
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, cell_of
from vit_tickets.train.report.analysis.weights.macs import counted_of, executed_of
from vit_tickets.train.report.analysis.weights.rows import DENSE, REINIT, TICKET, found_on, is_ticket, level_of, place

Cell = tuple[str, str, str]  # row of patches, row of weights, label of its level
Tested = tuple[Cell, str]  # and the column that it was tested on
REFERENCE: Cell = (DENSE, *ALL_WEIGHTS)
STATIC = "static"
# From the worst to the best: both questions together are answered as the worse of them.
WORST_FIRST = ("loses", "behind", "none", "inconclusive", "level", "ahead", "wins")


@dataclass(frozen=True, kw_only=True)
class JointGroup:
    """The tested runs of one dataset, model and budget, with all weights and with fewer.

    Attributes:
        dataset: its name.
        model: short name.
        budget: of patches, in words.
        runs: by cell, in the order of tables.
        predictions: of each cell in each column, run by run.
        labels: of the images, int (n,).
    """

    dataset: str
    model: str
    budget: str
    runs: dict[Cell, list[RunResult]]
    predictions: dict[Tested, list[Predictions]]
    labels: np.ndarray = field(repr=False)

    @cached_property
    def matrix(self) -> dict[Tested, np.ndarray]:
        """Correctness, bool (S, n)."""
        return {of: np.stack([each.correct for each in found]) for of, found in self.predictions.items()}

    @property
    def images(self) -> int:
        return len(self.labels)

    def seeds(self, of: Tested) -> int:
        """The number of different seeds."""
        return len({run.seed for run in self.runs[of[0]] if of[1] in run.predictions})

    def own(self, cell: Cell) -> Tested:
        """The cell on what it was trained on."""
        return cell, own_input(cell[0]) or "dense"

    def cell_name(self, of: Tested) -> str:
        """`lt with imp on lt`; without `with` for all weights."""
        (patches, weights, _), on = of
        return f"{patches}{'' if weights == DENSE else f' with {weights}'} on {on}"

    def contrast(self, minuend: Tested, subtrahend: Tested) -> Contrast | None:
        """The difference of two cells with the bounds of all reports; None where one has no predictions."""
        if minuend not in self.matrix or subtrahend not in self.matrix:
            return None
        first, second = ((self.cell_name(of), self.matrix[of]) for of in (minuend, subtrahend))
        return contrast(*first, *second, (self.seeds(minuend), self.seeds(subtrahend)))


@dataclass(frozen=True, kw_only=True)
class JointRow:
    """What is found about one cell.

    Attributes:
        cell: of patches and weights.
        counted: multiply-adds of an image in which dead weights cost nothing, the mean over runs; None if unknown.
        executed: multiply-adds of an image as trained.
        own: top-1 on what it was trained on.
        whole: top-1 on whole images.
        minus_dense: on its own input, minus all weights and patches.
        nulls: minus each of its null hypotheses, by `patches` and `weights`.
        wins_on: `patches`, `weights` or `both`, for what has a verdict; empty for what others are compared with.
        named: that verdict.
        adds: whether its losses add; None where one of the two is not lessened.
    """

    cell: Cell
    counted: float | None
    executed: float | None
    own: Accuracy | None
    whole: Accuracy | None
    minus_dense: Contrast | None
    nulls: dict[str, Contrast]
    wins_on: str
    named: NamedVerdict | None
    adds: Interaction | None


@dataclass(frozen=True)
class JointFinding:
    """The table of one group."""

    group: JointGroup
    rows: list[JointRow]


def find_joint(group: Group, runs: Sequence[RunResult]) -> JointFinding:
    """The table over the runs of `group`, which keep all weights, and those of `runs`, which do not.

    Raises UserError where runs were tested on other images or tickets.
    """
    joint = _joined(group, [run for run in runs if run.config.weights is not None])
    return JointFinding(joint, [_row(joint, cell) for cell in joint.runs])


def _joined(group: Group, fewer: list[RunResult]) -> JointGroup:
    found: dict[Cell, list[RunResult]] = {}
    for run in sorted((*group.runs, *fewer), key=lambda run: (run.seed or 0, run.folder)):
        found.setdefault((run.row, *cell_of(run)), []).append(run)
    rows = [run.row for run in group.runs]
    runs = dict(sorted(found.items(), key=lambda of: _place(rows, of[0], of[1][0])))
    predictions: dict[Tested, list[Predictions]] = {}
    first: dict[str, Predictions] = {}
    for cell, of_cell in runs.items():
        for run in of_cell:
            for on, each in run.predictions.items():
                if group.reference is not None:
                    sized = run.size is not None or PATHS[run.path].low_resolution
                    check_same_images(group.reference, each, same_size=not sized)
                if run.on_tickets(on) and run.method == group.method:
                    check_same_tickets(first.setdefault(on, each), each)
                predictions.setdefault((cell, on), []).append(each)
    return JointGroup(
        dataset=group.dataset,
        model=group.model,
        budget="" if group.budget is None else str(group.budget),
        runs=runs,
        predictions=predictions,
        labels=group.labels,
    )


def _place(rows: list[str], cell: Cell, run: RunResult) -> tuple[Any, ...]:
    """Rows of patches in their order, in each all weights first, then methods by level."""
    weights = run.config.weights
    level = (() if weights is None else (place(weights.row)[0], level_of(weights, run.masks), place(weights.row)),)
    return (rows.index(cell[0]) if cell[0] in rows else len(rows), cell[0], level)


def _row(group: JointGroup, cell: Cell) -> JointRow:
    own = group.own(cell)
    nulls = {kind: null for kind, null in _nulls(group, cell).items() if null is not None}
    gaps = {kind: found for kind, of in nulls.items() if (found := group.contrast(*of))}
    wins_on = _question(cell)
    return JointRow(
        cell=cell,
        counted=_mean(group.runs[cell], counted_of),
        executed=_mean(group.runs[cell], executed_of),
        own=_accuracy(group, own),
        whole=_accuracy(group, (cell, "dense")),
        minus_dense=None if cell == REFERENCE else group.contrast(own, (REFERENCE, "dense")),
        nulls=gaps,
        wins_on=wins_on,
        named=_verdict(group, cell, wins_on, gaps) if wins_on else None,
        adds=_adds(group, cell),
    )


def _accuracy(group: JointGroup, of: Tested) -> Accuracy | None:
    return accuracy(group.matrix[of], group.seeds(of)) if of in group.matrix else None


def _question(cell: Cell) -> str:
    """Whether a win of the cell would be one on patches, on weights or on both; empty for what is compared with."""
    patches, weights, _ = cell
    is_method = weights not in (DENSE, STATIC) and (":" not in weights or is_ticket(weights))
    if is_method and weights == "s2vite":
        return ""  # there are no random heads and neurons to beat
    if path_of(patches).name == "lt":
        return "patches" if weights == DENSE else "both" if is_method else ""
    return "weights" if patches == DENSE and is_method else ""


def _nulls(group: JointGroup, cell: Cell) -> dict[str, tuple[Tested, Tested] | None]:
    """What is subtracted from what: for patches random subsets with the same weights, both on tickets; for weights the
    same patches with the ticket's mask on other weights, or with random masks."""
    patches, weights, level = cell
    found: dict[str, tuple[Tested, Tested] | None] = {}
    if path_of(patches).name == "lt":
        name = RowName.parse(patches)
        random = str(RowName(path="rc", size=name.size))
        found["patches"] = ((cell, "lt"), ((random, weights, level), "lt"))
    if weights in (DENSE, STATIC) or weights.endswith(REINIT):
        return found
    null = f"{weights}:{REINIT}" if is_ticket(weights) else STATIC
    if found_on(weights) is None and weights != "s2vite":
        found["weights"] = (group.own(cell), group.own((patches, null, level)))
    return found


def _verdict(group: JointGroup, cell: Cell, wins_on: str, gaps: dict[str, Contrast]) -> NamedVerdict:
    name = " x ".join(filter(None, [cell[0], " at ".join(filter(None, cell[1:])) if cell[1] != DENSE else ""]))
    match = group.contrast(group.own(cell), (REFERENCE, "dense"))
    wanted = ("patches", "weights") if wins_on == "both" else (wins_on,)
    lacking = [] if match else ["dense and of this row"]
    lacking += [f"its null hypothesis on {kind}" for kind in wanted if kind not in gaps]
    if match is None or lacking:
        return NamedVerdict(name, None, f"expected results of {notices.listed(lacking)}, found none")
    undertrained = _undertrained(group)
    epochs = [_epochs(group, of, pick) for of, pick in ((cell, max), (REFERENCE, min))]
    judged = [judge(match, gaps[kind], *epochs, undertrained=undertrained) for kind in wanted]
    worst = min(judged, key=lambda each: WORST_FIRST.index(each.label))
    return NamedVerdict(name, _together(worst, judged), weak_baseline=_weak_baseline(group))


def _together(worst: Verdict, judged: list[Verdict]) -> Verdict:
    """`worst` with the reasons of all."""
    reasons = dict.fromkeys(reason for each in judged for reason in each.reasons)
    return Verdict(worst.label, tuple(reasons), worst.scope, worst.match, worst.gap, worst.needed, worst.standing)


def _undertrained(group: JointGroup) -> str | None:
    of = REFERENCE, "dense"
    return deciding.too_little(group.cell_name(of), group.matrix[of], group.labels, BARELY)


def _weak_baseline(group: JointGroup) -> str | None:
    below, found = WEAK_BELOW.get(group.dataset.split("-")[0]), _accuracy(group, (REFERENCE, "dense"))
    if below is None or found is None or found.mean >= below:
        return None
    return (
        f"weak baseline: dense on dense is {found.mean:.2f}%, under {below:g}%; what matches it may not match a better"
    )


def _epochs(group: JointGroup, cell: Cell, pick: Callable[[list[int]], int]) -> int | None:
    known = [run.epochs for run in group.runs[cell] if run.epochs is not None]
    return pick(known) if len(known) == len(group.runs[cell]) else None


def _adds(group: JointGroup, cell: Cell) -> Interaction | None:
    """Of a cell on its own input, the same weights on all patches, and all weights on the same patches."""
    patches, weights, level = cell
    alone = TICKET if found_on(weights) and not weights.endswith(REINIT) else weights
    of = [group.own(each) for each in (cell, (DENSE, alone, level), (patches, *ALL_WEIGHTS), REFERENCE)]
    if patches == DENSE or weights == DENSE or any(each not in group.matrix for each in of):
        return None
    return interaction(*(group.matrix[each] for each in of), seeds=[group.seeds(each) for each in of])


def _mean(runs: list[RunResult], count: Callable[[RunResult], int | None]) -> float | None:
    known = [found for run in runs if (found := count(run)) is not None]
    return sum(known) / len(known) if known and len(known) == len(runs) else None
