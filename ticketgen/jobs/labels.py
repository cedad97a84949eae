"""`labels`: one shard in, its label maps out; plan what is missing and say so in `labels.json` when all is there."""

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.datasets.shards import Dataset, Sample
from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.labels import INDEX, LabelRow, write_label_rows
from vit_tickets.pipeline.manifests.tables import FORMAT_VERSION
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.protocols import Engine
from vit_tickets.ticketgen.engines.work import Decoded, Progress, Settings, by_file, decode, in_batches, on_pixels
from vit_tickets.ticketgen.jobs.driver import Folder, Job, Summary, check_made, check_samples
from vit_tickets.ticketgen.selection.annotator import Annotator, AnnotatorSpec


@dataclass(frozen=True)
class LabelTask:
    """A shard and the file of label maps that is missing for it."""

    split: str
    source: str
    samples: int
    #: what the annotator sees
    view: View
    #: images with more pixels become an error
    max_pixels: int
    #: of the file
    path: str
    #: its provenance, without the batch size
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.split}/{os.path.basename(self.source)}"

    def process(self, annotator: Annotator, settings: Settings, progress: Progress) -> None:
        """Write the label maps of the shard, moved into place whole. A sample that cannot be decoded keeps its row.

        Raises:
            UserError: the shard cannot be read to its end or does not hold what the dataset's index says, or the
                annotator gives numbers that float16 cannot hold.
        """
        samples = shards.read_shard(self.source)
        rows = label_samples(annotator, samples, self.view, settings, progress, self.max_pixels)
        check_samples(self.source, self.samples, len(rows))
        write_label_rows(self.path, rows, self.metadata | {"batch_size": settings.batch_size})


def label_samples(
    annotator: Annotator,
    samples: Iterable[Sample],
    view: View,
    settings: Settings,
    progress: Progress,
    max_pixels: int = MAX_PIXELS,
) -> list[LabelRow]:
    """Rows of `samples`, in order."""
    batches = in_batches(
        samples,
        lambda sample: decode(sample, view, max_pixels),
        lambda group: [(row,) for row in label_group(annotator, group)],
        settings,
        annotator.device.type == "cpu",
    )
    return by_file(batches, 1, progress)[0]


def label_group(annotator: Annotator, group: list[Decoded]) -> list[LabelRow]:
    """Rows of a batch, in order; raises UserError where a logit is not finite in float16."""
    labelled = on_pixels(group, lambda alive, pixels: zip(*annotator.label(pixels), strict=True))
    return [_row(item, maps) for item, maps in labelled]


def _row(item: Decoded, maps: tuple[np.ndarray, np.ndarray] | None) -> LabelRow:
    key = item.sample.key
    if maps is None:
        return LabelRow(key, error=item.error)
    classes, logits = maps
    if not np.isfinite(logits).all():
        raise UserError(f"{key}: expected finite logits within float16, found {logits[~np.isfinite(logits)][0]}")
    return LabelRow(key, classes, logits)


@dataclass(frozen=True)
class LabelRequest:
    """What `labels` is asked for."""

    dataset: Dataset
    annotator: AnnotatorSpec
    #: the folder of label maps
    out: str
    splits: list[str]
    #: larger images become an error
    max_pixels: int = MAX_PIXELS
    precision: str = "fp32"
    overwrite: bool = False

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Provenance that all files of label maps share."""
        annotator = self.annotator
        return {
            "format_version": FORMAT_VERSION,
            "dataset": self.dataset.name,
            "annotator": annotator.model,
            "weights_sha256": annotator.weights_sha256,
            "map_size": annotator.map_size,
            "places": annotator.places,
            "num_classes": annotator.num_classes,
            "image_size": annotator.image_size,
            "preprocessing": annotator.view.preprocessing(),
            "precision": self.precision,
            "max_pixels": self.max_pixels,
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
            metadata = request.metadata | {"shard_sha256": shard.sha256}
            if name in made:
                check_made(path, metadata)
                skipped += shard.samples
                continue
            source = request.dataset.path_of(shard)
            task = LabelTask(split, source, shard.samples, request.annotator.view, request.max_pixels, path, metadata)
            tasks.append(task)
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
        shared=request.metadata,
        entries={split: {} for split in request.splits},
        origin={"annotator_run": request.annotator.run},
    )
    job = Job(request.dataset, [folder], lambda: plan_tasks(request), "label maps", request.overwrite)
    return job.run(engine_of, progress, summary)
