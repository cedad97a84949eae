"""`generate`: plan what is missing, run it on an engine, and say so in `ticket.json` when all of it is there."""

import importlib.metadata
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from tqdm import tqdm

from vit_tickets.pipeline import files
from vit_tickets.pipeline.errors import UserError, WorkFailed
from vit_tickets.pipeline.manifests import (
    CROP_RANKS,
    FORMAT_VERSION,
    INDEX,
    PER_SHARD,
    difference,
    read_metadata,
    true_of,
)
from vit_tickets.pipeline.names import manifest_name
from vit_tickets.pipeline.patches import Budget
from vit_tickets.pipeline.shards import Dataset
from vit_tickets.pipeline.views import View
from vit_tickets.ticketgen.selector import SelectorSpec, training_seconds
from vit_tickets.ticketgen.shard import Output, ShardTask, count_errors
from vit_tickets.ticketgen.work import Settings

VERSIONED = ("vit-tickets", "torch", "timm", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True)
class Request:
    """What `generate` was asked for; `outs` holds one manifest folder per budget."""

    dataset: Dataset
    selector: SelectorSpec
    budgets: list[Budget]
    outs: list[str]
    splits: list[str]
    view: str
    settings: Settings
    precision: str = "fp32"
    webdataset: bool = False
    overwrite: bool = False
    crop_seed: int = 0
    crop_scale: float = 0.08
    crop_flip: float = 0.5
    crop_ranks: bool = False

    def view_of(self, split: str) -> View:
        """What the selector sees of the images of `split`."""
        return self.selector.view(view_kind(self.view, split), self.crop_seed, self.crop_scale, self.crop_flip)


@dataclass(frozen=True)
class Finished:
    """A shard that an engine has done, or why it failed."""

    task: ShardTask
    error: str | None = None


@dataclass
class Summary:
    """What a call did, in images, of a `total` that is 0 until it is planned; `failures` are the shards that failed and
    why."""

    total: int = 0
    images: int = 0
    errors: int = 0
    skipped: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


class Engine(Protocol):
    """Runs shard tasks. `device` and `name` go into ticket.json."""

    name: str
    device: str

    def run(self, tasks: list[ShardTask], bar: tqdm) -> Iterator[Finished]:
        """Every task exactly once, in any order; moves `bar` by images and counts errors in `bar.errors`."""


def default_outs(
    dataset: Dataset, selector: SelectorSpec, budgets: list[Budget], view: str, out: str | None
) -> list[str]:
    """The manifests' folders: `--out` itself, below it with several budgets, or the default name."""
    if out is None:
        return [manifest_name(dataset.name, selector.model, budget, view) for budget in budgets]
    return [out] if len(budgets) == 1 else [files.join(out, budget.label) for budget in budgets]


def view_kind(view: str, split: str) -> str:
    """The view of a split: with `auto`, the whole image for train and the evaluation view for any other.

    What is evaluated is one view of an image, on the selector's own grid: val stays at `center` where others are asked
    for.
    """
    if view == "auto":
        return "full" if split == "train" else "center"
    return "center" if split == "val" and view != "full" else view


def split_entries(request: Request, split: str) -> dict[str, Any]:
    """What a split has of its own, in its files and in ticket.json."""
    view = request.view_of(split)
    entries = {"view": view.kind, "preprocessing": view.preprocessing()}
    return entries | ({CROP_RANKS: request.crop_ranks} if view.num_views else {})


def shared_metadata(request: Request, budget: Budget) -> dict[str, Any]:
    """What every file of the manifest says of its origin, whatever its split."""
    selector = request.selector
    chosen = {"sparsity": budget.sparsity} if budget.keep_rate is None else {"keep_rate": budget.keep_rate}
    return {
        "format_version": FORMAT_VERSION,
        "dataset": request.dataset.name,
        "selector": selector.model,
        "weights_sha256": selector.weights_sha256,
        **chosen,
        "stages": list(selector.stages),
        "counts": list(budget.stage_counts(selector.num_patches, len(selector.stages))),
        "num_patches": selector.num_patches,
        "grid": selector.image_size // selector.patch_size,
        "patch_size": selector.patch_size,
        "image_size": selector.image_size,
        "mask_seed": request.settings.mask_seed,
        "precision": request.precision,
        "max_pixels": request.settings.max_pixels,
        "predictions": request.settings.predictions,
    }


