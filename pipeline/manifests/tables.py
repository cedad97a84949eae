"""Tables with their provenance: the Parquet files that manifests and label maps are made of."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vit_tickets.pipeline.datasets.shards import Shard
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet
from vit_tickets.pipeline.system.records import shown

FORMAT_VERSION = 1
METADATA_KEY = b"vit_tickets"

# In a shard's metadata, but no reason to call a rerun different: which shard it is, and what memory allowed.
PER_SHARD = ("shard_sha256", "batch_size")
# What an entry that is missing stands for.
DEFAULTS = {"method": STAGED, "scores": True}


def write_table(path: str, columns: dict[str, list], fields: pa.Schema, metadata: dict[str, Any]) -> None:
    """Write the `columns` that `fields` names with their provenance; equal values give equal bytes."""
    fields = fields.with_metadata({METADATA_KEY: dump_metadata(metadata)})
    table = pa.table([pa.array(columns[field.name], field.type) for field in fields], schema=fields)
    with files.atomic_write(path) as stream:
        pq.write_table(table, stream, compression="zstd", store_schema=True)


def dump_metadata(metadata: dict[str, Any]) -> bytes:
    return json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()


def read_metadata(path: str) -> dict[str, Any]:
    """The provenance in a file's schema metadata; raises UserError where it has none."""
    return _metadata_of(_open(path)[0], path)


def read_table(path: str, columns: list[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """A file's rows (all columns, or `columns`) and provenance; raises UserError where it lacks one of them."""
    fields, table = _open(path, rows=True, columns=columns)
    return table, _metadata_of(fields, path)


def _open(path: str, rows: bool = False, columns: list[str] | None = None) -> tuple[pa.Schema, pa.Table | None]:
    with open_parquet(path) as file:
        names = file.schema_arrow.names
        table = file.read(columns, use_threads=False) if rows else None
        if table is not None:
            table.validate(full=True)
    for name in (columns or names) if rows else ():
        if names.count(name) != 1:
            raise UserError(f"{path}: expected a column {name}, found {', '.join(names)}")
    return file.schema_arrow, table


def _metadata_of(fields: pa.Schema, path: str) -> dict[str, Any]:
    try:
        metadata = json.loads((fields.metadata or {})[METADATA_KEY])
        version = metadata["format_version"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"{path}: expected provenance in its schema, as vit-tickets writes it, found none") from None
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {version!r}")
    return metadata


def difference(expected: Mapping[str, Any], found: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> str | None:
    """The first entry in which two provenances differ, as `name: expected ..., found ...`; None if they agree."""
    if (first := first_difference(expected, found, ignore)) is None:
        return None
    name, ours, theirs = first
    return f"{name}: expected {shown(ours)}, found {shown(theirs)}"


def first_difference(
    expected: Mapping[str, Any], found: Mapping[str, Any], ignore: tuple[str, ...] = ()
) -> tuple[str, Any, Any] | None:
    """The first entry in which two provenances differ: its name, and its values in `expected` and in `found`.

    In the order of `expected`, after entries that may be missing; an entry of an entry is named as `name.name`. None
    if they agree.
    """
    for name in [*DEFAULTS, *expected, *(name for name in found if name not in expected)]:
        ours, theirs = (record.get(name, DEFAULTS.get(name)) for record in (expected, found))
        if name in ignore or ours == theirs:
            continue
        if isinstance(ours, dict) and isinstance(theirs, dict) and (inner := first_difference(ours, theirs)):
            return f"{name}.{inner[0]}", inner[1], inner[2]
        return name, ours, theirs
    return None


def read_index(path: str, needed: Iterable[str], of: str) -> dict[str, Any]:
    """The index of a folder of one file per shard; raises UserError where it is not one `of` that kind, with all
    `needed` fields, in our format version."""
    record = files.read_json(path)
    for name in ("format_version", *needed):
        if not isinstance(record, dict) or name not in record:
            raise UserError(f"{path}: expected the fields of {of}, found no {name}")
    if record["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {record['format_version']!r}")
    return record


def read_of_shard(path: str, shard: Shard, columns: list[str] | None = None) -> pa.Table:
    """The rows of a file (all columns, or `columns`); raises UserError unless they were made from exactly `shard`."""
    table, metadata = read_table(path, columns)
    if (found := metadata.get("shard_sha256")) != shard.sha256:
        raise UserError(
            f"{path} was made from another shard: expected SHA-256 {shard.sha256[:12]}..., found {str(found)[:12]}..."
        )
    if table.num_rows != shard.samples:
        raise UserError(f"{path}: expected {shard.samples} rows, found {table.num_rows}")
    return table
