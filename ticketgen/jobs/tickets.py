"""`generate`: plan what is missing, run it on an engine, and say so in `ticket.json` when all of it is there."""

from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.index import true_of
from vit_tickets.pipeline.manifests.manifest import CROP_RANKS, INDEX
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.methods import method_name
from vit_tickets.pipeline.manifests.rows import Layout
from vit_tickets.pipeline.manifests.tables import FORMAT_VERSION
from vit_tickets.pipeline.runs.log import seconds_of
from vit_tickets.pipeline.runs.names import manifest_name
from vit_tickets.pipeline.system import files
from vit_tickets.ticketgen.engines.work import Settings
from vit_tickets.ticketgen.jobs.driver import Folder, Job, Summary, check_made
from vit_tickets.ticketgen.jobs.shard import Output, ShardTask
from vit_tickets.ticketgen.selection.selector import SelectorSpec


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


def default_outs(
    dataset: Dataset, selector: SelectorSpec, budgets: list[Budget], view: str, out: str | None
) -> list[str]:
    """The manifests' folders: `--out` itself, below it with several budgets, or the default name."""
    if out is None:
        return [
            manifest_name(dataset.name, selector.model, budget, view, method_name(selector.entries))
            for budget in budgets
        ]
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
        **selector.entries,
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
                layout = Layout.of(
                    metadata["num_patches"],
                    metadata["counts"][-1],
                    view,
                    request.settings.predictions,
                    request.crop_ranks,
                )
                metadata |= {"batch_size": request.settings.batch_size, "shard_sha256": shard.sha256}
                output = Output(
                    path=files.join(out, split, f"{shard.stem}.parquet"),
                    plan=budget.stage_counts(seen, len(request.selector.stages)),
                    metadata=metadata,
                    layout=layout,
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
    check_made(output.path, output.metadata)
    return output.webdataset is None or files.exists(output.webdataset)


def run(request: Request, engine_of: Any, progress: bool = True, summary: Summary | None = None) -> Summary:
    """Do what `request` asks for and write each manifest's ticket.json: `Job.run`."""
    runs = request.selector.runs
    origin = {"selector_run": runs[0] if len(runs) == 1 else runs or None, "selector_seconds": seconds_of(runs)}
    folders = [
        Folder(
            root=out,
            index=INDEX,
            holds="manifest",
            shared=shared_metadata(request, budget),
            entries={split: split_entries(request, split) for split in request.splits},
            origin=origin,
            optional=METHOD_ENTRIES,
            subfolders=("", "webdataset"),
        )
        for budget, out in zip(request.budgets, request.outs, strict=True)
    ]
    job = Job(request.dataset, folders, lambda: plan_tasks(request), "tickets", request.overwrite)
    return job.run(engine_of, progress, summary)
