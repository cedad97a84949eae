"""Check a folder of one Parquet file per shard, whatever its rows hold: files, metadata, sums, the dataset's order."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Dataset, Shard, parse_label, read_members
from vit_tickets.pipeline.manifests import tables
from vit_tickets.pipeline.manifests.columns import type_fault
from vit_tickets.pipeline.manifests.index import SplitSums
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError, first_line
from vit_tickets.pipeline.verification.findings import Tally


class Checked(Protocol):
    """A folder whose index is sound."""

    @property
    def root(self) -> str: ...

    @property
    def index(self) -> str:
        """Name of the index."""
        ...

    @property
    def holds(self) -> str:
        """What its rows are, for messages."""
        ...

    @property
    def joined(self) -> tuple[str, ...]:
        """Columns that the dataset has, too."""
        ...

    def metadata_faults(self, split: str, metadata: dict[str, Any]) -> Iterator[str]:
        """How a file's metadata differ from the index."""
        ...

    def schema_fault(self, split: str, found: pa.Schema) -> str | None:
        """What is wrong with a file's columns."""

    def check_rows(self, tally: Tally, split: str, table: pa.Table, keys: set[str | None]) -> None:
        """Check every row of a file whose schema is right; `keys` are the split's so far, and grow."""


def check_splits(
    folder: Checked, entries: Mapping[str, SplitSums], dataset: str | None, progress: bool
) -> Iterator[str]:
    """Findings about the splits that `entries` counts; with `dataset` also whether rows are those of its shards.

    Raises UserError where there is no dataset at `dataset`.
    """
    data = None if dataset is None else Dataset.open(dataset)
    for split, entry in entries.items():
        if data is not None and split not in data.splits:
            yield f"{split}: expected a split of {dataset}, which has {', '.join(data.splits)}"
            continue
        yield from _check_split(folder, split, entry, data, progress)


def visible(folder: str) -> list[str]:
    return [name for name in files.list_names(folder) if not name.startswith(".")]


def schema_fault(expected: pa.Schema, found: pa.Schema) -> str | None:
    """The first column that is not as `expected`; None if all are."""
    if found.names != expected.names:
        return f"expected columns {', '.join(expected.names)}, found {', '.join(found.names)}"
    return type_fault(expected, found)


def _check_split(folder: Checked, split: str, entry: SplitSums, data: Dataset | None, progress: bool) -> Iterator[str]:
    names = visible(files.join(folder.root, split))
    stems = [name.removesuffix(".parquet") for name in names if name.endswith(".parquet")]
    yield from (f"{split}/{name}: expected Parquet files only, found this" for name in names if name[:-8] not in stems)
    shard_of = {shard.stem: shard for shard in data.shards(split)} if data else {}
    missing = sorted((set(shard_of) if data else set(_numbered(stems))) - set(stems))
    yield from (f"{split}/{stem}.parquet: expected {folder.holds} of a shard, found no such file" for stem in missing)
    surplus = [] if data is None else [stem for stem in stems if stem not in shard_of]
    where = data and data.root
    yield from (f"{split}/{stem}.parquet: expected a shard of that name in {where}, found none" for stem in surplus)

    found = _Found(complete=not missing and not surplus)
    for stem in Bar(stems, desc=f"verify {split}", unit="file", leave=False, disable=None if progress else True):
        tally = Tally(f"{split}/{stem}.parquet ")
        found.add(_check_file(tally, folder, split, stem, found, data, shard_of.get(stem)))
        yield from tally.lines()
    for name, count in (("samples", found.samples), ("errors", found.errors)):
        if found.complete and (recorded := getattr(entry, name)) != count:
            yield f"{folder.index}: {split}: {name}: expected {count} as in its files, found {recorded}"


@dataclass
class _Found:
    """What the files of a split hold so far."""

    #: whether all files are there and their rows could be read
    complete: bool
    samples: int = 0
    errors: int = 0
    keys: set[str | None] = field(default_factory=set)
    #: names of the first file's metadata
    entries: set[str] = field(default_factory=set)

    def add(self, table: pa.Table | None) -> None:
        if table is None:
            self.complete = False
        else:
            self.samples += table.num_rows
            self.errors += table.num_rows - table["error"].null_count


def _check_file(
    tally: Tally, folder: Checked, split: str, stem: str, found: _Found, data: Dataset | None, shard: Shard | None
) -> pa.Table | None:
    """Check one file and return its rows; None if they could not be checked."""
    try:
        table, metadata = tables.read_table(files.join(folder.root, split, f"{stem}.parquet"))
        found.entries = found.entries or set(metadata)
        _check_metadata(tally, folder, split, metadata, found.entries)
        if fault := folder.schema_fault(split, table.schema):
            tally.add("schema", fault)
            return None
        folder.check_rows(tally, split, table, found.keys)
        if data is not None and shard is not None:
            _check_join(tally, data, shard, table.select(folder.joined), metadata)
    except (UserError, pa.ArrowException) as error:
        tally.add("file", f"cannot be checked: {first_line(error)}")
        return None
    return table


def _numbered(stems: list[str]) -> list[str]:
    """The stems that `pack` would have given up to the highest of `stems`; none where others named them."""
    if not stems or not all(re.fullmatch(r"[0-9]{6}", stem) for stem in stems):
        return []
    return [f"{number:06d}" for number in range(int(max(stems)) + 1)]


def _check_metadata(tally: Tally, folder: Checked, split: str, metadata: dict, entries: set[str]) -> None:
    for fault in folder.metadata_faults(split, metadata):
        tally.add("metadata", f"metadata differs from {folder.index}: {fault}")
    if not isinstance(metadata.get("shard_sha256"), str):
        tally.add("shard_sha256", f"metadata: shard_sha256: expected a hash, found {metadata.get('shard_sha256')!r}")
    elif entries != set(metadata):
        odd = sorted(entries ^ set(metadata))[0]
        tally.add("entries", f"metadata: expected the same entries in every file, found {odd} in some only")


def _check_join(tally: Tally, data: Dataset, shard: Shard, table: pa.Table, metadata: dict) -> None:
    """Check that the rows are the samples of `shard`, in its order; `table` has the columns to compare."""
    if metadata.get("shard_sha256") != shard.sha256:
        found = str(metadata.get("shard_sha256"))[:12]
        tally.add("shard", f"metadata: shard_sha256: expected {shard.sha256[:12]}..., {shard.file}, found {found}...")
    samples = [
        {"key": fields["__key__"], "label": parse_label(fields.get("cls"))}
        for fields in read_members(data.path_of(shard))
    ]
    if table.num_rows != len(samples):
        tally.add("rows", f"expected {len(samples)} rows as in {shard.file}, found {table.num_rows}")
    for row, (found, expected) in enumerate(zip(table.to_pylist(), samples, strict=False)):
        for name, value in found.items():
            if value != expected[name]:
                tally.add(
                    f"{name} of {shard.file}",
                    f"row {row}: {name}: expected {expected[name]} as in {shard.file}, found {value}",
                )
