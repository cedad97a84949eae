"""Runs with fewer weights that belong together, beside the runs of the same recipe that keep all weights."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from vit_tickets.pipeline.runs.paths import OWN, PATHS
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bootstrap import Accuracy, Contrast, accuracy, contrast
from vit_tickets.train.report.analysis.comparison import own_input
from vit_tickets.train.report.analysis.matching import check_same_images, check_same_tickets
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.weights.doubts import doubts
from vit_tickets.train.report.analysis.weights.rows import (
    DENSE,
    REINIT,
    Level,
    in_order,
    is_ticket,
    level_of,
    place,
)

Cell = tuple[str, str]  # row, label of the level; of runs with all weights: DENSE, no label
ALL_WEIGHTS: Cell = (DENSE, "")
# Settings that rows differ in by what they are: where they begin, and how long they train.
OF_ROW = (*notices.LENGTH, *notices.SAID_BY_ROW, "initial weights", "weights")
WHERE = {"dense": "whole images", "lt": "tickets", "rc": "random subsets"}


@dataclass(frozen=True, kw_only=True)
class WeightGroup:
    """Runs of one dataset, model, recipe and path, tested on what that path is trained on.

    Attributes:
        dataset: name that all runs share.
        model: short name without pretrained tag.
        trained_on: the row of patches, `dense` for whole images.
        on: what all runs are tested on, one of `TESTED_ON`.
        recipe: those settings of the recipe that tell the group from others of the dataset and model.
        runs: all runs, those with all weights first.
        scored: by cell, the runs with predictions, in the order of `runs`.
        levels: by label, in ascending order.
        reference: the predictions that all others were checked against; None if there are none.
        missing: sentences on runs and predictions that are not there.
        warnings: sentences on what makes a comparison doubtful.
        between: runs of the same settings that were not to be tested, such as rounds that lead to others.
    """

    dataset: str
    model: str
    trained_on: str
    on: str
    recipe: dict[str, Any]
    runs: list[RunResult]
    scored: dict[Cell, list[RunResult]]
    levels: dict[str, Level]
    reference: Predictions | None
    missing: list[str]
    warnings: list[str]
    between: list[RunResult] = field(default_factory=list)

    @property
    def dense(self) -> list[RunResult]:
        """The runs that keep all weights."""
        return [run for run in self.runs if run.config.weights is None]

    def rows(self, label: str) -> list[str]:
        """The rows of a level that have runs, in the order of tables."""
        return in_order(row for row, at in map(cell_of, self.runs) if at == label)

    @property
    def cells(self) -> list[Cell]:
        """The cells that have runs: all weights first, then level by level."""
        first = [ALL_WEIGHTS] if self.dense else []
        return [*first, *((row, label) for label in self.levels for row in self.rows(label))]

    def of(self, cell: Cell) -> list[RunResult]:
        return [run for run in self.runs if cell_of(run) == cell]

    @cached_property
    def matrix(self) -> dict[Cell, np.ndarray]:
        """By cell the correctness of each run of `scored`, bool (S, n), images in the order of their keys."""
        return {
            cell: np.stack([run.predictions[self.on].correct for run in runs]) for cell, runs in self.scored.items()
        }

    @cached_property
    def accuracies(self) -> dict[Cell, Accuracy]:
        """In percent, with intervals."""
        return {cell: accuracy(correct_Sn, len(self.seeds(cell))) for cell, correct_Sn in self.matrix.items()}

    @property
    def images(self) -> int:
        return 0 if self.reference is None else len(self.reference.keys)

    @property
    def labels(self) -> np.ndarray:
        """The label of each image, int (n,), in the order of their keys."""
        return np.empty(0, np.int64) if self.reference is None else self.reference.labels

    def seeds(self, cell: Cell) -> list[int | None]:
        """The different seeds of a cell's runs."""
        return list(dict.fromkeys(run.seed for run in self.scored[cell]))

    def cell_name(self, cell: Cell) -> str:
        """Name of a cell in sentences: `LT on whole images`, `omp on whole images`."""
        return f"{title_of(cell[0])} on {WHERE.get(self.on, self.on)}"

    def contrast(self, minuend: Cell, subtrahend: Cell) -> Contrast:
        """The accuracy of one cell minus that of another, with the bounds of all reports."""
        cells = minuend, subtrahend
        if cells not in self._contrasts:
            first, second = ((self.cell_name(cell), self.matrix[cell]) for cell in cells)
            counts = len(self.seeds(minuend)), len(self.seeds(subtrahend))
            self._contrasts[cells] = contrast(*first, *second, counts)
        return self._contrasts[cells]

    @cached_property
    def _contrasts(self) -> dict[tuple[Cell, Cell], Contrast]:
        """Those that were computed, for resampling takes its time."""
        return {}


def title_of(row: str) -> str:
    """The row in sentences: LT for a ticket, RR for its mask on other weights, others by their name."""
    if is_ticket(row):
        return "LT"
    return "RR" if row.endswith(f":{REINIT}") and is_ticket(row.removesuffix(f":{REINIT}")) else row


def cell_of(run: RunResult) -> Cell:
    """The cell of a run: its row, and how many weights it drops."""
    weights = run.config.weights
    return ALL_WEIGHTS if weights is None else (weights.row, level_of(weights, run.masks).label)


