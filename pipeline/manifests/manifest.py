"""Manifests: one Parquet file of tickets per shard, and `ticket.json`, which says that they are complete.

manifests/README.md documents every column. What determines a file's content stands in its schema metadata, and nothing
else does, so equal inputs give equal bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Shard
from vit_tickets.pipeline.geometry.patches import Budget, grid_side
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.columns import check_patches, check_present, check_types
from vit_tickets.pipeline.manifests.index import SplitRecord, TicketRecord
from vit_tickets.pipeline.manifests.tables import read_index, read_of_shard, read_table, write_table
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import required

INDEX = "ticket.json"
# And what only a split of view crops:V has: whether its rows hold ranks.
CROP_RANKS = "crop_ranks"


@dataclass(frozen=True)
class Row:
    """One image's row; `rank_N` int, `score_N` float32, `random_k` the stored random counterpart.

    Of view crops:V instead: `boxes` and `flips` of the V crops, `masks` packed, `ranks` (each of N) where asked for.
    """

    key: str
    label: int | None
    height: int | None = None
    width: int | None = None
    rank_N: np.ndarray | None = None
    ticket_k: np.ndarray | None = None
    random_k: np.ndarray | None = None
    score_N: np.ndarray | None = None
    prediction: int | None = None
    confidence: float | None = None
    error: str | None = None
    boxes: list[tuple[int, int, int, int]] | None = None
    flips: list[bool] | None = None
    masks: list[bytes] | None = None
    ranks: list[np.ndarray] | None = None


def schema(num_patches: int, predictions: bool = False, crops: bool = False, crop_ranks: bool = False) -> pa.Schema:
    """Columns of a manifest for N = `num_patches`: patch indices are uint8 up to 256 patches, uint16 beyond.

    crops: those of a split of view crops:V; crop_ranks: with a rank per crop.
    """
    patches = pa.list_(pa.uint8() if num_patches <= 256 else pa.uint16())
    fields = [("key", pa.string()), ("label", pa.int32()), ("height", pa.int32()), ("width", pa.int32())]
    if crops:
        fields += [("box", pa.list_(pa.list_(pa.int32()))), ("flip", pa.list_(pa.bool_()))]
        fields += [("lt", pa.list_(pa.binary()))] + ([("rank", pa.list_(patches))] if crop_ranks else [])
    else:
        fields += [("rank", patches), ("lt", patches), ("rc", patches), ("score", pa.list_(pa.float16()))]
    if predictions and not crops:
        fields += [("prediction", pa.int32()), ("confidence", pa.float32())]
    return pa.schema([*fields, ("error", pa.string())])


def write_rows(path: str, rows: list[Row], metadata: dict[str, Any], predictions: bool = False) -> None:
    """Write one shard's manifest; equal rows and metadata give equal bytes."""
    crops = is_crops(metadata)
    columns = {
        "key": [row.key for row in rows],
        "label": [row.label for row in rows],
        "height": [row.height for row in rows],
        "width": [row.width for row in rows],
        "box": [row.boxes for row in rows],
        "flip": [row.flips for row in rows],
        "rank": [row.ranks if crops else row.rank_N for row in rows],
        "lt": [row.masks if crops else row.ticket_k for row in rows],
        "rc": [row.random_k for row in rows],
        "score": [None if row.score_N is None else row.score_N.astype(np.float16) for row in rows],
        "prediction": [row.prediction for row in rows],
        "confidence": [row.confidence for row in rows],
        "error": [row.error for row in rows],
    }
    write_table(
        path, columns, schema(metadata["num_patches"], predictions, crops, metadata.get(CROP_RANKS, False)), metadata
    )


def is_crops(record: dict[str, Any]) -> bool:
    """Whether the files that `record` (a file's metadata, or a split's entry) speaks of hold a mask per crop."""
    return str(record.get("view", "")).startswith("crops:")


