"""Parquet files in the Hugging Face layout as a source of samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import MAX_CLASSES, Sample
from vit_tickets.pipeline.datasets.sources.columns import TO_PACK_PATHS, class_names, columns_of, holds_bytes
from vit_tickets.pipeline.datasets.sources.options import SampleOptions, stamp_of
from vit_tickets.pipeline.datasets.sources.split import Unlabelled, empty_of
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet

PARQUET_BATCH = 256
UNKNOWN = -1  # the label of Hugging Face's test splits
CLASS_INDICES = f"class indices in 0..{MAX_CLASSES - 1}"
MAGIC = {b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp", b"II*\0": "tif", b"MM\0*": "tif", b"\xff\x0a": "jxl"}
BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heif"}
ONLY_PATH = "its image is a path without bytes"
EMPTY = "no image bytes"


@dataclass(frozen=True)
class _Table:
    """What is known of one file before its images are read."""

    schema: pa.Schema
    image: str
    label: str
    #: class indices, one per row
    labels: pa.Array
    #: bool (rows): which rows have an image; None if all do
    present: np.ndarray | None

    @property
    def images(self) -> int:
        return len(self.labels) if self.present is None else int(self.present.sum())


@dataclass
class ParquetSplit:
    """Parquet files with a column of images (struct<bytes, path> or bytes) and one of labels (integer).

    The key of an image is the number of its row, with 8 digits. Rows without the bytes of an image are left out.
    """

    root: str
    names: list[str]
    options: SampleOptions = field(default_factory=SampleOptions)
    left_out: Omissions = field(default_factory=Omissions)
    kind = "parquet"
    readers = 0

    @cached_property
    def _tables(self) -> list[_Table]:
        """Columns, labels and missing images of each file. Raises Unlabelled if no row has a class index."""
        found, without, row = [], [], 0
        for path in self._paths:
            with open_parquet(path) as file:
                schema = file.schema_arrow
                try:
                    image, label = columns_of(schema, self.options, path)
                except Unlabelled as error:
                    without.append(error)
                    continue
                labels = file.read([label], use_threads=False)[label].combine_chunks()
                distinct = labels.unique()
                if 0 < len(distinct) <= 2 and set(distinct.to_pylist()) <= {None, UNKNOWN}:
                    fault = f"{path}: expected {CLASS_INDICES}, found {distinct[0]} in every row"
                    without.append(Unlabelled(fault, "no class index in any row"))
                else:
                    _check_range(path, label, labels)
                present = None if without or _all_there(file, image) else self._present(file, image, row)
                found.append(_Table(schema, image, label, labels, present))
                row += len(labels)
        if without and len(without) < len(self._paths):
            raise UserError(str(without[0]))
        if without:
            raise Unlabelled(str(without[0]), f"no class index in its {row:,} rows" if row else without[0].reason)
        if row and not any(table.images for table in found):
            why = "; ".join(map(str, self.left_out))
            instead = f"; {TO_PACK_PATHS}" if any(entry.reason == ONLY_PATH for entry in self.left_out) else ""
            raise UserError(
                f"{self.root}: expected images in {found[0].image}, found none in {row:,} rows: {why}{instead}"
            )
        return found

    def _present(self, file: pq.ParquetFile, image: str, first: int) -> np.ndarray:
        """Bool (rows): which rows of `file` have an image. The others are left out, by reason."""
        present = np.ones(file.metadata.num_rows, bool)
        row = 0
        for batch in file.iter_batches(PARQUET_BATCH, columns=[image], use_threads=False):
            column = batch[image]
            for within, data in enumerate(_bytes_of(column)):
                if not data.as_py():
                    present[row] = False
                    self._leave_out(first + row, column[within])
                row += 1
        return present

    def _leave_out(self, row: int, image: pa.Scalar) -> None:
        value = image.as_py()
        path = value.get("path") if isinstance(value, dict) else None
        self.left_out.add("row", ONLY_PATH if path else EMPTY, f"{row:08d} ({path})" if path else f"{row:08d}")

    @property
    def _paths(self) -> list[str]:
        return [files.join(self.root, name) if name else self.root for name in self.names]

    @property
    def classes(self) -> list[str]:
        """The classes in the metadata; without these, the numbers from 0 to the highest label.

        Raises UserError if a row has no label, or one beyond the names.
        """
        return self._classes

    @cached_property
    def _classes(self) -> list[str]:
        tables = self._tables
        names = class_names(tables[0].schema, tables[0].label)
        self._check_labels(len(names) if names else MAX_CLASSES)
        if names:
            return names
        highest = max((pc.max(table.labels).as_py() or 0 for table in tables if len(table.labels)), default=-1)
        return [str(label) for label in range(highest + 1)]

    def _check_labels(self, classes: int) -> None:
        row = 0
        for path, table in zip(self._paths, self._tables, strict=True):
            labels = table.labels.to_numpy(zero_copy_only=False)
            missing = table.labels.is_null().to_numpy(zero_copy_only=False)
            if len(found := np.flatnonzero(missing)):
                expected = "expected a label in every row"
                raise UserError(f"{path}: {expected}, found none {_in_rows(found)}{_without(table.label)}")
            if len(found := np.flatnonzero(labels >= classes)):
                key, label = f"{row + found[0]:08d}", labels[found[0]]
                raise UserError(f"{path}: {key}: expected a label in 0..{classes - 1}, found {label}")
            row += len(labels)

    @property
    def empty(self) -> list[str]:
        labels = set()
        for table in self._tables:
            present = table.labels if table.present is None else table.labels.filter(pa.array(table.present))
            labels.update(present.unique().to_pylist())
        return empty_of(self.classes, labels)

    def __len__(self) -> int:
        return sum(table.images for table in self._tables)

    def labelled(self) -> Iterator[tuple[str, int]]:
        row = 0
        for table in self._tables:
            for within, label in enumerate(table.labels.to_pylist()):
                if table.present is None or table.present[within]:
                    yield f"{row:08d}", label
                row += 1

    def stamp(self, order: Iterable[int]) -> str | None:
        return stamp_of(self._paths, self.options)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        row = 0
        for path, table in zip(self._paths, self._tables, strict=True):
            first, labels = row, table.labels
            with open_parquet(path) as file:
                for batch in file.iter_batches(PARQUET_BATCH, columns=[table.image], use_threads=False):
                    column = batch[table.image]
                    for within, image in enumerate(_bytes_of(column)):
                        if row - first == len(labels) or not labels[row - first].is_valid:
                            raise UserError(f"{path}: expected a label in every row, found none in row {row}")
                        data = image.as_py()
                        if data:
                            yield Sample(f"{row:08d}", labels[row - first].as_py(), data, sniff_suffix(data))
                        elif table.present is None:  # the statistics knew of none
                            self._leave_out(row, column[within])
                        row += 1
            if row - first != len(labels):
                raise UserError(f"{path}: expected as many images as labels ({len(labels)}), found {row - first}")


def _check_range(path: str, column: str, labels: pa.Array) -> None:
    """Raise UserError if `labels`, one per row, hold a number that is no class index."""
    values = labels.to_numpy(zero_copy_only=False)
    if len(found := np.flatnonzero((values < 0) | (values >= MAX_CLASSES))):
        value = labels[int(found[0])].as_py()
        advice = _without(column) if value < 0 else ""
        raise UserError(f"{path}: expected {CLASS_INDICES}, found {value} {_in_rows(found)}{advice}")


def _in_rows(rows: np.ndarray) -> str:
    """Row numbers in one file, from 0."""
    return f"in row {rows[0]}" + (f" and {len(rows) - 1:,} more" if len(rows) > 1 else "")


def _without(label: str) -> str:
    """What to do about rows without a label."""
    return f"; pack a copy without such rows, in pyarrow table.filter(pc.field({label!r}) >= 0)"


def _bytes_of(column: pa.Array) -> pa.Array:
    if not pa.types.is_struct(column.type):
        return column
    return pc.call_function("struct_field", [column], pc.StructFieldOptions("bytes"))


def _all_there(file: pq.ParquetFile, image: str) -> bool:
    """Whether the statistics of `file` say that no image is null."""
    metadata = file.metadata
    leaves = (image, f"{image}.bytes")
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        known = [column.statistics for column in columns if column.path_in_schema in leaves]
        if len(known) != 1 or known[0] is None or not known[0].has_null_count or known[0].null_count:
            return False
        if known[0].has_min_max and known[0].min in (b"", ""):
            return False
    return True


def sniff_suffix(data: bytes) -> str:
    """File suffix according to the first bytes; jpg for unknown formats."""
    for magic, suffix in MAGIC.items():
        if data.startswith(magic):
            return suffix
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], "jpg")
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "jpg"


def has_images(path: str) -> bool:
    """Whether the Parquet file at `path` has a column that may hold images."""
    with open_parquet(path) as file:
        return any(holds_bytes(field.type) for field in file.schema_arrow)
