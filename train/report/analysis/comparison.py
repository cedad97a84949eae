"""Runs that belong together: one dataset, model and budget, tested on the same images; the matrix of their results."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import DECLARED
from vit_tickets.pipeline.runs.paths import OWN, PARTIAL, PATHS, path_of
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.runs.rows import ITS_OWN, RowName
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.bootstrap import Accuracy, Contrast, accuracy, contrast
from vit_tickets.train.report.analysis.matching import check_same_images, kept_apart, of_sizes, wanted_tickets
from vit_tickets.train.report.analysis.notices import Untested, missing, sinks, warnings
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.unseen import unseen

BASELINES = ("dense", "weights")  # plain weights stand in where there is no dense run
ORDER = tuple(PATHS)
Cell = tuple[str, str]  # trained on, tested on


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs of one dataset, model and budget, evaluated on the same images.

    A row is what runs were trained on: a path, or more than a path (`lt:centre`, `rc:fresh`; see `RunResult.row`). A
    column is what they were tested on: tickets and random subsets are those of the method that a run was trained with,
    or of `method` for a run without tickets.

    Attributes:
        dataset: name that all runs share.
        model: short name without pretrained tag.
        budget: None for runs without one.
        cross_fit: whether the tickets tested on are cross-fitted.
        runs: in the order of the table.
        scored: by (row, column), the runs with such predictions, in the order of `runs`.
        reference: the predictions that all others were checked against; None if there are none.
        method: `staged` unless no run has it, then the first run's.
        tickets: by method, the provenance of the tickets tested on.
        missing: sentences on runs and predictions that are not there.
        warnings: sentences on what makes a comparison doubtful.
    """

    dataset: str
    model: str
    budget: Budget | None
    cross_fit: bool
    runs: list[RunResult]
    scored: dict[Cell, list[RunResult]]
    reference: Predictions | None
    method: str
    tickets: dict[str, TicketProvenance]
    missing: list[str]
    warnings: list[str]

    def of(self, row: str) -> list[RunResult]:
        return [run for run in self.runs if run.row == row]

    @property
    def rows(self) -> list[str]:
        """The rows that have runs, in the order of the table."""
        return list(dict.fromkeys(run.row for run in self.runs))

    @cached_property
    def matrix(self) -> dict[Cell, np.ndarray]:
        """By (row, column) the correctness of each run of `scored`, bool (S, n), images in the order of their keys."""
        return {
            (row, on): np.stack([run.predictions[on].correct for run in runs])
            for (row, on), runs in self.scored.items()
        }

    @property
    def baseline(self) -> str:
        """The path that the ticket has to match: dense, or plain weights if there is no dense run."""
        return next((path for path in BASELINES if self.of(path)), "dense")

    @property
    def random(self) -> str:
        """The row that the ticket has to beat, at its size: rc, or a random subset of another kind without rc runs."""
        name = RowName(path="rc", size=RowName.parse(self.ticket).size)
        of_rc = [run for run in self.runs if run.path == "rc" and run.method == self.method and run.size == name.size]
        return next((run.row for run in of_rc), str(name))

    @property
    def ticket(self) -> str:
        """The row of tickets: lt, or without one that of the group's method, if a selector or scores that were brought
        chose them; at the size of dense training, or at the smallest that there is."""
        selects = self.method in DECLARED and DECLARED[self.method].looks_at in ("selector", "scores")
        sizes = (None, *sorted({run.size for run in self.runs if run.size}))
        rows = [str(RowName(path="lt", method=self.method, size=size)) for size in sizes if selects]
        return next((row for row in rows if self.of(row)), "lt")

    def own(self, row: str) -> Cell | None:
        """The cell of a row tested on what it was trained on; None without such predictions."""
        on = own_input(row)
        return (row, on) if on and (row, on) in self.scored else None

    def whole(self, row: str) -> Cell | None:
        """The cell of a row tested on whole images, as networks are deployed; None without such predictions."""
        return (row, "dense") if (row, "dense") in self.scored else None

    def cell_name(self, cell: Cell) -> str:
        """Name of a cell in sentences."""
        return cell_name(*cell)

    @property
    def base_size(self) -> int | None:
        """Side in pixels of the views of rows whose names say no size; None if unknown."""
        runs = [run for run in self.runs if run.size is None and not PATHS[run.path].low_resolution]
        return next((run.config.image_size for run in runs), None)

    @property
    def can_drop_patches(self) -> bool:
        """False for models that see dropped patches masked (Swin, ResNets)."""
        return all(run.config.can_drop_patches for run in self.runs)

    @property
    def images(self) -> int:
        return 0 if self.reference is None else len(self.reference.keys)

    @property
    def labels(self) -> np.ndarray:
        """The label of each image, int (n,), in the order of their keys."""
        return np.empty(0, np.int64) if self.reference is None else self.reference.labels

    @property
    def keys(self) -> pa.Array:
        """The keys of the images, ascending."""
        return pa.array([], pa.string()) if self.reference is None else self.reference.keys

    @property
    def errors(self) -> int:
        """Images that every path left out because they have no ticket."""
        counts = [p.provenance.errors or 0 for run in self.runs for p in run.predictions.values()]
        return max(counts, default=0)

    @property
    def read_off(self) -> bool:
        """Whether a run's tickets were read off the ranks of a manifest made for another budget."""
        return any(run.config.read_off for run in self.runs)

    @property
    def kept(self) -> tuple[int, int] | None:
        """(patches kept, patches of an image) of the first run on some of the patches; None if unknown."""
        budgeted = [run.config for run in self.runs if run.path in PARTIAL and run.config.num_patches]
        return (budgeted[0].kept, budgeted[0].num_patches) if budgeted else None

    @property
    def patches(self) -> str:
        """`9 of 36`: patches kept of an image's, `196 of 324 or 484` at two image sizes; a dash if unknown."""
        if self.kept is None:
            return "-"
        of = dict.fromkeys(run.config.num_patches for run in self.runs if run.path in PARTIAL and run.config.kept)
        return f"{self.kept[0]} of {' or '.join(map(str, of))}"

    def patches_of(self, row: str) -> str:
        """The same of one row, at its own image size."""
        sized = [run.config for run in self.of(row) if run.size and run.path in PARTIAL]
        return f"{sized[0].kept} of {sized[0].num_patches}" if sized else self.patches

    @property
    def dropped(self) -> float:
        """Share of patches that are dropped, percent; 0 if unknown."""
        return 100 * (1 - self.kept[0] / self.kept[1]) if self.kept else 0.0

    @cached_property
    def accuracies(self) -> dict[Cell, Accuracy]:
        """The matrix in percent, with intervals."""
        return {cell: accuracy(correct_Sn, len(self.seeds(cell))) for cell, correct_Sn in self.matrix.items()}

    def seeds(self, cell: Cell) -> list[int | None]:
        """The different seeds of a cell's runs."""
        return list(dict.fromkeys(run.seed for run in self.scored[cell]))

    def contrast(self, minuend: Cell, subtrahend: Cell) -> Contrast:
        """The accuracy of one cell minus that of another."""
        found = self._contrasts
        if (minuend, subtrahend) not in found:
            cells = (minuend, subtrahend)
            first, second = ((cell_name(*cell), self.matrix[cell]) for cell in cells)
            counts = len(self.seeds(minuend)), len(self.seeds(subtrahend))
            found[cells] = contrast(*first, *second, counts)
        return found[minuend, subtrahend]

    @cached_property
    def _contrasts(self) -> dict[tuple[Cell, Cell], Contrast]:
        """Those that were computed, for resampling takes its time."""
        return {}


