"""What a sweep says before it starts: what it will run, on what, and about how long that takes on this machine."""

import copy
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import click
import torch

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.datasets.shards import index_of
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import METHODS
from vit_tickets.pipeline.networks.pretrained import is_published
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.paths import JUDGED, PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.fields import options_of
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.train.accounting.estimate import Estimate
from vit_tickets.train.commands.beforehand.grid import lines as grid_lines
from vit_tickets.train.commands.beforehand.selector import Selector
from vit_tickets.train.commands.options import default_workers
from vit_tickets.train.commands.plan_options import parse_train_options
from vit_tickets.train.joint.plan import Grid
from vit_tickets.train.recipes.presets import recipe_for
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES, share_for_bounds
from vit_tickets.train.report.rendering.text import aligned
from vit_tickets.train.runs.defaults import Asked, fitted
from vit_tickets.train.runs.request import Request as Training
from vit_tickets.train.sweep import steps
from vit_tickets.train.sweep.plan import PRETRAINING
from vit_tickets.train.sweep.request import Request, Trial
from vit_tickets.train.sweep.steps import Step

CLASSES = 1000  # of a selector
MEASURED_S, LOOKED_AT = 4.0, 32  # seconds of measuring a network, and images that are read for it
STARTING_S = 6.0  # what a process takes until its first step
HEADER = ["trained on", "runs", "what that is"]
LONG_S = 12 * 3600  # from here on it is said what makes it shorter
FROM, TO = 0.7, 1.5  # times the estimate: where it may end


def announce(request: Request, todo: list[Step], devices: int | None, grid: Grid | None = None) -> dict[str, float]:
    """Say what will be run, and return seconds by the title of a step, as far as they are known.

    Args:
        request: of a sweep.
        todo: the steps that remain.
        devices: of this machine, which share them; None where they run elsewhere.
        grid: the same with fewer weights, if it is asked for.
    """
    for line in (*announcement(request), *(grid_lines(grid) if grid else ())):
        click.echo(line)
    if devices is None:
        click.echo("time: told once the first runs are on their way")
        return {}
    expectation = Expectation(request, grid.trials if grid else ())
    expected = expectation.seconds()
    for line in expectation.settings():
        click.echo(line)
    seconds = sum(expected.get(step.title, 0.0) for step in todo)
    click.echo(time_line(seconds, devices))
    if seconds / devices > LONG_S:
        click.echo(
            "  less: fewer rows (--without, --rows), --epochs, --seeds or --models, or fewer images (-- --limit)"
        )
    return expected


def announcement(request: Request) -> list[str]:
    """Lines on images, tickets, runs and seeds of a sweep."""
    images = request.images
    splits = f"{images.splits['train']:,} to train on, {images.splits['val']:,} to test on (val)"
    lines = [f"images: {splits}, {counted(images.classes, 'class')}", *(f"  {line}" for line in images.lines)]
    weights = f" with the weights {request.weights}" if request.weights else ""
    why = f" ({request.selected_because})" if request.selected_because else ""
    lines += [f"sizes: {request.same_tokens}"] if request.same_tokens else []
    lines.append(f"tickets: {_listed(request.selected)}, chosen by {redacted(request.selector + weights)}{why}")
    start = "random weights" + (" (--init pretrained fine-tunes)" if all(map(is_published, request.budgets)) else "")
    if request.init is not None:
        start = "their published weights" if request.init == PRETRAINED else f"the weights {redacted(request.init)}"
    lines.append(f"runs: {_listed(request.budgets)}, from {start}, {counted(request.seeds, 'seed')} each")
    trials = request.trials()
    shown = [[str(row), str(sum(trial.row == row for trial in trials)), row.meaning] for row in request.rows]
    lines += [f"  {line}" for line in aligned([HEADER, *shown])]
    paths = {row.path for row in request.rows}
    if lacking := [path for path in JUDGED if path not in paths]:
        lines.append(f"no verdicts without the row{'s' * (len(lacking) > 1)} {_listed(lacking)}")
    elif images.splits["val"] < MIN_IMAGES:
        found = counted(images.splits["val"], "image")
        share = share_for_bounds(images.splits["val"], images.packing and images.packing.val_share)
        elsewhere = " --out NEW" if files.exists(index_of(images.root)) else ""  # a packed dataset keeps its share
        how = f" (--val-share {share:g}{elsewhere})" if share else ""
        lines.append(f"{found} to test on can give no verdict, nor bounds: {MIN_IMAGES} or more do{how}")
    elif request.seeds == 1:
        lines.append("one seed each gives no verdict, since another seed may turn the order; --seeds 2 does")
    return lines


def _listed(each: Iterable[Any]) -> str:
    *others, last = map(str, each)
    return f"{', '.join(others)} and {last}" if others else last


def time_line(seconds: float, devices: int) -> str:
    """What remains, and where it may end. seconds: of one device. devices: that share it."""
    shared = seconds / devices
    where = f"the {devices} GPUs of this machine" if devices > 1 else "this machine"
    band = f"{spoken(FROM * shared)} to {spoken(TO * shared)}"
    return f"time: about {spoken(shared)} on {where} ({band}), judged by a few steps of each model"


