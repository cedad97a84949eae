"""Sentences of a report on what is missing, and on what makes a comparison doubtful."""

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

from vit_tickets.pipeline.inspection.sinks import Sink, sinks_of
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.runs.paths import DROPPING, PATHS, is_of_path, path_of
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.report.analysis.plans import again
from vit_tickets.train.report.analysis.results import RunResult

# Settings that stand in the name of a run's row.
SAID_BY_ROW = ("rc", "ticket", "temperature", "finish_dense")
# Settings that a run which is cut to fewer epochs has of its own.
UNKNOWN = "MANIFEST"  # where no run of a group names one
LENGTH = ("epochs", "warmup_epochs", "cooldown_epochs", "schedule")


# Off, for the fields that are newer than some runs.
RECIPE_DEFAULTS = {each.name: each.default for each in fields(Recipe)}


class Untested(NamedTuple):
    """A run whose predictions do not count, because their tickets are others.

    Attributes:
        run: that was tested.
        on: what it was tested on.
        differs: what differs about the tickets.
    """

    run: RunResult
    on: list[str]
    differs: str


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `4 epochs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """`dense`, `dense and lt`, `dense, lt and rc`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def missing(runs: list[RunResult], method: str, untested: list[Untested]) -> list[str]:
    """What is missing of `runs`, and the commands that make it. method: of the group's tickets."""
    manifest = _manifest(runs, method)
    sentences = []
    for run in runs:
        lacking = _unpredicted(run)
        if PATHS[run.path].is_trained and not run.finished:
            epochs = counted(run.epochs, "epoch") if run.epochs else "? epochs"
            done = f"{len(run.epochs_log)} of {epochs}"
            resume = f"`vit-tickets train ... --out {run.folder} --resume` goes on"
            sentences.append(f"{run.folder} has not finished ({done}); {resume}")
        elif lacking:
            made = _evaluate(run, lacking, manifest)
            sentences.append(f"{run.folder} has no predictions on {', '.join(lacking)}; {made}")
    for run, on, differs in untested:
        said = f"{run.folder} was tested on {' and '.join(on)} with tickets of another {differs}"
        sentences.append(f"{said}; {_evaluate(run, on, manifest)}")
    return sentences


def _unpredicted(run: RunResult) -> list[str]:
    return [on for on in run.tested_on if on not in run.predictions]


def _manifest(runs: list[RunResult], method: str) -> str:
    """What to type as the manifest of the tickets of `method`."""
    own = [run for run in runs if run.path not in DROPPING or run.method == method]
    return next((run.config.tickets_dir for run in own if _knows_manifest(run)), None) or UNKNOWN


def making(
    runs: list[RunResult], row: str, on: str, method: str, scored: Mapping[tuple[str, str], Sequence[RunResult]]
) -> str:
    """The command that makes the results of `row` tested on `on`, as in `missing`: of the run that lacks them, or of a
    new one.

    method: of the group's tickets, scored: by (row, column), the runs whose predictions count.
    """
    manifest = _manifest(runs, method)
    if of_row := [run for run in runs if run.row == row]:
        run = next((run for run in of_row if not _counts(run, on, scored)), of_row[0])
        if PATHS[run.path].is_trained and not run.finished:
            return f"`vit-tickets train ... --out {run.folder} --resume` goes on"
        others = [each for each in run.predictions if not _counts(run, each, scored)]
        alike = next((these for these in (_unpredicted(run), others) if on in these), [on])
        return _evaluate(run, alike, manifest)
    like = next((run for run in runs if PATHS[run.path].is_trained), runs[0])
    name = RowName.parse(row)
    words = ["vit-tickets train", shlex.quote(like.config.root or "DATASET"), "--model", like.config.model]
    words += [*name.options, *(["--tickets", shlex.quote(manifest)] if name.trained_on.uses_tickets else [])]
    tokens = next((run.budget.tokens for run in runs if run.budget), None)
    words += ["--tokens", str(tokens)] if tokens and name.trained_on.has_budget else []
    words += [
        *(["--epochs", str(like.config.cut_from or like.epochs)] if like.epochs else []),
        *(["--seed", str(like.seed)] if like.seed else []),
    ]
    return f"`{' '.join(words)}` with the other options of these runs trains {row}; `vit-tickets evaluate` tests it"


def _counts(run: RunResult, on: str, scored: Mapping[tuple[str, str], Sequence[RunResult]]) -> bool:
    return any(run is each for each in scored.get((run.row, on), ()))


def further_seeds(runs: Sequence[RunResult], seeds: Mapping[str, Sequence[int | None]], count: int) -> str | None:
    """What to type for `count` seeds of every row; None if they are there.

    Where all `runs` are those of one sweep or table, its command makes them.

    Args:
        runs: of the group.
        seeds: of each row's runs.
        count: of seeds that every row should have.
    """
    known = sorted({seed for of_row in seeds.values() for seed in of_row if seed is not None})
    wanted = [*known, *(seed for seed in range(max(known, default=-1) + count + 1) if seed not in known)][:count]
    # Published weights have no seed, and no second run: dense runs take their place.
    of_rows = {"dense" if row == "weights" else row: [seed for seed in seeds[row] if seed is not None] for row in seeds}
    rows: dict[tuple[int, ...], list[str]] = {}
    for row in sorted(of_rows, key=_place):
        of_row = of_rows[row]
        lacking = tuple(seed for seed in wanted if seed not in of_row)[: max(0, count - len(of_row))]
        if lacking:
            rows.setdefault(lacking, []).append(row)
    if not rows:
        return None
    if typed := again(runs, {"--seeds": count}):
        return f"{typed} trains what is lacking and reports on all"
    parts = [
        f"{listed([_typed(name, runs) for name in names])} with {_options(lacking)}" for lacking, names in rows.items()
    ]
    return f"train {'; '.join(parts)}, otherwise like these runs, evaluate, and report on all"


def row_options(row: str, runs: Sequence[RunResult] = ()) -> list[str]:
    """The words of `train` that make a row, beside those that all runs share, with the manifest of a method of its own.

    runs: among which that manifest is looked for.
    """
    name = RowName.parse(row)
    if name.method == STAGED:
        return list(name.options)
    found = next((run.config.tickets_dir for run in runs if run.path in DROPPING and run.method == name.method), None)
    return [*name.options, "--tickets", found or f"MANIFEST-OF-{name.method.upper()}"]


def _typed(row: str, runs: Sequence[RunResult]) -> str:
    """The options that make a row; the name of one of runs with fewer weights, which take more than options."""
    return f"`{shlex.join(row_options(row, runs))}`" if is_of_path(row) else row


def _place(row: str) -> int:
    """That of its path; rows of runs with fewer weights come last, in the order that they are in."""
    return list(PATHS).index(path_of(row).name) if is_of_path(row) else len(PATHS)


def _options(seeds: tuple[int, ...]) -> str:
    if len(seeds) > 4 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"`--seed {seeds[0]}` to `--seed {seeds[-1]}`"
    return listed([f"`--seed {seed}`" for seed in seeds])


def _evaluate(run: RunResult, on: list[str], manifest: str) -> str:
    subject = run.folder
    if not PATHS[run.path].is_trained:
        subject = f"--dataset DATASET --model {run.config.model} --weights FILE --out {run.folder}"
    of_whole = run.expected == ("dense",) and manifest == UNKNOWN  # no ticket decides what such a group is shown
    tickets = "" if of_whole or _knows_manifest(run) else f" --tickets {manifest}"
    return f"`vit-tickets evaluate {subject} --on {','.join(on)}{tickets}` makes them"


def _knows_manifest(run: RunResult) -> bool:
    """Whether `evaluate` finds the manifest of the run's budget without `--tickets`."""
    return run.budget is not None and bool(run.config.tickets_dir)


def warnings(runs: list[RunResult], tickets: dict[str, TicketProvenance]) -> list[str]:
    """What makes a comparison of `runs` doubtful. tickets: by method, the provenance of those tested on."""
    trained = [run for run in runs if PATHS[run.path].is_trained]
    of_runs = [sentence for run in trained for sentence in _of_run(run, tickets.get(run.method))]
    return [*differing(trained, SAID_BY_ROW), *of_runs, *_seeds(trained), *images(trained)]


def sinks(runs: list[RunResult], reference: Predictions | None) -> list[str]:
    """Where tickets of the split tested on are held far more often than beside; nothing where a manifest is gone.

    reference: predictions on that split.
    """
    split = reference and reference.provenance.split
    if not split:
        return []
    of_lt = {run.config.tickets_dir: run for run in runs if run.path == "lt" and run.config.tickets_dir}
    sentences = []
    for folder, run in of_lt.items():
        of = f"the tickets of {split}" if run.method == STAGED else f"the tickets of {split} by method {run.method}"
        sentences += [f"in {of}, {sink.said(run.method)}" for sink in _sinks(run, str(folder), split)]
    return list(dict.fromkeys(sentences))


def _sinks(run: RunResult, folder: str, split: str) -> list[Sink]:
    try:
        manifest = Manifest.open(folder)
        made_of = TicketProvenance.of_training(manifest, split)
        if run.tickets is None or made_of.weights_sha256 != run.tickets.weights_sha256:
            return []  # made anew since
        return sinks_of(manifest, split, run.config.kept, run.config.num_patches)
    except UserError:
        return []


def differing(trained: list[RunResult], said: Collection[str]) -> list[str]:
    """A sentence for each setting that the runs differ in, but for those that are `said` elsewhere."""
    sentences = []
    for name in dict.fromkeys(name for run in trained for name in run.settings if name not in said):
        values: dict[str, list[str]] = {}
        for run in trained:
            if not _is_meant(run, name):
                values.setdefault(_setting(run, name), []).append(run.name)
        if len(values) > 1:
            shown = ", ".join(f"{value} ({_names(names)})" for value, names in values.items())
            sentences.append(f"the runs differ in {name}: {shown}")
    return sentences


def _setting(run: RunResult, name: str) -> str:
    """What it is in words; a field that an older run did not record has its default."""
    value = run.settings.get(name, RECIPE_DEFAULTS.get(name))
    if value is None and name == "initial weights":
        return "random"
    return str(list(value) if isinstance(value, tuple) else value)


def _is_meant(run: RunResult, name: str) -> bool:
    """Whether its row says that the run differs in the setting: the size of its images, the length of `short`."""
    path = PATHS[run.path]
    sized = bool(run.size) or path.low_resolution
    return (sized and name == "image_size") or (path.same_cost and name in LENGTH)


def _of_run(run: RunResult, tested_on: TicketProvenance | None) -> list[str]:
    sentences = []
    tickets = run.tickets if run.path == "lt" else None
    if tickets and tickets.weights_sha256 and tested_on and tickets.weights_sha256 != tested_on.weights_sha256:
        selectors = f"another selector ({tickets.selector}) than it was tested on ({tested_on.selector})"
        sentences.append(f"{run.name} was trained on the tickets of {selectors}")
    if run.predictions and not run.finished:
        sentences.append(f"{run.name} has predictions but has not finished: they may be of an earlier run")
    return sentences


def _seeds(trained: list[RunResult]) -> list[str]:
    seeds: dict[str, Counter] = {}
    for run in trained:
        if PATHS[run.path].is_judged:
            seeds.setdefault(run.row, Counter())[run.seed] += 1
    if len({tuple(sorted(count, key=str)) for count in seeds.values()}) <= 1:
        return []
    shown = ", ".join(f"{row} {', '.join(map(str, count))}" for row, count in seeds.items())
    return [f"the paths were trained with different seeds: {shown}"]


def images(trained: list[RunResult]) -> list[str]:
    """More or fewer images by a batch or more, where `--limit` does not say why."""
    seen: dict[int, list[str]] = {}
    for run in trained:
        if run.images_per_epoch:
            seen.setdefault(run.images_per_epoch, []).append(run.name)
    batch = max((run.config.batch_size or 0 for run in trained), default=0)
    if len({run.config.limit for run in trained}) > 1 or not seen or max(seen) - min(seen) < batch:
        return []
    shown = ", ".join(f"{count:,} ({_names(names)})" for count, names in seen.items())
    return [
        f"an epoch had different numbers of images, as with `--tickets` those without a ticket are left out: {shown}"
    ]


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