def own_input(row: str) -> str | None:
    """The column of what a row was trained on; None where a test on it would tell labels (`lt:class-swapped`)."""
    name = RowName.parse(row)
    if not name.trained_on.sees_part:
        return "dense"
    if name.trained_on.chooses_patches:
        return OWN
    if name.ticket == ITS_OWN:
        return name.path
    return OWN if OWN in name.tested_on else None


def cell_name(row: str, on: str) -> str:
    """Name of a cell of the matrix in sentences: `LT on lt`, `LT:centre on dense`."""
    path = path_of(row)
    return f"{path.title or path.name}{row.removeprefix(path.name)} on {on}"


def group_runs(runs: list[RunResult]) -> list[Group]:
    """Group runs by dataset, model, budget and kind of selection (cross-fitted or not).

    Runs without a budget or a kind join all groups of their model. Selectors must not be among `runs`. Raises UserError
    if runs of a group cannot be compared: other images, labels, view or tickets, or one seed twice in a row.
    """
    groups = []
    for dataset, model in dict.fromkeys((run.config.dataset, run.model) for run in runs):
        of_model = [run for run in runs if (run.config.dataset, run.model) == (dataset, model)]
        budgets = sorted({run.budget for run in of_model if run.budget}, key=lambda budget: budget.label)
        for budget in budgets or [None]:
            members = of_sizes([run for run in of_model if run.budget in (None, budget)], budget)
            kinds = sorted({run.cross_fit for run in members if run.cross_fit is not None})
            for cross_fit in kinds or [False]:
                groups.append(_group(_of_kind(members, cross_fit), budget, cross_fit))
    return groups