def spoken(seconds: float) -> str:
    """`40 s`, `12 min`, `2 h 10 min` or `3.5 days`, no more exact than an estimate is."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = seconds / 60
    if minutes < 57.5:
        return f"{round(minutes) if minutes < 20 else 5 * round(minutes / 5)} min"
    if minutes < 10 * 60:
        hours, rest = divmod(10 * round(minutes / 10), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days = minutes / 60 / 24
    return f"{minutes / 60:.0f} h" if days < 2 else f"{days:.1f} days" if days < 9.5 else f"{days:.0f} days"


class Expectation:
    """Seconds of the steps of a request, and of its trials with `fewer` weights.

    Raises UserError where a network cannot be built as it is asked for.
    """

    def __init__(self, request: Request, fewer: Sequence[Trial] = ()):
        self._request, self._images = request, request.images
        self._trials = (*request.trials(), *fewer)
        self._given = parse_train_options(request.dataset, list(request.train_options), request.command, ())
        device = request.device or "auto"
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._workers = default_workers(1) if request.workers is None else request.workers
        self._samples = [sample.data for sample in islice(self._images.head("train"), LOOKED_AT) if sample.data]
        self._known: dict[tuple[str, int | None], Estimate] = {}
        self._trainings: dict[tuple, float] = {}  # rows that cost the same are counted once
        self._passes: dict[tuple, float] = {}
        self._uncut: list[str] = []  # models and budgets of which path `short` is dense training
        self._selector = Selector.of(request)

    def seconds(self) -> dict[str, float]:
        """By the title of a step; without those of which nothing is known, such as label maps."""
        request, found = self._request, {}
        for trial in self._trials:
            share = trial.weights.share if trial.weights else 1.0
            found[steps.training_title(trial)] = STARTING_S + share * self._training(trial)
            for budget in [trial.budget] if trial.budget else request.budgets[trial.model]:
                found[steps.evaluation_title(trial, budget)] = STARTING_S + self._evaluation(trial, budget)
        images = sum(self._images.splits.values())
        recipe = recipe_for(self._images.source, self._selector.model)
        selector = self._estimate(self._selector.model, recipe, CLASSES)
        reading = images * selector.speed.image_s / len(os.sched_getaffinity(0))
        for step in steps.pack(request):
            found[step.title] = STARTING_S + reading
        for method in request.methods:
            looks = METHODS[method].looks_at == "selector"
            found[steps.select(request, method).title] = STARTING_S + (
                selector.evaluation(images) if looks else reading
            )
        if request.pretrain:
            train, val = self._images.samples("train"), self._images.samples("val")
            found[PRETRAINING] = STARTING_S + selector.training(PATHS["dense"], selector.num_patches, train, val)
        return found

    def settings(self) -> list[str]:
        """A line for each network, once `seconds` were asked for: what most follows from images and weights."""
        lines = []
        for (model, size), found in self._known.items():
            recipe, name = found.recipe, short_name(model) + (f"@{size}" if size else "")
            how = f"{counted(recipe.epochs, 'epoch')} at {found.image_size} px in batches of {recipe.batch_size}"
            lines.append(f"each run of {name}: {how}, recipe {recipe.name}")
        if self._uncut:
            lines.append(f"note: row short is the same training as dense, nothing to cut: {_listed(self._uncut)}")
        return lines

    def _training(self, trial: Trial) -> float:
        row, path = trial.row, trial.row.trained_on
        key = (
            trial.model,
            row.size,
            path.low_resolution,
            path.same_cost,
            path.sees_part,
            row.finish_dense,
            trial.budget,
        )
        if key not in self._trainings:
            estimate = copy.copy(self._of(trial))
            estimate.recipe = replace(estimate.recipe, finish_dense=row.finish_dense)
            kept = estimate.num_patches if trial.budget is None else self._kept(estimate, trial.budget)
            if path.same_cost and estimate.cut(kept).is_dense:
                self._uncut.append(f"{short_name(trial.model)} at {trial.budget}")
            train, val = self._images.samples("train"), self._images.samples("val")
            self._trainings[key] = estimate.training(path, kept, train, val)
        return self._trainings[key]

    def _evaluation(self, trial: Trial, budget: Budget) -> float:
        return sum(self._pass(trial, None if on == "dense" else budget) for on in self._request.tested_on(trial))

    def _pass(self, trial: Trial, budget: Budget | None) -> float:
        key = trial.model, trial.row.size, budget
        if key not in self._passes:
            estimate = self._of(trial)
            kept = None if budget is None else self._kept(estimate, budget)
            self._passes[key] = estimate.evaluation(self._images.samples("val"), kept)
        return self._passes[key]

    def _kept(self, estimate: Estimate, budget: Budget) -> int:
        return budget.stage_counts(estimate.num_patches, self._selector.stages)[-1]

    def _of(self, trial: Trial) -> Estimate:
        """The estimate of the trial's model at its image size."""
        key = trial.model, trial.row.size
        if key not in self._known:
            values = {each.name: self._given.get(each.name) for each in options_of(Recipe)}
            values["image_size"] = trial.row.size or values["image_size"]
            training = Training(model=trial.model, path="dense", init=self._request.init)
            recipe = fitted(self._images, training, Asked(self._given.get("recipe"), values))
            self._known[key] = self._estimate(trial.model, recipe, self._images.classes)
        return self._known[key]

    def _estimate(self, model: str, recipe: Recipe, classes: int) -> Estimate:
        """Measured now. Where the recipe has no sizes, runs have those of their tickets."""
        precision = self._given.get("precision", "auto")
        if precision == "auto":
            precision = "bf16" if self._device.startswith("cuda") else "fp32"
        return Estimate(
            model,
            classes,
            replace(recipe, patch_size=recipe.patch_size or self._selector.patch_size),
            self._selector.image_size,
            self._samples,
            self._device,
            precision,
            self._workers,
            MEASURED_S,
        )
