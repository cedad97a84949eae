"""Runs that belong together: one dataset, model and budget, tested on the same images; the matrix of their results."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.manifests import difference
from vit_tickets.pipeline.patches import Budget
from vit_tickets.train.bootstrap import Accuracy, accuracy
from vit_tickets.train.results import ON, PATHS, Predictions, RunResult

BASELINES = ("dense", "weights")  # plain weights stand in where there is no dense run
NEEDED_ON = {"dense": ON, "lt": ON, "rc": ON, "small": ("dense",), "weights": ("dense",)}


@dataclass(frozen=True)
class Group:
    """Runs of one dataset, model and budget, evaluated on the same images.

    matrix: by (trained on, tested on) the correctness of each run with such predictions, bool (S, n), images in the
    order of their keys. reference: the predictions that all others were checked against; None where there are none.
    tickets: provenance of the tickets tested on. missing, warnings: sentences.
    """

    dataset: str
    model: str
    budget: Budget | None
    runs: list[RunResult]
    matrix: dict[tuple[str, str], np.ndarray]
    reference: Predictions | None
    tickets: dict[str, Any] | None
    missing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def of(self, path: str) -> list[RunResult]:
        return [run for run in self.runs if run.path == path]

    @property
    def rows(self) -> list[str]:
        """The paths that there are runs of, in the order of the table."""
        return [path for path in PATHS if self.of(path)]

    @property
    def baseline(self) -> str:
        """The path that the ticket has to match: dense, or plain weights where there is no dense run."""
        return next((path for path in BASELINES if self.of(path)), "dense")

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
        budgeted = [run.config for run in self.runs if run.path in ("lt", "rc") and run.config.get("num_patches")]
        return (budgeted[0]["kept"], budgeted[0]["num_patches"]) if budgeted else None

    @cached_property
    def accuracies(self) -> dict[tuple[str, str], Accuracy]:
        """The matrix in percent, with intervals."""
        return {cell: accuracy(correct_Sn) for cell, correct_Sn in self.matrix.items()}


def group_runs(runs: list[RunResult]) -> list[Group]:
    """One group per dataset, model and budget; runs without a budget join every budget of their model. Selectors (path
    `selector`) are no competitors: they are not expected here.

    Raises UserError where runs of a group cannot be compared: other images, labels, view or tickets, or one seed twice.
    """
    groups = []
    for dataset, model in dict.fromkeys((run.config["dataset"], run.model) for run in runs):
        of_model = [run for run in runs if (run.config["dataset"], run.model) == (dataset, model)]
        budgets = sorted({run.budget for run in of_model if run.budget}, key=lambda budget: budget.label)
        for budget in budgets or [None]:
            members = [run for run in of_model if run.budget in (None, budget)]
            groups.append(_group(dataset, model, budget, members))
    return groups


def _group(dataset: str, model: str, budget: Budget | None, runs: list[RunResult]) -> Group:
    runs = sorted(runs, key=lambda run: (PATHS.index(run.path), run.seed or 0, run.folder))
    _check_seeds(runs)
    evaluated = [(run, on, p) for run in runs for on, p in run.predictions.items()]
    tickets = _reference_tickets(evaluated, budget)
    rows: dict[tuple[str, str], list[np.ndarray]] = {}
    manifest = next((run.config["tickets_dir"] for run in runs if _knows_manifest(run)), "MANIFEST")
    missing = [sentence for run in runs for sentence in _missing(run, manifest)]
    reference = None
    of_another_budget: dict[str, list[str]] = {}
    for run, on, predictions in evaluated:
        if on != "dense" and not _has_tickets_of_group(run, predictions, tickets, budget):
            of_another_budget.setdefault(run.folder, []).append(on)
            continue
        if reference is None:
            reference = predictions
        _check_same_images(reference, predictions, same_size=run.path != "small")
        rows.setdefault((run.path, on), []).append(predictions.correct)
    for run in runs:
        if on := of_another_budget.get(run.folder):
            said = f"{run.folder} was tested on {' and '.join(on)} with tickets of another budget"
            missing.append(f"{said}; {_evaluate(run, on, manifest)}")
    matrix = {cell: np.stack(correct) for cell, correct in rows.items()}
    record = tickets.tickets if tickets else None
    return Group(dataset, model, budget, runs, matrix, reference, record, missing, _warnings(runs, record))


def _check_seeds(runs: list[RunResult]) -> None:
    seen: dict[tuple, RunResult] = {}
    for run in runs:
        identity = (run.path, run.seed, run.config.get("mask_seed"))
        if identity in seen:
            raise UserError(
                f"expected one {run.path} run per seed, found {seen[identity].folder} and {run.folder}, "
                f"both with seed {run.seed}"
            )
        seen[identity] = run


def _reference_tickets(
    evaluated: list[tuple[RunResult, str, Predictions]], budget: Budget | None
) -> Predictions | None:
    """Predictions on the group's tickets: those of a run that has the budget, else those on a manifest of it."""
    on_tickets = [(run, p) for run, on, p in evaluated if on != "dense" and p.tickets]
    for run, predictions in on_tickets:
        if run.path in ("lt", "rc"):
            return predictions
    return next((p for _, p in on_tickets if _is_of_budget(p.tickets, budget)), None)


