"""The unit of work of `generate`: one shard in, its manifests out. Every engine runs this and nothing else."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.manifests.rows import AnyRow, Layout, Row, write_rows
from vit_tickets.ticketgen.engines.work import Progress, Settings
from vit_tickets.ticketgen.jobs.crops import rank_crops
from vit_tickets.ticketgen.jobs.driver import check_samples
from vit_tickets.ticketgen.jobs.ranking import Plan, Selection, rank_samples
from vit_tickets.ticketgen.selection.selector import Selector


@dataclass(frozen=True)
class Output:
    """One manifest file of a shard."""

    path: str
    #: patches that each stage keeps in one pass of the selector
    plan: Plan
    #: what its columns depend on
    layout: Layout
    #: its provenance, without the batch size
    metadata: dict[str, Any]
    #: path of the self-contained ticket shard; None if it is not asked for
    webdataset: str | None = None


@dataclass(frozen=True)
class ShardTask:
    """A shard and the manifests that are still missing for it."""

    split: str
    path: str
    samples: int
    selection: Selection
    outputs: tuple[Output, ...]

    @property
    def name(self) -> str:
        return f"{self.split}/{os.path.basename(self.path)}"

    def process(self, selector: Selector, settings: Settings, progress: Progress) -> None:
        """Select the tickets of the shard and write its files, each moved into place whole.

        A sample that cannot be decoded keeps its row, with `error` and no lists.

        Raises:
            UserError: the shard cannot be read to its end, or does not hold what the dataset's index says.
        """
        plans = [output.plan for output in self.outputs]
        samples = shards.read_shard(self.path)
        if self.selection.view.num_crops:
            layouts = [output.layout for output in self.outputs]
            files = rank_crops(selector, samples, self.selection, plans, layouts, settings, progress)
        else:
            files = rank_samples(selector, samples, self.selection, plans, settings, progress)
        check_samples(self.path, self.samples, len(files[0]))
        for output, rows in zip(self.outputs, files, strict=True):
            if output.webdataset:
                write_ticket_shard(output.webdataset, self.path, rows)
            write_rows(output.path, rows, output.layout, output.metadata | {"batch_size": settings.batch_size})


def write_ticket_shard(path: str, source: str, rows: Sequence[AnyRow]) -> None:
    """The self-contained WebDataset shard: each image with `.lt.npy` and `.rc.npy`; images with an error left out."""

    def members() -> Iterator[dict]:
        for sample, row in zip(shards.read_shard(source), rows, strict=True):
            if isinstance(row, Row) and row.ticket_k is not None and row.random_k is not None:
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