def _of_kind(runs: list[RunResult], cross_fit: bool) -> list[RunResult]:
    """The runs that are compared on tickets of that kind; of two dense runs of one seed, the one tested on them."""
    tested = {run.folder: run.predictions["lt"].cross_fit for run in runs if "lt" in run.predictions}
    fitting = {(run.row, run.seed) for run in runs if tested.get(run.folder) == cross_fit}
    return [
        run
        for run in runs
        if run.cross_fit == cross_fit
        or (run.cross_fit is None and (tested.get(run.folder) == cross_fit or (run.row, run.seed) not in fitting))
    ]


def _group(runs: list[RunResult], budget: Budget | None, cross_fit: bool) -> Group:
    runs = sorted(runs, key=lambda run: (ORDER.index(run.path), run.row, run.seed or 0, run.folder))
    _check_seeds(runs)
    wanted = wanted_tickets(runs, budget, cross_fit)
    reference: Predictions | None = None
    scored: dict[Cell, list[RunResult]] = {}
    untested = []
    for run in runs:
        others: dict[str, list[str]] = {}  # what is tested on, by what differs about its tickets
        for on, predictions in run.predictions.items():
            if run.on_tickets(on) and (differs := wanted.difference(run, predictions)):
                others.setdefault(differs, []).append(on)
                continue
            reference = reference or predictions
            own_size = run.size is not None or PATHS[run.path].low_resolution
            check_same_images(reference, predictions, same_size=not own_size)
            scored.setdefault((run.row, on), []).append(run)
        untested += [Untested(run, on, differs) for differs, on in others.items()]
    records = {name: p.tickets for name, p in wanted.by_method.items() if p.tickets}
    return Group(
        dataset=runs[0].config.dataset,
        model=runs[0].model,
        budget=budget,
        cross_fit=cross_fit,
        runs=runs,
        scored=scored,
        reference=reference,
        method=wanted.method,
        tickets=records,
        missing=missing(runs, wanted.method, untested),
        warnings=[*warnings(runs, records), *kept_apart(runs), *sinks(runs, reference), *unseen(runs)],
    )


def _check_seeds(runs: list[RunResult]) -> None:
    seen: dict[tuple, RunResult] = {}
    for run in runs:
        # A mask seed changes random subsets and draws alone: otherwise such runs would be one run twice.
        identity = (run.row, run.seed, run.config.mask_seed if RowName.of(run.config).is_drawn else None)
        if identity in seen:
            raise UserError(
                f"expected one {run.row} run per seed, found {seen[identity].folder} and {run.folder}, "
                f"both with seed {run.seed}"
            )
        seen[identity] = run
