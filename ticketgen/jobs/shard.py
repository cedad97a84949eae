"""The unit of work of `generate`: one shard in, its manifests out. Every engine runs this and nothing else."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.datasets import shards
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.rows import AnyRow, Layout, Row, write_rows
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.ticketgen.engines.work import Progress, Settings
from vit_tickets.ticketgen.jobs.crops import rank_crops
from vit_tickets.ticketgen.jobs.driver import check_samples
from vit_tickets.ticketgen.jobs.given import rank_given
from vit_tickets.ticketgen.jobs.ranking import Plan, Selection, rank_samples
from vit_tickets.ticketgen.scores.given import Scores
from vit_tickets.ticketgen.selection.selector import Selector

# Provenance that a ticket shard repeats for every image: what its patches are patches of.
VIEW_ENTRIES = ("view", "preprocessing", "grid", "image_size")


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
    #: whether the file at `path` is there already, and only the ticket shard is missing
    made: bool = False


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

    def process(self, selector: Selector | Scores, settings: Settings, progress: Progress) -> None:
        """Select the tickets of the shard and write its files, each moved into place whole.

        A sample that cannot be decoded keeps its row, with `error` and no lists.

        Raises:
            UserError: the shard cannot be read to its end, or does not hold what the dataset's index says.
        """
        errors = 0
        for output in self.outputs:
            if output.made:
                table, _ = read_table(output.path)
                check_samples(output.path, self.samples, table.num_rows)
                write_ticket_shard(output, self.path, stored_rows(table))
                errors = table.num_rows - table["error"].null_count
        outputs = [output for output in self.outputs if not output.made]
        if not outputs:
            progress(self.samples, errors)
            return
        plans = [output.plan for output in outputs]
        samples = shards.read_shard(self.path)
        layouts = [output.layout for output in outputs]
        if isinstance(selector, Scores):
            files = rank_given(selector, self.split, samples, self.selection, layouts, settings, progress)
        elif self.selection.view.num_crops:
            files = rank_crops(selector, samples, self.selection, plans, layouts, settings, progress)
        else:
            files = rank_samples(selector, samples, self.selection, plans, settings, progress)
        check_samples(self.path, self.samples, len(files[0]))
        for output, rows in zip(outputs, files, strict=True):
            write_ticket_shard(output, self.path, rows)
            write_rows(output.path, rows, output.layout, output.metadata | {"batch_size": settings.batch_size})


def stored_rows(table: pa.Table) -> list[Row]:
    """The rows of a file of a view that shows each image once, with what a ticket shard holds of them."""
    patches = table.schema.field("lt").type.value_type.to_pandas_dtype()
    names = ("key", "label", "height", "width", "error")
    return [
        Row(
            **{name: row[name] for name in names},
            ticket_k=None if row["lt"] is None else np.array(row["lt"], patches),
            random_k=None if row["rc"] is None else np.array(row["rc"], patches),
        )
        for row in table.select([*names, "lt", "rc"]).to_pylist()
    ]


def write_ticket_shard(output: Output, source: str, rows: Sequence[AnyRow]) -> None:
    """Write the self-contained WebDataset shard of `output`, if it is asked for, from the images of the tar `source`.

    Each image with a ticket has `.lt.npy` and `.rc.npy`, and a `.json` that says which pixels they are patches of.
    Images with an error are left out.
    """
    if output.webdataset is None:
        return
    of_view = {name: output.metadata[name] for name in VIEW_ENTRIES if name in output.metadata}
    view = View.from_record(of_view["view"], of_view["preprocessing"])
    of_view |= {"num_patches": output.layout.num_patches, "kept": output.layout.kept}

    def members() -> Iterator[dict]:
        for sample, row in zip(shards.read_shard(source), rows, strict=True):
            if isinstance(row, Row) and row.ticket_k is not None and row.random_k is not None:
                height, width = cast("tuple[int, int]", (row.height, row.width))  # rows with a ticket have them
                about = of_view | {"height": height, "width": width, "box": view.box(height, width)}
                yield {
                    "__key__": sample.key,
                    sample.suffix: sample.data,
                    "cls": str(sample.label).encode(),
                    "json": json.dumps(about, sort_keys=True, separators=(",", ":")).encode(),
                    "lt.npy": _npy(row.ticket_k),
                    "rc.npy": _npy(row.random_k),
                }

    shards.write_tar(output.webdataset, members())


def _npy(values: np.ndarray) -> bytes:
    out = BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()
