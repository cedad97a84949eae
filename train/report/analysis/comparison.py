"""Runs that belong together: one dataset, model and budget, tested on the same images; the matrix of their results."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.paths import DROPPING, PATHS
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.bootstrap import Accuracy, accuracy
from vit_tickets.train.report.analysis.results import RunResult

BASELINES = ("dense", "weights")  # plain weights stand in where there is no dense run
ORDER = tuple(PATHS)
# What tickets of two methods have to share, for only the choice of patches to differ.
SHARED = ("dataset", "num_patches", "sparsity", "keep_rate", "mask_seed", "view", "kept")


@dataclass(frozen=True)
class Group:
    """Runs of one dataset, model and budget, evaluated on the same images.

    Rows are what runs were trained on: a path, or one with what sets it apart (`lt:centre`, `rc:fresh`; see
    `RunResult.row`). Columns are what they were tested on; tickets and random subsets are those of the method that a
    run was trained with, of runs without any those of `method`. scored: by (row, column) the runs with such
    predictions, in the order of `runs`. reference: the predictions that all others were checked against; None where
    there are none. method: the group's own, `staged` unless no run is of it. tickets: provenance of the tickets tested
    on, by method. cross_fit: whether these are cross-fitted. missing, warnings: sentences.
    """

    dataset: str
    model: str
    budget: Budget | None
    runs: list[RunResult]
    scored: dict[tuple[str, str], list[RunResult]]
    reference: Predictions | None
    method: str
    tickets: dict[str, dict[str, Any]]
    cross_fit: bool = False
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def of(self, row: str) -> list[RunResult]:
        return [run for run in self.runs if run.row == row]

    @property
    def rows(self) -> list[str]:
        """What there are runs of, in the order of the table."""
        return list(dict.fromkeys(run.row for run in self.runs))

    @cached_property
    def matrix(self) -> dict[tuple[str, str], np.ndarray]:
        """By (row, column) the correctness of each run of `scored`, bool (S, n), images in the order of their keys."""
        return {cell: np.stack([run.predictions[cell[1]].correct for run in runs])
                for cell, runs in self.scored.items()}  # fmt: skip

    @property
    def baseline(self) -> str:
        """The path that the ticket has to match: dense, or plain weights where there is no dense run."""
        return next((path for path in BASELINES if self.of(path)), "dense")

    @property
    def random(self) -> str:
        """The row that the ticket has to beat: rc, or where it is lacking a random subset of another kind."""
        return next((run.row for run in self.runs if run.path == "rc" and run.method == self.method), "rc")

    @property
    def can_drop_patches(self) -> bool:
        """False for models that see dropped patches as zeros (Swin, ResNets)."""
        return all(run.config.get("can_drop_patches", True) for run in self.runs)

    @property
    def images(self) -> int:
        return 0 if self.reference is None else len(self.reference.keys)

    @property
    def errors(self) -> int:
        """Images that every path left out because they have no ticket."""
        counts = [p.metadata.get("errors") or 0 for run in self.runs for p in run.predictions.values()]
        return max(counts, default=0)

    @property
    def read_off(self) -> bool:
        """Whether a run's tickets were read off the ranks of a manifest made for another budget."""
        return any(run.config.get("read_off") for run in self.runs)

    @property
    def kept(self) -> tuple[int, int] | None:
        """(patches kept, patches of an image) of the first run with a budget; None where none says."""
        budgeted = [run.config for run in self.runs if run.path in DROPPING and run.config.get("num_patches")]
        return (budgeted[0]["kept"], budgeted[0]["num_patches"]) if budgeted else None

    @cached_property
    def accuracies(self) -> dict[tuple[str, str], Accuracy]:
        """The matrix in percent, with intervals."""
        return {cell: accuracy(correct_Sn) for cell, correct_Sn in self.matrix.items()}


def group_runs(runs: list[RunResult]) -> list[Group]:
    """One group per dataset, model, budget and kind of selection, cross-fitted or not; runs that have none of the last
    two join all of their model. Selectors are no competitors: they are not expected here.

    Raises UserError where runs of a group cannot be compared: other images, labels, view or tickets, or one seed twice
    in a row.
    """
    groups = []
    for dataset, model in dict.fromkeys((run.config["dataset"], run.model) for run in runs):
        of_model = [run for run in runs if (run.config["dataset"], run.model) == (dataset, model)]
        budgets = sorted({run.budget for run in of_model if run.budget}, key=lambda budget: budget.label)
        for budget in budgets or [None]:
            members = [run for run in of_model if run.budget in (None, budget)]
            kinds = sorted({run.cross_fit for run in members} - {None})
            for cross_fit in kinds or [False]:
                groups.append(_group(dataset, model, budget, cross_fit, _of_kind(members, cross_fit)))
    return groups


