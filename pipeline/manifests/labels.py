"""Label maps: for every image, the best classes of each cell of an annotator's feature map of the whole image.

One Parquet file per shard, and `labels.json`, which says that they are complete; manifests/README.md documents every
column. Legend: M cells along a side of the map, P places of a cell (min(5, classes)), n rows of a file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Shard
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests import contract
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.contract import HALVES, Check, Column
from vit_tickets.pipeline.manifests.index import LabelRecord, SplitSums
from vit_tickets.pipeline.manifests.rows import KEY
from vit_tickets.pipeline.manifests.tables import read_index, read_of_shard, read_table
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import required

INDEX = "labels.json"


def _every_place(labels: LabelRecord) -> int:
    return labels.map_size**2 * labels.places


def _cells(values: np.ndarray, labels: LabelRecord) -> np.ndarray:
    return values.reshape(len(values), labels.map_size**2, labels.places)


def _of_cells(fits: Callable[[np.ndarray], Any], expected: str, found: str) -> Check:
    """A check of every cell: `fits` maps (n, M * M, P) to bool (n, M * M)."""

    def where(values: np.ndarray, labels: LabelRecord) -> str:
        return f"{found} in cell {np.flatnonzero(~fits(_cells(values[None], labels)))[0]}"

    return Check(lambda labels: expected, lambda values, labels: fits(_cells(values, labels)).all(axis=1), where)


def _distinct(class_nNP: np.ndarray) -> np.ndarray:
    sorted_nNP = np.sort(class_nNP, axis=2)
    return (sorted_nNP[..., 1:] != sorted_nNP[..., :-1]).all(axis=2)


MAP_SIZE = Check(lambda labels: f"{labels.map_size}", lambda size_n, labels: size_n == labels.map_size)
KNOWN_CLASSES = Check(
    lambda labels: f"classes in 0..{labels.num_classes - 1}",
    lambda class_nL, labels: (class_nL < labels.num_classes).all(axis=1),
    lambda class_L, labels: class_L.max(),
)
DISTINCT = _of_cells(_distinct, "every class once in a cell", "one twice")
FINITE = _of_cells(lambda logit_nNP: np.isfinite(logit_nNP).all(axis=2), "finite numbers", "others")
FALLING = _of_cells(
    lambda logit_nNP: ~(logit_nNP[..., 1:] > logit_nNP[..., :-1]).any(axis=2),
    "no increase along the places of a cell",
    "one",
)


SIZE = Column(pa.int32(), "M", in_full=[MAP_SIZE])
CLASSES = Column(
    pa.list_(pa.uint16()),
    "length P x M x M: the P best classes of every cell, `classes[P * cell + place]`, place 0 the best",
    length=_every_place,
    on_read=[KNOWN_CLASSES],
    in_full=[KNOWN_CLASSES, DISTINCT],
)
LOGITS = Column(
    HALVES,
    "length P x M x M: their logits, before softmax, in the same order, less the mean logit of the other C - P classes",
    length=_every_place,
    on_read=[FINITE],
    in_full=[FINITE, FALLING],
)
ERROR = Column(
    pa.string(), "null, or why this image has no label map; then all but `key` are null. Rows are never dropped"
)


@dataclass(frozen=True)
class LabelRow:
    """One image's row; classes and logits are (M * M, P), best place first, and None with an `error`."""

    key: Annotated[str, KEY]
    map_size: Annotated[int | None, SIZE] = field(init=False, default=None)
    classes: Annotated[np.ndarray | None, CLASSES] = None
    logits: Annotated[np.ndarray | None, LOGITS] = None
    error: Annotated[str | None, ERROR] = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            object.__setattr__(self, "map_size", math.isqrt(len(self.classes)))


SCHEMA = contract.schema(LabelRow, None)


def write_label_rows(path: str, rows: list[LabelRow], metadata: dict[str, Any]) -> None:
    """Write one shard's label maps; equal rows and metadata give equal bytes."""
    contract.write(path, rows, LabelRow, None, metadata)


@dataclass(frozen=True)
class LabelArrays:
    """The label maps of one file, zeros where a row has an error."""

    classes: np.ndarray  #: uint16 (n, M * M, P), cells row-major, place 0 the best
    logits: np.ndarray  #: float16, same shape
    valid: np.ndarray  #: bool (n,), rows without an error