@dataclass(frozen=True)
class Manifest:
    """A folder of tickets: `Manifest.open(path)`.

    Attributes:
        root: the folder.
        record: ticket.json as it stands; `ticket` is what it says.
    """

    root: str
    record: dict[str, Any]

    @classmethod
    def open(cls, root: str) -> "Manifest":
        """Read MANIFEST/ticket.json; raises UserError if it is missing or malformed."""
        manifest = cls.unchecked(root)
        try:
            _ = manifest.ticket
        except UserError as error:
            raise UserError(f"{files.join(root, INDEX)}: {error}") from None
        return manifest

    @classmethod
    def unchecked(cls, root: str) -> "Manifest":
        """The same without a check of the fields' values, for `verify`."""
        path = files.join(root, INDEX)
        if not files.exists(path):
            below = [name for name in files.list_names(root) if files.exists(files.join(root, name, INDEX))]
            todo = f"there is one in {', '.join(below)}" if below else "run `vit-tickets generate` first"
            raise UserError(f"expected a finished manifest, found no {INDEX} in {root}; {todo}")
        return cls(root, read_index(path, required(TicketRecord), "a manifest"))

    @cached_property
    def ticket(self) -> TicketRecord:
        """What ticket.json says; raises UserError for the first field that is wrong."""
        return TicketRecord.read(self.record)

    @property
    def num_patches(self) -> int:
        """N of the selector's own grid."""
        return self.ticket.num_patches

    @property
    def kept(self) -> int:
        """k: patches in every ticket."""
        return self.ticket.kept

    @property
    def mask_seed(self) -> int:
        return self.ticket.mask_seed

    @property
    def splits(self) -> list[str]:
        return list(self.ticket.splits)

    @property
    def budget(self) -> Budget:
        return self.ticket.budget

    def split_record(self, split: str) -> SplitRecord:
        """What ticket.json says of a split; raises UserError if the manifest has no such split."""
        if split not in self.ticket.splits:
            found = f"{', '.join(self.splits)}; `vit-tickets generate ... --split {split}` adds them"
            raise UserError(f"{self.root}: expected tickets of split {split!r}, found those of {found}")
        return self.ticket.splits[split]

    def view(self, split: str) -> View:
        """The view that the split's tickets were computed on."""
        return self.split_record(split).seen

    def ticket_of(self, split: str) -> TicketRecord:
        """`ticket` with the sizes and counts that are true of the split's files: its own where its grid is finer."""
        return self.ticket.on(self.view(split))

    def num_patches_of(self, split: str) -> int:
        """Cells of the split's grid: N, or 4N where its view has the doubled grid."""
        return self.ticket_of(split).num_patches

    def grid_of(self, split: str) -> int:
        """Side of the split's grid."""
        return grid_side(self.num_patches_of(split))

    def kept_of(self, split: str) -> int:
        """Cells in every ticket of the split: k of the budget on the split's own grid."""
        return self.ticket_of(split).kept

    def path_of(self, split: str, shard: Shard) -> str:
        return files.join(self.root, split, f"{shard.stem}.parquet")

    def read(self, split: str, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        """The rows that belong to `shard`, as `read_file` gives them; raises UserError unless they were made from
        exactly this shard."""
        path = self.path_of(split, shard)
        if not files.exists(path):
            raise UserError(f"{self.root}: expected tickets of shard {shard.file}, found no {path}")
        return self._sound(split, lambda names: read_of_shard(path, shard, names), columns, path)

    def read_file(self, split: str, path: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of a file of the split (all columns, or `columns`).

        Raises UserError where a column is missing or of another type, a row has neither tickets nor an error, ranks are
        no permutation, or patches are not of the grid: `verify` says in full what is wrong.
        """
        return self._sound(split, lambda names: read_table(path, names)[0], columns, path)

    def read_files(self, split: str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Path and rows of every file of the split, one at a time, by name.

        Raises UserError as `read_file` does, and in the end where there were not as many rows as in ticket.json.
        """
        folder, found = files.join(self.root, split), 0
        for name in files.list_names(folder):
            if name.endswith(".parquet") and not name.startswith("."):
                path = files.join(folder, name)
                table = self.read_file(split, path, columns)
                found += table.num_rows
                yield path, table
        if found != (expected := self.split_record(split).samples):
            raise UserError(f"{folder}: expected {expected} rows as in {INDEX}, found {found}")

    def _sound(
        self, split: str, read: Callable[[list[str] | None], pa.Table], columns: list[str] | None, path: str
    ) -> pa.Table:
        table = read(columns and [*columns, *(name for name in ("key", "error") if name not in columns)])
        N, k, crops = self.num_patches_of(split), self.kept_of(split), self.view(split).num_views is not None
        check_types(table, schema(N, True, crops, True), path, columns or schema(N, crops=crops).names)
        check_present(table, ("box", "flip", "lt", "rank") if crops else ("rank", "lt", "rc", "score"), path)
        if not crops:
            check_patches(table, N, k, path)
        return table.select(columns) if columns else table
