"""Where images come from: image folders, Hugging Face-layout Parquet, WebDataset tars; split by split.

A source lists its splits; a split knows its classes and how many samples it has, and reads them either in any order
(`random_access`) or from first to last. Bytes are never interpreted here.
"""

import contextlib
import itertools
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vit_tickets.pipeline.datasets import digits
from vit_tickets.pipeline.datasets.shards import (
    INDEX,
    MAX_CLASSES,
    Dataset,
    Sample,
    image_suffix,
    is_text,
    parse_label,
    read_members,
)
from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, first_line

SPLITS = ("train", "val", "validation", "test")
PARQUET_BATCH = 256
REMOTE_READERS = 32


class Split(Protocol):
    """One split of a source."""

    kind: str
    classes: list[str]
    random_access: bool

    def __len__(self) -> int: ...

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        """The samples at `order`; only 0, 1, 2 ... where `random_access` is false."""


def open_source(source: str) -> dict[str | None, Split]:
    """The splits of `source` by name; a source without splits has the one key None.

    `digits` is the embedded dataset, unless something of that name exists. `validation` is named `val`, and so is
    `test` where there is no other. Raises UserError for anything that is none of the three kinds.
    """
    if source == digits.NAME and not files.exists(source):
        return digits.splits()
    if not files.exists(source):
        raise UserError(f"no such source: {source}")
    found = _find_splits(source)
    if "val" not in found:
        for other in ("validation", "test"):
            if other in found:
                found["val"] = found.pop(other)
                break
    return {name: found[name] for name in sorted(found, key=_split_order)}


def _split_order(name: str | None) -> tuple[int, str]:
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name or "")


def _find_splits(source: str) -> dict[str | None, Split]:
    if not files.is_dir(source):
        return {None: _open_files(source, [""])}
    folders = [name for name in SPLITS if files.is_dir(files.join(source, name))]
    if folders:
        return {name: _open_folder(files.join(source, name)) for name in folders}
    parquet = [name for name in _visible(source) if name.endswith(".parquet")]
    if not parquet and files.is_dir(files.join(source, "data")):  # the layout of a Hugging Face repository
        nested = [name for name in _visible(files.join(source, "data")) if name.endswith(".parquet")]
        if nested:
            return _find_splits(files.join(source, "data"))
    by_split: dict[str | None, list[str]] = {}
    for name in parquet:
        match = re.match(rf"({'|'.join(SPLITS)})-", name)
        by_split.setdefault(match[1] if match else None, []).append(name)
    if by_split:
        if len(by_split) > 1 and None in by_split:
            raise UserError(
                f"{source}: expected every Parquet file to be named <split>-*.parquet, found {by_split[None][0]}"
            )
        return {split: ParquetSplit(source, names) for split, names in by_split.items()}
    return {None: _open_folder(source)}


def _visible(folder: str) -> list[str]:
    return [name for name in files.list_names(folder) if not name.startswith(".")]


def _open_folder(folder: str) -> Split:
    names = _visible(folder)
    for suffix in (".tar", ".parquet"):
        if matching := [name for name in names if name.endswith(suffix)]:
            return _open_files(folder, matching)
    return FolderSplit(folder)


def _open_files(root: str, names: list[str]) -> Split:
    path = files.join(root, names[0]) if names[0] else root
    if path.endswith(".tar"):
        return TarSplit(root, names)
    if path.endswith(".parquet"):
        return ParquetSplit(root, names)
    raise UserError(f"expected an image folder, Parquet or WebDataset tars, found {path}")


class FolderSplit:
    """`class/image`: the first folder is the class, the key is the relative path without its suffix.

    Raises UserError where there are no images, a name is no UTF-8, or a folder is only linked to: its images would be
    missing without a word.
    """

    kind = "image folder"
    random_access = True

    def __init__(self, root: str):
        self.root = root
        everything = files.walk_files(root)
        self.paths = [path for path in everything if _suffix(path) in SUFFIXES and "/" in path]
        self.ignored = len(everything) - len(self.paths)
        others = set(everything) - set(self.paths) if files.is_local(root) else ()
        if link := next((path for path in sorted(others) if files.is_dir(files.join(root, path))), None):
            raise UserError(f"{root}: expected folders, found a link to one, {link}, which is not followed")
        if odd := next((path for path in self.paths if not is_text(path)), None):
            raise UserError(f"{root}: expected names in UTF-8, found {odd}")
        if not self.paths:
            raise UserError(f"expected images as class/image, Parquet or WebDataset tars, found none in {root}")
        self.classes = sorted({path.split("/")[0] for path in self.paths})
        self.keys = folder_keys(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        labels = {name: index for index, name in enumerate(self.classes)}

        def sample(index: int) -> Sample:
            path = self.paths[index]
            data = files.read_bytes(files.join(self.root, path))
            return Sample(self.keys[index], labels[path.split("/")[0]], data, _suffix(path).replace("jpeg", "jpg"))

        if files.is_local(self.root):
            yield from map(sample, order)
            return
        order = iter(order)
        with ThreadPoolExecutor(REMOTE_READERS) as pool:  # elsewhere an image takes its time to come
            while chunk := list(itertools.islice(order, 4 * REMOTE_READERS)):
                yield from pool.map(sample, chunk)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1][1:].lower()