def label_arrays(table: pa.Table, map_size: int, places: int, path: str = "label maps") -> LabelArrays:
    """The columns `classes` and `logits` of a file as arrays; raises UserError where a list has another length."""
    cells = map_size * map_size
    classes, valid = list_matrix(table["classes"], cells * places, path)
    logits, with_logits = list_matrix(table["logits"], cells * places, path)
    if (odd := np.flatnonzero(valid != with_logits)).size:
        raise UserError(f"{path}: row {odd[0]}: expected classes and logits together, found one without the other")
    return LabelArrays(classes.reshape(-1, cells, places), logits.reshape(-1, cells, places), valid)


@dataclass(frozen=True)
class LabelMaps:
    """A folder of label maps: `LabelMaps.open(path)`.

    Attributes:
        root: the folder.
        record: the JSON value of labels.json; `labels` is the same, typed.
    """

    root: str
    record: dict[str, Any]

    @classmethod
    def open(cls, root: str) -> "LabelMaps":
        """Read LABELS/labels.json; raises UserError if it is missing or malformed."""
        maps = cls.unchecked(root)
        try:
            _ = maps.labels
        except UserError as error:
            raise UserError(f"{files.join(root, INDEX)}: {error}") from None
        return maps

    @classmethod
    def unchecked(cls, root: str) -> "LabelMaps":
        """The same without a check of the fields' values, for `verify`."""
        path = files.join(root, INDEX)
        if not files.exists(path):
            raise UserError(f"expected finished label maps, found no {INDEX} in {root}; run `vit-tickets labels` first")
        return cls(root, read_index(path, required(LabelRecord), "label maps"))

    @cached_property
    def labels(self) -> LabelRecord:
        """The content of labels.json; raises UserError for the first field that is wrong."""
        return LabelRecord.read(self.record)

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.labels.dataset

    @property
    def map_size(self) -> int:
        """M: cells along a side of every map."""
        return self.labels.map_size

    @property
    def places(self) -> int:
        """P: classes stored per cell."""
        return self.labels.places

    @property
    def num_classes(self) -> int:
        return self.labels.num_classes

    @property
    def splits(self) -> list[str]:
        return list(self.labels.splits)

    @property
    def view(self) -> View:
        """What the annotator saw of an image of any split: the whole, resized to a square."""
        return View.from_record("full", self.labels.preprocessing)

    def split_record(self, split: str) -> SplitSums:
        """What labels.json records of a split; raises UserError if it has no such split."""
        if split not in self.labels.splits:
            raise UserError(
                f"{self.root}: expected label maps of split {split!r}, found those of {', '.join(self.splits)}"
            )
        return self.labels.splits[split]

    def path_of(self, split: str, shard: Shard) -> str:
        return files.join(self.root, split, f"{shard.stem}.parquet")

    def read(self, split: str, shard: Shard, columns: list[str] | None = None) -> pa.Table:
        """The rows that belong to `shard`, as `read_file` gives them; raises UserError unless they were made from
        exactly this shard."""
        path = self.path_of(split, shard)
        if not files.exists(path):
            raise UserError(f"{self.root}: expected label maps of shard {shard.file}, found no {path}")
        return self._sound(lambda names: read_of_shard(path, shard, names), columns, path)

    def read_file(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of a file (all columns, or `columns`).

        Raises UserError where a column is missing or of another type, a row has neither a label map nor an error, a
        class is none of the annotator's, or a logit is not finite.
        """
        return self._sound(lambda names: read_table(path, names)[0], columns, path)

    def _sound(self, read: Callable[[list[str] | None], pa.Table], columns: list[str] | None, path: str) -> pa.Table:
        table = read(columns and [*columns, *(name for name in ("key", "error") if name not in columns)])
        contract.check_table(table, LabelRow, self.labels, path, columns)
        return table.select(columns) if columns else table

    def arrays(self, split: str, shard: Shard) -> LabelArrays:
        """The label maps of the images of `shard`, in its order."""
        table = self.read(split, shard, ["classes", "logits"])
        return label_arrays(table, self.map_size, self.places, self.path_of(split, shard))
