"""Manifests: one Parquet file of tickets per shard, and `ticket.json`, which says that they are complete.

manifests/README.md documents every column. A file's schema metadata hold what determines its content and nothing else,
so equal inputs give equal bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Shard
from vit_tickets.pipeline.geometry.patches import Budget, grid_side
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.contract import check_table
from vit_tickets.pipeline.manifests.index import SplitRecord, TicketRecord
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.rows import Layout
from vit_tickets.pipeline.manifests.tables import read_index, read_of_shard, read_table
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import required

INDEX = "ticket.json"
# Kind of the tickets of weights, whose index has the same name.
WEIGHTS = "weights"
# And what only a split of view crops:V has: whether its rows hold ranks.
CROP_RANKS = "crop_ranks"
# Only there where scores were left out, and then false.
SCORES = "scores"


@dataclass(frozen=True)
class Manifest:
    """A folder of tickets: `Manifest.open(path)`.

    Attributes:
        root: the folder.
        record: the JSON value of ticket.json; `ticket` is the same, typed.
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
        try:
            return cls(root, read_index(path, required(TicketRecord), "a manifest"))
        except UserError:
            if isinstance(found := files.read_json(path), dict) and found.get("kind") == WEIGHTS:
                raise UserError(f"{path}: expected tickets of images, found a weight ticket") from None
            raise

    @cached_property
    def ticket(self) -> TicketRecord:
        """The content of ticket.json; raises UserError for the first field that is wrong."""
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
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.ticket.dataset

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
        """What ticket.json records of a split; raises UserError if the manifest has no such split."""
        if split not in self.ticket.splits:
            found = f"{', '.join(self.splits)}; `vit-tickets generate ... --split {split}` adds them"
            raise UserError(f"{self.root}: expected tickets of split {split!r}, found those of {found}")
        return self.ticket.splits[split]

    def view(self, split: str) -> View:
        """The view that the split's tickets were computed on."""
        return self.split_record(split).seen

    def ticket_of(self, split: str) -> TicketRecord:
        """`ticket` with the sizes and counts of the split's files, which differ if its grid is finer."""
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

    def stage_counts_of(self, split: str) -> tuple[int, ...]:
        """Cells that each stage of a split's selection kept; k alone where one score of every cell decides."""
        at_once = self.view(split).num_crops or self.ticket.scored_by != STAGED
        return (self.kept_of(split),) if at_once else tuple(self.ticket_of(split).counts)

    def layout(self, split: str) -> Layout:
        """What the columns of the split's files depend on."""
        ticket, record = self.ticket_of(split), self.split_record(split)
        stored = bool(ticket.predictions), record.crop_ranks, ticket.scores
        return Layout.of(ticket.num_patches, ticket.kept, record.seen, *stored)

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
        no permutation, or patches are not of the grid: `verify` reports all faults.
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
        layout = self.layout(split)
        check_table(table, layout.row, layout, path, columns)
        return table.select(columns) if columns else table