def _of_kind(runs: list[RunResult], cross_fit: bool) -> list[RunResult]:
    """Those of `runs` that belong with tickets of that kind; of two dense runs of one seed the one tested on them."""
    tested = {run.folder: run.predictions["lt"].cross_fit for run in runs if "lt" in run.predictions}
    fitting = {(run.row, run.seed) for run in runs if tested.get(run.folder) == cross_fit}
    return [
        run
        for run in runs
        if run.cross_fit == cross_fit
        or (run.cross_fit is None and (tested.get(run.folder) == cross_fit or (run.row, run.seed) not in fitting))
    ]


def _group(dataset: str, model: str, budget: Budget | None, cross_fit: bool, runs: list[RunResult]) -> Group:
    runs = sorted(runs, key=lambda run: (ORDER.index(run.path), run.row, run.seed or 0, run.folder))
    _check_seeds(runs)
    methods = [run.method for run in runs if run.path in DROPPING]
    method = STAGED if STAGED in methods else next(iter(methods), STAGED)
    evaluated = [(run, on, p) for run in runs for on, p in run.predictions.items()]
    of_kind = [entry for entry in evaluated if entry[2].cross_fit == cross_fit]
    tickets = _reference_tickets(of_kind, budget, method)
    scored: dict[tuple[str, str], list[RunResult]] = {}
    own = [run for run in runs if run.path not in DROPPING or run.method == method]
    manifest = next((run.config["tickets_dir"] for run in own if _knows_manifest(run)), "MANIFEST")
    missing = [sentence for run in runs for sentence in _missing(run, manifest)]
    reference = None
    on_others: dict[tuple[str, str], list[str]] = {}  # by folder and what is other about the tickets
    for run, on, predictions in evaluated:
        if on != "dense" and (other := _other_tickets(run, predictions, tickets, budget, method, cross_fit)):
            on_others.setdefault((run.folder, other), []).append(on)
            continue
        if reference is None:
            reference = predictions
        _check_same_images(reference, predictions, same_size=not PATHS[run.path].low_resolution)
        scored.setdefault((run.row, on), []).append(run)
    by_folder = {run.folder: run for run in runs}
    for (folder, other), on in on_others.items():
        said = f"{folder} was tested on {' and '.join(on)} with tickets of another {other}"
        missing.append(f"{said}; {_evaluate(by_folder[folder], on, manifest)}")
    records = {name: predictions.tickets for name, predictions in tickets.items()}
    return Group(
        dataset, model, budget, runs, scored, reference, method, records, cross_fit, missing, _warnings(runs, records)
    )  # fmt: skip


def _check_seeds(runs: list[RunResult]) -> None:
    seen: dict[tuple, RunResult] = {}
    for run in runs:
        identity = (run.row, run.seed, run.config.get("mask_seed"))
        if identity in seen:
            raise UserError(
                f"expected one {run.row} run per seed, found {seen[identity].folder} and {run.folder}, "
                f"both with seed {run.seed}"
            )
        seen[identity] = run


def _reference_tickets(
    evaluated: list[tuple[RunResult, str, Predictions]], budget: Budget | None, method: str
) -> dict[str, Predictions]:
    """Predictions on the tickets of each method: those of a run trained with them, else, for `method`, of any.

    Raises UserError where tickets of two methods differ in more than the method chooses.
    """
    on_tickets = [(run, p) for run, on, p in evaluated if on != "dense" and p.tickets]
    found: dict[str, Predictions] = {}
    for run, predictions in on_tickets:
        if run.path in DROPPING and run.method == predictions.method:
            found.setdefault(run.method, predictions)
    for _, predictions in on_tickets:
        if predictions.method == method and _is_of_budget(predictions.tickets, budget):
            found.setdefault(method, predictions)
    if method in found:
        expected = found[method]
        for predictions in found.values():
            records = ({name: p.tickets.get(name) for name in SHARED} for p in (expected, predictions))
            if different := difference(*records):
                raise UserError(f"{predictions.path}: expected tickets that differ from those that {expected.path} "
                                f"is on in their method alone; they differ in {different}")  # fmt: skip
    return found


def _is_of_budget(tickets: dict[str, Any], budget: Budget | None) -> bool:
    return budget is None or (tickets.get("sparsity"), tickets.get("keep_rate")) == (budget.sparsity, budget.keep_rate)


def _other_tickets(
    run: RunResult,
    predictions: Predictions,
    tickets: dict[str, Predictions],
    budget: Budget | None,
    method: str,
    cross_fit: bool,
) -> str | None:
    """In what `predictions` are not on the tickets that `run` is to be tested on: budget, method or kind of selection;
    None if they are.

    Raises UserError where the tickets differ in anything else.
    """
    found = predictions.tickets or {}
    if run.budget is None and not _is_of_budget(found, budget):
        return "budget"
    wanted = run.method if run.path in DROPPING else method
    if predictions.method != wanted:
        return "method"
    if predictions.cross_fit != cross_fit:
        return "selection, which was not cross-fitted" if cross_fit else "selection, which was cross-fitted"
    expected = tickets.get(wanted)
    if different := difference(expected.tickets if expected else {}, found):
        where = f"the tickets that {expected.path} is on" if expected else "tickets"
        raise UserError(f"{predictions.path}: expected {where}; they differ in {different}")
    return None


