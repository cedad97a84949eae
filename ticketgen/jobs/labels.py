"""`labels`: one shard in, its label maps out; plan what is missing and say so in `labels.json` when all is there."""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.datasets.shards import Dataset, Sample
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.labels import INDEX, LabelRow, write_label_rows
from vit_tickets.pipeline.manifests.tables import FORMAT_VERSION
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.protocols import Engine
from vit_tickets.ticketgen.engines.work import Decoded, Progress, Settings, decode, in_batches
from vit_tickets.ticketgen.jobs.driver import Folder, Job, Summary, check_made
from vit_tickets.ticketgen.selection.annotator import Annotator, AnnotatorSpec


@dataclass(frozen=True)
class LabelTask:
    """A shard, the file of label maps that is missing for it, and the metadata it carries."""

    split: str
    source: str
    samples: int
    view: View
    path: str
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.split}/{os.path.basename(self.source)}"

    def process(self, annotator: Annotator, settings: Settings, progress: Progress) -> None:
        """Write the label maps of the shard, moved into place whole.

        Raises UserError where the shard cannot be read to its end, does not hold what the dataset's index says, or
        the annotator gives numbers that float16 cannot hold. A sample that cannot be decoded keeps its row.
        """
        rows = label_samples(annotator, shards.read_shard(self.source), self.view, settings, progress)
        if len(rows) != self.samples:
            raise UserError(f"{self.source}: expected {self.samples} samples as in dataset.json, found {len(rows)}")
        write_label_rows(self.path, rows, self.metadata | {"batch_size": settings.batch_size})


def label_samples(
    annotator: Annotator, samples: Iterable[Sample], view: View, settings: Settings, progress: Progress
) -> list[LabelRow]:
    """Rows of `samples`, in order."""
    rows: list[LabelRow] = []
    results = in_batches(
        samples,
        lambda sample: decode(sample, view, settings.max_pixels),
        lambda group: label_group(annotator, group),
        settings,
        annotator.device.type == "cpu",
    )
    for new in results:
        rows += new
        progress(len(new), sum(row.error is not None for row in new))
    return rows


def label_group(annotator: Annotator, group: list[Decoded]) -> list[LabelRow]:
    """Rows of a batch, in order; raises UserError where a logit is not finite in float16."""
    pixels = [item.pixels for item in group if item.error is None]
    labelled = zip(*annotator.label(np.stack(pixels)), strict=True) if pixels else iter(())
    rows = []
    for item in group:
        key = item.sample.key
        if item.error is not None:
            rows.append(LabelRow(key, error=item.error))
            continue
        classes, logits = next(labelled)
        if not np.isfinite(logits).all():
            raise UserError(f"{key}: expected finite logits within float16, found {logits[~np.isfinite(logits)][0]}")
        rows.append(LabelRow(key, classes, logits))
    return rows


@dataclass(frozen=True)
class LabelRequest:
    """What `labels` was asked for; `out` is the folder of label maps."""

    dataset: Dataset
    annotator: AnnotatorSpec
    out: str
    splits: list[str]
    settings: Settings
    precision: str = "fp32"
    overwrite: bool = False


def shared_metadata(request: LabelRequest) -> dict[str, Any]:
    """What every file of label maps says of its origin, whatever its split."""
    annotator = request.annotator
    return {
        "format_version": FORMAT_VERSION,
        "dataset": request.dataset.name,
        "annotator": annotator.model,
        "weights_sha256": annotator.weights_sha256,
        "map_size": annotator.map_size,
        "places": annotator.places,
        "num_classes": annotator.num_classes,
        "image_size": annotator.image_size,
        "preprocessing": annotator.view.preprocessing(),
        "precision": request.precision,
        "max_pixels": request.settings.max_pixels,
    }


def plan_tasks(request: LabelRequest) -> tuple[list[LabelTask], int]:
    """The shards that still lack label maps, and how many images are done already.

    Raises UserError where label maps that are there were made otherwise, unless `overwrite`.
    """
    tasks, skipped = [], 0
    for split in request.splits:
        made = set() if request.overwrite else set(files.list_names(files.join(request.out, split)))
        for shard in request.dataset.shards(split):
            name = f"{shard.stem}.parquet"
            path = files.join(request.out, split, name)
            metadata = shared_metadata(request)
            metadata |= {"batch_size": request.settings.batch_size, "shard_sha256": shard.sha256}
            if name in made:
                check_made(path, metadata)
                skipped += shard.samples
                continue
            source = request.dataset.path_of(shard)
            tasks.append(LabelTask(split, source, shard.samples, request.annotator.view, path, metadata))
    return tasks, skipped


def run(
    request: LabelRequest,
    engine_of: Callable[[], AbstractContextManager[Engine]],
    progress: bool = True,
    summary: Summary | None = None,
) -> Summary:
    """Do what `request` asks for and write labels.json: `Job.run`."""
    folder = Folder(
        root=request.out,
        index=INDEX,
        holds="set of label maps",
        shared=shared_metadata(request),
        entries={split: {} for split in request.splits},
        origin={"annotator_run": request.annotator.run},
    )
    job = Job(request.dataset, [folder], lambda: plan_tasks(request), "label maps", request.overwrite)
    return job.run(engine_of, progress, summary)
