"""Parquet files in the Hugging Face layout as a source of samples."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import MAX_CLASSES, Sample
from vit_tickets.pipeline.datasets.sources.split import Unlabelled
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet

PARQUET_BATCH = 256
UNKNOWN = -1  # the label of Hugging Face's test splits
MAGIC = {b"\x89PNG": "png", b"GIF8": "gif", b"BM": "bmp", b"II*\0": "tif", b"MM\0*": "tif"}


@dataclass
class ParquetSplit:
    """Parquet files with the columns `image` (struct<bytes, path> or bytes) and `label` (integer).

    The key of an image is the number of its row, with 8 digits.
    """

    root: str
    names: list[str]
    left_out: Omissions = field(default_factory=Omissions)
    kind = "parquet"
    random_access = False

    @cached_property
    def _tables(self) -> list[tuple[pa.Schema, pa.Array]]:
        """Schema and labels of each file."""
        found, without = [], []
        for path in self._paths:
            with open_parquet(path) as file:
                schema = file.schema_arrow
                names = ", ".join(schema.names)
                if "image" in schema.names and "label" not in schema.names:
                    fault = f"{path}: expected columns image and label, found {names}"
                    without.append(Unlabelled(fault, f"no column label among {names}"))
                    continue
                for column in ("image", "label"):
                    if schema.names.count(column) != 1:
                        raise UserError(f"{path}: expected columns image and label, found {names}")
                if not pa.types.is_integer(kind := schema.field("label").type):
                    raise UserError(f"{path}: expected integers in label, found {kind}")
                if not _holds_bytes(kind := schema.field("image").type):
                    raise UserError(f"{path}: expected bytes, or a struct with a field bytes, in image, found {kind}")
                labels = file.read(["label"], use_threads=False)["label"].combine_chunks()
                found.append((schema, labels))
                distinct = labels.unique()
                if 0 < len(distinct) <= 2 and set(distinct.to_pylist()) <= {None, UNKNOWN}:
                    fault = f"{path}: expected class indices in 0..{MAX_CLASSES - 1}, found {distinct[0]} in every row"
                    without.append(Unlabelled(fault, "no class index in any row"))
                    continue
                for label in pc.min_max(labels).as_py().values():
                    if label is not None and not 0 <= label < MAX_CLASSES:
                        raise UserError(f"{path}: expected class indices in 0..{MAX_CLASSES - 1}, found {label}")
        if without and len(without) < len(self._paths):
            raise UserError(str(without[0]))
        if without:
            rows = sum(len(labels) for _, labels in found)
            raise Unlabelled(str(without[0]), f"no class index in its {rows:,} rows" if rows else without[0].reason)
        return found

    @property
    def _paths(self) -> list[str]:
        return [files.join(self.root, name) if name else self.root for name in self.names]

    @property
    def classes(self) -> list[str]:
        """The classes in the metadata; without these, the numbers from 0 to the highest label."""
        if names := _class_names(self._tables[0][0]):
            return names
        highest = max((pc.max(labels).as_py() or 0 for _, labels in self._tables if len(labels)), default=-1)
        return [str(label) for label in range(highest + 1)]

    def __len__(self) -> int:
        return sum(len(labels) for _, labels in self._tables)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        row = 0
        for path, (_, labels) in zip(self._paths, self._tables, strict=True):
            first = row
            with open_parquet(path) as file:
                for batch in file.iter_batches(PARQUET_BATCH, columns=["image"], use_threads=False):
                    images = batch["image"]
                    images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
                    for image in images:
                        if row - first == len(labels) or not labels[row - first].is_valid:
                            raise UserError(f"{path}: expected a label in every row, found none in row {row}")
                        data = image.as_py() or b""
                        yield Sample(f"{row:08d}", labels[row - first].as_py(), data, sniff_suffix(data))
                        row += 1
            if row - first != len(labels):
                raise UserError(f"{path}: expected as many images as labels ({len(labels)}), found {row - first}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _class_names(schema: pa.Schema) -> list[str] | None:
    """Class names in the `huggingface` metadata of a Parquet schema; None if there are none."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]
        names = info.get("names")
        if isinstance(names, dict):  # older writers store a number for each
            names = [names[str(index)] for index in range(len(names))]
        return [str(name) for name in names] if names else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def sniff_suffix(data: bytes) -> str:
    """File suffix according to the first bytes; jpg for unknown formats."""
    for magic, suffix in MAGIC.items():
        if data.startswith(magic):
            return suffix
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "jpg"


def has_images(path: str) -> bool:
    """Whether the Parquet file at `path` has a column that may hold images."""
    with open_parquet(path) as file:
        return any(_holds_bytes(field.type) for field in file.schema_arrow)