def folder_keys(paths: list[str]) -> list[str]:
    """Keys of relative paths: without suffix, dots to underscores; those that clash get `-<suffix>` (then a number)."""
    keys = [posixpath.splitext(path)[0].replace(".", "_") for path in paths]
    clashes = Counter(keys)
    keys = [f"{key}-{_suffix(path)}" if clashes[key] > 1 else key for key, path in zip(keys, paths, strict=True)]
    taken = set()
    unique = []
    for key in keys:
        free = next(
            name for number in itertools.count(1) if (name := key if number == 1 else f"{key}-{number}") not in taken
        )
        taken.add(free)
        unique.append(free)
    return unique


@dataclass
class ParquetSplit:
    """Hugging Face layout: `image` (struct<bytes, path> or bytes), integer `label`; the key is the 8-digit row."""

    root: str
    names: list[str]
    kind = "parquet"
    random_access = False

    @cached_property
    def _tables(self) -> list[tuple[pa.Schema, pa.Array]]:
        """Schema and labels of each file."""
        found = []
        for path in self._paths:
            with _opened(path) as file:
                schema = file.schema_arrow
                for column in ("image", "label"):
                    if schema.names.count(column) != 1:
                        raise UserError(f"{path}: expected columns image and label, found {', '.join(schema.names)}")
                if not pa.types.is_integer(kind := schema.field("label").type):
                    raise UserError(f"{path}: expected integers in label, found {kind}")
                if not _holds_bytes(kind := schema.field("image").type):
                    raise UserError(f"{path}: expected bytes, or a struct with a field bytes, in image, found {kind}")
                labels = file.read(["label"], use_threads=False)["label"].combine_chunks()
                for label in pc.min_max(labels).as_py().values():
                    if label is not None and not 0 <= label < MAX_CLASSES:
                        raise UserError(f"{path}: expected class indices in 0..{MAX_CLASSES - 1}, found {label}")
                found.append((schema, labels))
        return found

    @property
    def _paths(self) -> list[str]:
        return [files.join(self.root, name) if name else self.root for name in self.names]

    @cached_property
    def classes(self) -> list[str]:
        """Those of the metadata, else the numbers from 0 to the highest label."""
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
            with _opened(path) as file:
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
                raise UserError(f"{path}: expected {len(labels)} images, as it has labels, found {row - first}")


@contextlib.contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    """The Parquet file at `path`; raises UserError for whatever cannot be read of it."""
    with files.open_read(path) as stream:
        try:
            with pq.ParquetFile(stream) as file:
                yield file
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return any(is_kind(kind) for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _class_names(schema: pa.Schema) -> list[str] | None:
    """Class names in the `huggingface` metadata of a Parquet schema, if it has them."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]["label"]
        names = info.get("names")
        if isinstance(names, dict):  # older writers number them
            names = [names[str(index)] for index in range(len(names))]
        return [str(name) for name in names] if names else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def sniff_suffix(data: bytes) -> str:
    """File suffix by the first bytes; jpg for what is none of the known kinds."""
    for magic, suffix in (
        (b"\x89PNG", "png"),
        (b"GIF8", "gif"),
        (b"BM", "bmp"),
        (b"II*\0", "tif"),
        (b"MM\0*", "tif"),
    ):
        if data.startswith(magic):
            return suffix
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "jpg"


@dataclass
class TarSplit:
    """WebDataset tars: keys and suffixes are theirs, the label is the `.cls` member."""

    root: str
    names: list[str]
    kind = "webdataset"
    random_access = False

    @cached_property
    def shard_counts(self) -> dict[str, int]:
        """Samples of each tar; reads them all once and checks keys, labels, and that no key has two images."""
        counts, keys, self._top_label = {}, set(), -1
        for name in self.names:
            path, counts[name] = files.join(self.root, name) if name else self.root, 0
            for count, fields in enumerate(read_members(path), 1):
                key, label = fields["__key__"], parse_label(fields.get("cls"))
                if label is None or not 0 <= label < MAX_CLASSES:
                    found = fields.get("cls", b"no such member")[:40].decode(errors="replace")
                    raise UserError(
                        f"{path}: expected a class index in 0..{MAX_CLASSES - 1} in {key}.cls, found {found}"
                    )
                if key in keys:
                    raise UserError(f"{path}: expected unique keys, found {key} a second time")
                image_suffix(fields, path)
                keys.add(key)
                self._top_label = max(self._top_label, label)
                counts[name] = count
        if not keys:
            raise UserError(f"expected samples in {self.root}, found none")
        return counts

    @cached_property
    def classes(self) -> list[str]:
        for folder in (self.root, posixpath.dirname(self.root.rstrip("/"))):
            if files.exists(files.join(folder, INDEX)):
                return Dataset.open(folder).classes
        self.shard_counts  # noqa: B018 (reads the labels)
        return [str(label) for label in range(self._top_label + 1)]

    def __len__(self) -> int:
        return sum(self.shard_counts.values())

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        for name in self.names:
            path = files.join(self.root, name) if name else self.root
            for fields in read_members(path):
                suffix = image_suffix(fields, path)
                data = b"" if suffix is None else fields[suffix]
                yield Sample(fields["__key__"], parse_label(fields["cls"]), data, suffix or "jpg")