def _check_same_images(expected: Predictions, found: Predictions, same_size: bool) -> None:
    """Raises UserError unless both hold the same keys with the same labels, seen in the same view.

    same_size: False for path `small`, whose preprocessing has its own resolution.
    """
    names = ("dataset", "split", "view", *(("preprocessing",) if same_size else ()))
    records = ({name: p.metadata.get(name) for name in names} for p in (expected, found))
    todo = "evaluate both with the same --tickets"
    if expected.method != found.method:
        todo = "tickets of both methods have to be of the same images"
    where = f"{found.path}: expected the images that {expected.path} is of"
    if different := difference(*records):
        raise UserError(f"{where}; they differ in {different}; {todo}")
    if not expected.keys.equals(found.keys):
        ours, theirs = set(expected.keys.to_pylist()), set(found.keys.to_pylist())
        lacking, extra = sorted(ours - theirs), sorted(theirs - ours)
        shown = [f"{len(part)} images are {word} (such as {part[0]!r})"
                 for part, word in ((lacking, "missing"), (extra, "new")) if part]  # fmt: skip
        raise UserError(f"{where}; {' and '.join(shown)}; {todo}")
    if (other := np.flatnonzero(expected.labels != found.labels)).size:
        first = int(other[0])
        raise UserError(
            f"{where}; {other.size} labels differ, the first of {expected.keys[first].as_py()!r}: "
            f"expected {expected.labels[first]}, found {found.labels[first]}"
        )


def _missing(run: RunResult, manifest: str) -> list[str]:
    if run.path != "weights" and not run.finished:
        done = f"{len(run.epochs_log)} of {run.epochs or '?'} epochs"
        return [f"{run.folder} has not finished ({done}); `vit-tickets train ... --out {run.folder} --resume` goes on"]
    lacking = [on for on in PATHS[run.path].tested_on if on not in run.predictions]
    said = f"{run.folder} has no predictions on {', '.join(lacking)}; {_evaluate(run, lacking, manifest)}"
    return [said] if lacking else []


def _evaluate(run: RunResult, on: list[str], manifest: str) -> str:
    subject = run.folder
    if run.path == "weights":
        subject = f"--dataset DATASET --model {run.config['model']} --weights FILE --out {run.folder}"
    tickets = "" if _knows_manifest(run) else f" --tickets {manifest}"
    return f"`vit-tickets evaluate {subject} --on {','.join(on)}{tickets}` makes them"


def _knows_manifest(run: RunResult) -> bool:
    """Whether `evaluate` takes the manifest of the run's budget by itself."""
    return run.budget is not None and bool(run.config.get("tickets_dir"))


def _warnings(runs: list[RunResult], tickets: dict[str, dict[str, Any]]) -> list[str]:
    trained = [run for run in runs if run.path != "weights"]
    warnings = []
    for name in dict.fromkeys(name for run in trained for name in run.settings if name != "rc"):  # the row says rc
        compared = [run for run in trained if not (PATHS[run.path].low_resolution and name == "image_size")]
        values: dict[str, list[str]] = {}
        for run in compared:
            values.setdefault(str(run.settings.get(name)), []).append(run.name)
        if len(values) > 1:
            shown = ", ".join(f"{value} ({_names(names)})" for value, names in values.items())
            warnings.append(f"the runs differ in {name}: {shown}")
    for run in trained:
        trained_on = run.tickets.get("weights_sha256") if run.path == "lt" else None
        tested_on = tickets.get(run.method)
        if trained_on and tested_on and trained_on != tested_on.get("weights_sha256"):
            selectors = run.tickets.get("selector"), tested_on.get("selector")
            warnings.append(f"{run.name} was trained on the tickets of another selector ({selectors[0]}) than "
                            f"it was tested on ({selectors[1]})")  # fmt: skip
        if run.predictions and not run.finished:
            warnings.append(f"{run.name} has predictions but has not finished: they may be of an earlier run")
    seeds: dict[str, Counter] = {}
    for run in trained:
        if PATHS[run.path].is_judged:
            seeds.setdefault(run.row, Counter())[run.seed] += 1
    if len({tuple(sorted(count, key=str)) for count in seeds.values()}) > 1:
        shown = ", ".join(f"{row} {', '.join(map(str, count))}" for row, count in seeds.items())
        warnings.append(f"the paths were trained with different seeds: {shown}")
    return warnings


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
