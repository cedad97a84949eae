"""`generate`: plan what is missing, run it on an engine, and write `ticket.json` when all of it is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.datasets.shards import Dataset, Shard
from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.card import write_card
from vit_tickets.pipeline.manifests.index import true_of
from vit_tickets.pipeline.manifests.manifest import CROP_RANKS, INDEX, SCORES, Manifest
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.methods import method_name
from vit_tickets.pipeline.manifests.rows import Layout
from vit_tickets.pipeline.manifests.tables import FORMAT_VERSION
from vit_tickets.pipeline.runs.log import seconds_of
from vit_tickets.pipeline.runs.names import manifest_name
from vit_tickets.pipeline.system import files
from vit_tickets.ticketgen.jobs.driver import Folder, Job, Summary, check_made
from vit_tickets.ticketgen.jobs.info import WEBDATASET, write_info
from vit_tickets.ticketgen.jobs.ranking import Plan, Selection
from vit_tickets.ticketgen.jobs.shard import Output, ShardTask
from vit_tickets.ticketgen.scores.given import ScoresSpec
from vit_tickets.ticketgen.selection.selector import SelectorSpec


@dataclass(frozen=True)
class Request:
    """What `generate` is asked for."""

    dataset: Dataset
    selector: SelectorSpec | ScoresSpec
    budgets: list[Budget]
    #: a manifest's folder for each budget
    outs: list[str]
    splits: list[str]
    #: kind of view, or auto
    view: str
    #: seed of the random subsets
    mask_seed: int = 0
    #: larger images become an error
    max_pixels: int = MAX_PIXELS
    #: whether the selector's own predictions are stored
    predictions: bool = False
    precision: str = "fp32"
    #: whether self-contained ticket shards are written, too
    webdataset: bool = False
    #: whether scores are stored
    scores: bool = True
    overwrite: bool = False
    crop_seed: int = 0
    #: least share of the image's area in a crop
    crop_scale: float = 0.08
    #: probability that a crop is mirrored
    crop_flip: float = 0.5
    #: whether the ranks of crops are stored
    crop_ranks: bool = False

    def view_of(self, split: str) -> View:
        """What the selector sees of the images of `split`."""
        return self.selector.view(view_kind(self.view, split), self.crop_seed, self.crop_scale, self.crop_flip)

    def selection(self, split: str) -> Selection:
        return Selection(self.view_of(split), self.mask_seed, self.predictions, self.max_pixels)

    def layout(self, budget: Budget, split: str) -> Layout:
        """What the columns of the split's files depend on."""
        view, selector = self.view_of(split), self.selector
        num_patches = selector.num_patches * view.grid_scale**2
        kept = budget.stage_counts(num_patches, len(selector.stages))[-1]
        return Layout.of(num_patches, kept, view, self.predictions, self.crop_ranks, self.scores)

    def plan(self, budget: Budget, split: str) -> Plan:
        """Patches that each stage keeps in one pass of the selector."""
        seen = self.selector.num_patches * (self.view_of(split).image_size // self.selector.image_size) ** 2
        return budget.stage_counts(seen, len(self.selector.stages))

    def split_entries(self, split: str) -> dict[str, Any]:
        """Provenance of a split, in its files and in ticket.json."""
        view = self.view_of(split)
        entries = {"view": view.kind, "preprocessing": view.preprocessing()}
        return entries | ({CROP_RANKS: self.crop_ranks} if view.num_views else {})

    def shared(self, budget: Budget) -> dict[str, Any]:
        """Provenance that all files of a manifest share."""
        selector = self.selector
        return {
            "format_version": FORMAT_VERSION,
            "dataset": self.dataset.name,
            "selector": selector.model,
            "weights_sha256": selector.weights_sha256,
            **selector.entries,
            **budget.record(),
            "stages": list(selector.stages),
            "counts": list(budget.stage_counts(selector.num_patches, len(selector.stages))),
            "num_patches": selector.num_patches,
            "grid": selector.image_size // selector.patch_size,
            "patch_size": selector.patch_size,
            "image_size": selector.image_size,
            "mask_seed": self.mask_seed,
            "precision": self.precision,
            "max_pixels": self.max_pixels,
            "predictions": self.predictions,
            **({} if self.scores else {SCORES: False}),
        }

    def metadata(self, budget: Budget, split: str) -> dict[str, Any]:
        """Provenance of a split's files, but for `PER_SHARD`."""
        return true_of(self.shared(budget), self.view_of(split)) | self.split_entries(split)


def default_outs(
    dataset: Dataset, selector: SelectorSpec | ScoresSpec, budgets: list[Budget], view: str, out: str | None
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

    What is evaluated is one view of an image, on the selector's own grid: every split but train stays at `center` where
    random crops or a finer grid are asked for.
    """
    if view == "auto":
        return "full" if split == "train" else "center"
    return "center" if split != "train" and view != "full" else view


def plan_tasks(request: Request) -> tuple[list[ShardTask], int]:
    """The shards that still lack a manifest, and how many images are done already.

    Raises:
        UserError: a manifest that is there was made otherwise, unless `overwrite`.
    """
    tasks, skipped = [], 0
    for split in request.splits:
        selection = request.selection(split)
        targets = [_Target.of(request, budget, out, split) for budget, out in _budgets(request)]
        for shard in request.dataset.shards(split):
            outputs = tuple(target.output(shard) for target in targets if target.lacks(shard))
            if outputs:
                tasks.append(ShardTask(split, request.dataset.path_of(shard), shard.samples, selection, outputs))
            else:
                skipped += shard.samples
    return tasks, skipped


def _budgets(request: Request) -> Iterator[tuple[Budget, str]]:
    return zip(request.budgets, request.outs, strict=True)


@dataclass(frozen=True)
class _Target:
    """A split of one manifest, to be filled."""

    folder: str
    plan: Plan
    layout: Layout
    metadata: dict[str, Any]
    #: where ticket shards go; None if they are not asked for
    webdataset: str | None
    #: names of the files that are there and may stay
    made: frozenset[str]

    @classmethod
    def of(cls, request: Request, budget: Budget, out: str, split: str) -> "_Target":
        folder = files.join(out, split)
        return cls(
            folder,
            request.plan(budget, split),
            request.layout(budget, split),
            request.metadata(budget, split),
            files.join(out, WEBDATASET, split) if request.webdataset else None,
            frozenset() if request.overwrite else frozenset(files.list_names(folder)),
        )

    def output(self, shard: Shard) -> Output:
        name = f"{shard.stem}.parquet"
        webdataset = self.webdataset and files.join(self.webdataset, f"{shard.stem}.tar")
        metadata = self.metadata | {"shard_sha256": shard.sha256}
        path, made = files.join(self.folder, name), name in self.made
        return Output(path, self.plan, self.layout, metadata, webdataset, made)

    def lacks(self, shard: Shard) -> bool:
        """Whether the files of `shard` are still to be made; raises UserError if they were made otherwise."""
        output = self.output(shard)
        if not output.made:
            return True
        check_made(output.path, output.metadata)
        return output.webdataset is not None and not files.exists(output.webdataset)


def run(request: Request, engine_of: Any, progress: bool = True, summary: Summary | None = None) -> Summary:
    """Do what `request` asks for and write each manifest's ticket.json: `Job.run`."""
    runs = request.selector.runs
    origin = {"selector_run": runs[0] if len(runs) == 1 else runs or None, "selector_seconds": seconds_of(runs)}
    folders = [
        Folder(
            root=out,
            index=INDEX,
            holds="manifest",
            shared=request.shared(budget),
            entries={split: request.split_entries(split) for split in request.splits},
            origin=origin,
            optional=(*METHOD_ENTRIES, SCORES),
            subfolders=("", WEBDATASET),
        )
        for budget, out in _budgets(request)
    ]
    job = Job(request.dataset, folders, lambda: plan_tasks(request), "tickets", request.overwrite)
    summary = job.run(engine_of, progress, summary)
    for out in request.outs:
        manifest = Manifest.open(out)
        write_card(manifest)
        if request.webdataset:
            write_info(manifest, request.dataset, request.splits)
    return summary