def plan_tasks(request: Request) -> tuple[list[ShardTask], int]:
    """The shards that still lack a manifest, and how many images are done already.

    Raises UserError where a manifest that is there was made otherwise, unless `overwrite`.
    """
    tasks, skipped = [], 0
    for split in request.splits:
        view = request.view_of(split)
        per_split = split_entries(request, split)
        seen = request.selector.num_patches * (view.image_size // request.selector.image_size) ** 2
        listed = [set(files.list_names(files.join(out, split))) for out in request.outs]
        for shard in request.dataset.shards(split):
            outputs = []
            for budget, out, names in zip(request.budgets, request.outs, listed, strict=True):
                metadata = true_of(shared_metadata(request, budget), view) | per_split
                metadata |= {"batch_size": request.settings.batch_size, "shard_sha256": shard.sha256}
                output = Output(
                    path=files.join(out, split, f"{shard.stem}.parquet"),
                    plan=budget.stage_counts(seen, len(request.selector.stages)),
                    metadata=metadata,
                    webdataset=files.join(out, "webdataset", split, f"{shard.stem}.tar")
                    if request.webdataset
                    else None,
                )
                if request.overwrite or f"{shard.stem}.parquet" not in names or not _is_done(output):
                    outputs.append(output)
            if outputs:
                tasks.append(ShardTask(split, request.dataset.path_of(shard), shard.samples, view, tuple(outputs)))
            else:
                skipped += shard.samples
    return tasks, skipped


def _is_done(output: Output) -> bool:
    """Whether what `output` asks for is there; raises UserError where something else is."""
    found = read_metadata(output.path)
    if different := difference(output.metadata, found, ignore=PER_SHARD):
        raise UserError(f"{output.path} was made otherwise: {different}; pass --overwrite or another --out")
    if found["shard_sha256"] != output.metadata["shard_sha256"]:
        raise UserError(f"{output.path} was made from another version of its shard; pass --overwrite or another --out")
    return output.webdataset is None or files.exists(output.webdataset)


def run(request: Request, engine_of: Any, progress: bool = True, summary: Summary | None = None) -> Summary:
    """Do what `request` asks for and write each manifest's ticket.json.

    `engine_of` is called only if there is work, and gives a context manager around an Engine. `summary` is filled in as
    the work goes on. Raises UserError where the request cannot be served, and WorkFailed, after all else is done, where
    shards failed.
    """
    started = time.monotonic()
    for out in request.outs:
        _check_index(request, out)
        for split in request.splits:
            files.remove_leftovers(files.join(out, split))
            files.remove_leftovers(files.join(out, "webdataset", split))
        files.remove_leftovers(out)
    tasks, skipped = plan_tasks(request)
    summary = summary or Summary()
    summary.skipped, summary.total = skipped, skipped + sum(task.samples for task in tasks)
    engine_record = None
    if tasks:
        if request.overwrite:
            _withdraw_index(request)
        with engine_of() as engine:
            engine_record = {"engine": engine.name, "device": engine.device}
            with _bar(request, tasks, skipped, progress) as bar:
                for finished in engine.run(tasks, bar):
                    if finished.error is not None:
                        summary.failures.append(f"{finished.task.name}: {finished.error}")
                    else:
                        summary.images += finished.task.samples
                summary.errors = bar.errors
    summary.seconds = time.monotonic() - started
    if summary.failures:
        shown = "; ".join(summary.failures[:3]) + (" ..." if len(summary.failures) > 3 else "")
        raise WorkFailed(f"{len(summary.failures)} of {len(tasks)} shards failed: {shown}")
    for budget, out in zip(request.budgets, request.outs, strict=True):
        _write_index(request, budget, out, engine_record, summary.seconds)
    return summary


class _ErrorBar(tqdm):
    """A progress bar over images that also shows how many of them have an error."""

    errors = 0

    def count(self, images: int, errors: int) -> None:
        if errors:
            self.errors += errors
            self.set_postfix(errors=self.errors, refresh=False)
        self.update(images)


def _bar(request: Request, tasks: list[ShardTask], skipped: int, progress: bool) -> _ErrorBar:
    total = skipped + sum(task.samples for task in tasks)
    return _ErrorBar(total=total, initial=skipped, desc="tickets", unit="img", disable=not progress, smoothing=0.1)


def _check_index(request: Request, out: str) -> None:
    path = files.join(out, INDEX)
    if request.overwrite or not files.exists(path):
        return
    expected = shared_metadata(request, request.budgets[request.outs.index(out)])
    found = {name: value for name, value in files.read_json(path).items() if name in expected}
    if different := difference(expected, found):
        raise UserError(f"{out} holds another manifest: {different}; pass --overwrite or another --out")


def _withdraw_index(request: Request) -> None:
    """Before files are replaced: a manifest that is being remade is not complete."""
    for out in request.outs:
        path = files.join(out, INDEX)
        if files.exists(path):
            fs, inner = files.filesystem(path)
            fs.rm_file(inner)


def _write_index(
    request: Request, budget: Budget, out: str, engine_record: dict[str, Any] | None, seconds: float
) -> None:
    path = files.join(out, INDEX)
    existing = files.read_json(path) if files.exists(path) else {}
    splits = dict(existing.get("splits", {}))
    if engine_record is None and set(request.splits) <= splits.keys():
        return
    for split in request.splits:
        rows = errors = 0
        for shard in request.dataset.shards(split):
            in_file = count_errors(files.join(out, split, f"{shard.stem}.parquet"))
            rows, errors = rows + in_file[0], errors + in_file[1]
        splits[split] = {"samples": rows, "errors": errors, **split_entries(request, split)}
    run = request.selector.run
    record = shared_metadata(request, budget) | {
        "splits": splits,
        "selector_run": run,
        "selector_seconds": training_seconds(run) if run else None,
        "wall_time_s": round(existing.get("wall_time_s", 0.0) + seconds, 1),
        **(engine_record or {key: existing.get(key) for key in ("engine", "device")}),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED}
        | {"python": platform.python_version()},
    }
    files.write_json(path, record)
