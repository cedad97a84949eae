"""The unit of work of `generate`: one shard in, its manifests out. Every engine runs this and nothing else."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry.patches import random_subset, rank_dtype, ticket_of
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.rows import Layout, Row, write_rows
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.work import Decoded, Progress, Settings, decode, in_batches
from vit_tickets.ticketgen.jobs.crops import rank_crops
from vit_tickets.ticketgen.selection.selector import Selector


@dataclass(frozen=True)
class Output:
    """One manifest file of a shard: where it goes, the patches each stage keeps, the metadata it carries.

    plan: of the selector's grid in one pass; what a ticket keeps is the last of the metadata's counts.
    webdataset: where the self-contained ticket shard goes, None where it is not asked for.
    """

    path: str
    plan: tuple[int, ...]
    metadata: dict[str, Any]
    layout: Layout
    webdataset: str | None = None


@dataclass(frozen=True)
class ShardTask:
    """A shard and the manifests that are still missing for it."""

    split: str
    path: str
    samples: int
    view: View
    outputs: tuple[Output, ...]

    @property
    def name(self) -> str:
        return f"{self.split}/{os.path.basename(self.path)}"

    def process(self, selector: Selector, settings: Settings, progress: Progress) -> None:
        process_shard(selector, self, settings, progress)


def process_shard(selector: Selector, task: ShardTask, settings: Settings, progress: Progress) -> None:
    """Select the tickets of one shard and write its files, each moved into place whole.

    Raises UserError where the shard cannot be read to its end or does not hold what the dataset's index says. A sample
    that cannot be decoded keeps its row, with `error` and no lists.
    """
    plans = [output.plan for output in task.outputs]
    samples = shards.read_shard(task.path)
    if task.view.num_crops:
        records = [output.metadata for output in task.outputs]
        rows_by_plan = rank_crops(selector, samples, task.view, plans, records, settings, progress)
    else:
        rows_by_plan = rank_samples(selector, samples, task.view, plans, settings, progress)
    found = len(rows_by_plan[0])
    if found != task.samples:
        raise UserError(f"{task.path}: expected {task.samples} samples as in dataset.json, found {found}")
    for output, rows in zip(task.outputs, rows_by_plan, strict=True):
        if output.webdataset:
            write_ticket_shard(output.webdataset, task.path, rows)
        metadata = output.metadata | {"batch_size": settings.batch_size}
        write_rows(output.path, rows, output.layout, metadata)


def rank_samples(
    selector: Selector,
    samples: Iterable[Sample],
    view: View,
    plans: list[tuple[int, ...]],
    settings: Settings,
    progress: Progress,
) -> list[list[Row]]:
    """Rows of `samples`, in order, once per plan, for a view that is one square of each image."""
    rows_by_plan: list[list[Row]] = [[] for _ in plans]
    results = in_batches(
        samples,
        lambda sample: decode(sample, view, settings.max_pixels),
        lambda group: _rank_group(selector, group, plans, settings),
        settings,
        selector.device.type == "cpu",
    )
    for group_rows in results:
        for rows, new in zip(rows_by_plan, group_rows, strict=True):
            rows += new
        progress(len(group_rows[0]), sum(row.error is not None for row in group_rows[0]))
    return rows_by_plan


def _rank_group(
    selector: Selector, group: list[Decoded], plans: list[tuple[int, ...]], settings: Settings
) -> list[list[Row]]:
    alive = [item for item in group if item.error is None]
    rankings = plans
    if alive:
        pixels, which = np.stack([item.pixels for item in alive]), [(item.sample.key, 0) for item in alive]
        rankings = selector.rank(pixels, plans, settings.predictions, which, settings.mask_seed)
    return [_rows(group, ranking, plan[-1], settings) for ranking, plan in zip(rankings, plans, strict=True)]


def _rows(group: list[Decoded], ranking: Any, kept: int, settings: Settings) -> list[Row]:
    rows = []
    place = 0
    for item in group:
        sample = item.sample
        if item.error is not None:
            rows.append(Row(sample.key, sample.label, error=item.error))
            continue
        rank_N = ranking.rank_BN[place].numpy()
        num_patches = len(rank_N)
        rank_N = rank_N.astype(rank_dtype(num_patches))
        prediction = confidence = None
        if settings.predictions:
            probabilities_C = ranking.logits_BC[place].softmax(dim=0)
            prediction, confidence = int(probabilities_C.argmax()), float(probabilities_C.max())
        rows.append(
            Row(
                key=sample.key,
                label=sample.label,
                height=item.height,
                width=item.width,
                rank_N=rank_N,
                ticket_k=ticket_of(rank_N, kept),
                random_k=random_subset(settings.mask_seed, sample.key, num_patches, kept),
                score_N=ranking.score_BN[place].numpy(),
                prediction=prediction,
                confidence=confidence,
            )
        )
        place += 1
    return rows


def write_ticket_shard(path: str, source: str, rows: list[Row]) -> None:
    """The self-contained WebDataset shard: each image with `.lt.npy` and `.rc.npy`; images with an error left out."""

    def members() -> Iterator[dict]:
        for sample, row in zip(shards.read_shard(source), rows, strict=True):
            if row.error is None:
                yield {
                    "__key__": sample.key,
                    sample.suffix: sample.data,
                    "cls": str(sample.label).encode(),
                    "lt.npy": _npy(row.ticket_k),
                    "rc.npy": _npy(row.random_k),
                }

    shards.write_tar(path, members())


def _npy(values: np.ndarray) -> bytes:
    out = BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()