def group_weights(runs: Iterable[RunResult], between: Iterable[RunResult] = ()) -> list[WeightGroup]:
    """The groups of those `runs` that drop weights, each with the runs beside it that keep all, and those `between`.

    Runs that choose their patches are compared with dense ones on all patches, where none of theirs keeps all weights.

    Raises UserError if runs of a group cannot be compared: other images, labels, view or tickets, or one seed twice in
    a row.
    """
    by_key: dict[str, list[RunResult]] = {}
    for run in (runs := list(runs)):
        by_key.setdefault(json.dumps(_key(run), sort_keys=True, default=str), []).append(run)
    found = [of_key for of_key in by_key.values() if any(run.config.weights for run in of_key)]
    between = list(between)
    return [
        replace(
            _group([*of_key, *_on_all_patches(of_key, runs)], _apart(of_key[0], [others[0] for others in found])),
            between=[run for run in between if _key(run) == _key(of_key[0])],
        )
        for of_key in found
    ]


def _on_all_patches(of_key: list[RunResult], runs: list[RunResult]) -> list[RunResult]:
    """Dense runs of the recipe of those that choose patches, with predictions in the column of the latter."""
    if not PATHS[of_key[0].path].chooses_patches or any(run.config.weights is None for run in of_key):
        return []
    like = _key(of_key[0]) | {"trained on": DENSE, "budget": None}
    return [
        replace(run, predictions={OWN: run.predictions["dense"]} if "dense" in run.predictions else {})
        for run in runs
        if run.config.weights is None and _key(run) == like
    ]


def _key(run: RunResult) -> dict[str, Any]:
    """What the runs of a group share."""
    budget = run.budget and run.budget.label
    about = {"dataset": run.config.dataset, "model": run.model, "trained on": run.row, "budget": budget}
    return about | {"cross-fitted": run.cross_fit} | _recipe(run)


def _recipe(run: RunResult) -> dict[str, Any]:
    recipe = notices.RECIPE_DEFAULTS | (run.config.recipe or {}) | {"batch_size": run.config.batch_size}
    return {name: value for name, value in recipe.items() if name not in OF_ROW}


def _apart(run: RunResult, others: list[RunResult]) -> dict[str, Any]:
    """The settings that tell a group from others of its dataset and model. others: a run of each group."""
    of_model = run.config.dataset, run.model
    alike = [_recipe(other) for other in others if (other.config.dataset, other.model) == of_model]
    return {name: value for name, value in _recipe(run).items() if any(other.get(name) != value for other in alike)}


def _group(runs: list[RunResult], recipe: Mapping[str, Any]) -> WeightGroup:
    trained_on, chooses = runs[0].row, PATHS[runs[0].path].chooses_patches
    on = own_input(trained_on) or "dense"
    runs = [replace(run, expected=(on,)) for run in runs]
    runs.sort(key=lambda run: (_place(run), run.seed or 0, run.folder))
    _check_seeds(runs)
    reference: Predictions | None = None
    scored: dict[Cell, list[RunResult]] = {}
    for run in runs:
        if (predictions := run.predictions.get(on)) is None:
            continue
        reference = reference or predictions
        check_same_images(reference, predictions, same_size=True)
        if on != "dense" and not chooses:
            check_same_tickets(reference, predictions)
        scored.setdefault(cell_of(run), []).append(run)
    levels = sorted({level_of(run.config.weights, run.masks) for run in runs if run.config.weights})
    return WeightGroup(
        dataset=runs[0].config.dataset,
        model=runs[0].model,
        trained_on=trained_on,
        on=on,
        recipe=dict(recipe),
        runs=runs,
        scored=scored,
        levels={level.label: level for level in levels},
        reference=reference,
        missing=notices.missing(runs, runs[0].method, []),
        warnings=[*notices.differing(runs, OF_ROW), *doubts(_by_cell(runs)), *_seeds(runs), *notices.images(runs)],
    )


def _by_cell(runs: list[RunResult]) -> dict[Cell, list[RunResult]]:
    cells: dict[Cell, list[RunResult]] = {}
    for run in runs:
        cells.setdefault(cell_of(run), []).append(run)
    return cells


def _place(run: RunResult) -> tuple[Any, ...]:
    """Runs with all weights first, then by level and row."""
    weights = run.config.weights
    return () if weights is None else (level_of(weights, run.masks), place(weights.row))


def _check_seeds(runs: list[RunResult]) -> None:
    seen: dict[tuple[Cell, int | None], RunResult] = {}
    for run in runs:
        row, label = cell_of(run)
        if (other := seen.setdefault(((row, label), run.seed), run)) is not run:
            at = f" at {label}" if label else ""
            raise UserError(
                f"expected one {row} run{at} per seed, found {other.folder} and {run.folder}, both with seed {run.seed}"
            )


def _seeds(runs: list[RunResult]) -> list[str]:
    """Rows with other seeds than the rest."""
    groups: dict[tuple[int | None, ...], list[str]] = {}
    for (row, label), of_cell in _by_cell(runs).items():
        seeds = tuple(sorted((run.seed for run in of_cell), key=str))
        groups.setdefault(seeds, []).append(f"{row} at {label}" if label else row)
    if len(groups) <= 1:
        return []
    shown = "; ".join(f"{', '.join(map(str, of))}: {notices.listed(names)}" for of, names in groups.items())
    return [f"rows were trained with different seeds: {shown}"]