def _is_of_budget(tickets: dict[str, Any], budget: Budget | None) -> bool:
    return budget is None or (tickets.get("sparsity"), tickets.get("keep_rate")) == (budget.sparsity, budget.keep_rate)


def _has_tickets_of_group(
    run: RunResult, predictions: Predictions, expected: Predictions | None, budget: Budget | None
) -> bool:
    """Whether `predictions` are on the group's tickets. A run without budget may hold those of another group's: False.

    Raises UserError where the tickets differ in anything but the budget.
    """
    found = predictions.tickets or {}
    if run.budget is None and not _is_of_budget(found, budget):
        return False
    if different := difference(expected.tickets if expected else {}, found):
        where = f"the tickets that {expected.path} is on" if expected else "tickets"
        raise UserError(f"{predictions.path}: expected {where}; they differ in {different}")
    return True


def _check_same_images(expected: Predictions, found: Predictions, same_size: bool) -> None:
    """Raises UserError unless both hold the same keys with the same labels, seen in the same view.

    same_size: False for path `small`, whose preprocessing has its own resolution.
    """
    names = ("dataset", "split", "view", *(("preprocessing",) if same_size else ()))
    records = ({name: p.metadata.get(name) for name in names} for p in (expected, found))
    where = f"{found.path}: expected the images that {expected.path} is of"
    if different := difference(*records):
        raise UserError(f"{where}; they differ in {different}; evaluate both with the same --tickets")
    if not expected.keys.equals(found.keys):
        ours, theirs = set(expected.keys.to_pylist()), set(found.keys.to_pylist())
        lacking, extra = sorted(ours - theirs), sorted(theirs - ours)
        shown = [f"{len(part)} images are {word} (such as {part[0]!r})"
                 for part, word in ((lacking, "missing"), (extra, "new")) if part]  # fmt: skip
        raise UserError(f"{where}; {' and '.join(shown)}; evaluate both with the same --tickets")
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
    lacking = [on for on in NEEDED_ON[run.path] if on not in run.predictions]
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


def _warnings(runs: list[RunResult], tickets: dict[str, Any] | None) -> list[str]:
    trained = [run for run in runs if run.path != "weights"]
    warnings = []
    for name in dict.fromkeys(name for run in trained for name in run.settings):
        compared = [run for run in trained if not (run.path == "small" and name == "image_size")]
        values: dict[str, list[str]] = {}
        for run in compared:
            values.setdefault(str(run.settings.get(name)), []).append(run.name)
        if len(values) > 1:
            shown = ", ".join(f"{value} ({_names(names)})" for value, names in values.items())
            warnings.append(f"the runs differ in {name}: {shown}")
    for run in trained:
        trained_on = run.tickets.get("weights_sha256") if run.path == "lt" else None
        if trained_on and tickets and trained_on != tickets.get("weights_sha256"):
            selectors = run.tickets.get("selector"), tickets.get("selector")
            warnings.append(f"{run.name} was trained on the tickets of another selector ({selectors[0]}) than "
                            f"it was tested on ({selectors[1]})")  # fmt: skip
        if run.predictions and not run.finished:
            warnings.append(f"{run.name} has predictions but has not finished: they may be of an earlier run")
    seeds = {path: Counter(run.seed for run in trained if run.path == path) for path in ("dense", "lt", "rc")}
    if len({tuple(sorted(count, key=str)) for count in seeds.values() if count}) > 1:
        shown = ", ".join(f"{path} {', '.join(map(str, count))}" for path, count in seeds.items() if count)
        warnings.append(f"the paths were trained with different seeds: {shown}")
    return warnings


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
