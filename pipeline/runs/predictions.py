"""Predictions of a run on one split: the Parquet file, its provenance, and how it is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vit_tickets.pipeline.manifests.columns import check_types
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.tables import METADATA_KEY
from vit_tickets.pipeline.runs.provenance import Provenance, TicketProvenance
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("prediction", pa.int32()),
        ("top5", pa.list_(pa.int32())),
        ("confidence", pa.float32()),
    ]
)


COLUMNS = pa.schema([("key", pa.string()), ("label", pa.int32()), ("prediction", pa.int32())])


@dataclass(frozen=True)
class Predictions:
    """One predictions file, n rows sorted by key."""

    #: The file.
    path: str
    #: What it was made from.
    provenance: Provenance
    #: Keys of the images: string (n,).
    keys: pa.Array
    #: Their labels: int32 (n,).
    labels: np.ndarray
    #: Whether the most probable class is the label: bool (n,).
    correct: np.ndarray

    @property
    def tickets(self) -> TicketProvenance | None:
        """The tickets it was evaluated with or on; None if there were none."""
        return self.provenance.tickets

    @property
    def method(self) -> str:
        """Name of the method that chose those tickets."""
        return self.tickets.scored_by if self.tickets else STAGED

    @property
    def cross_fit(self) -> bool:
        """Whether those tickets are cross-fitted: each image's from a selector that was trained without it."""
        return bool(self.tickets and self.tickets.cross_fit)


def predictions_file(folder: str, on: str) -> str:
    """The file in `folder` with predictions on `on`, one of `TESTED_ON`."""
    return files.join(folder, f"predictions-{on}.parquet")


def write_predictions(path: str, rows: Mapping[str, Any], provenance: Provenance) -> None:
    """Write a predictions file; equal values give equal bytes.

    Args:
        path: the file.
        rows: by the names of `SCHEMA`, values of equal length n in the dataset's order: keys, labels, the most
            probable classes, the up to five most probable classes of each row, and the probability of the first.
        provenance: what they were made from.
    """
    table = pa.table([pa.array(rows[column.name], column.type) for column in SCHEMA], schema=SCHEMA)
    metadata = json.dumps(provenance.record(), sort_keys=True).encode()
    table = table.replace_schema_metadata({METADATA_KEY: metadata})
    with files.atomic_write(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def read_predictions(path: str) -> Predictions:
    """Read a predictions file; raises UserError where it is not one, is empty or has a key twice."""
    with open_parquet(path) as file:
        raw = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
        missing = [name for name in COLUMNS.names if name not in file.schema_arrow.names]
        table = None if missing else file.read(columns=COLUMNS.names, use_threads=False)
        if table is not None:
            table.validate(full=True)
            check_types(table, COLUMNS, path)
            table = table.sort_by("key").combine_chunks()
    if table is None or raw is None:
        found = f"no column {missing[0]}" if missing else "no provenance in its schema"
        raise UserError(f"{path}: expected predictions that `evaluate` wrote, found {found}")
    try:
        metadata = json.loads(raw)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: expected predictions that `evaluate` wrote, found other provenance in its schema")
    try:
        provenance = Provenance.from_record(metadata)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if table.num_rows == 0:
        raise UserError(f"{path}: expected predictions for at least one image, found none")
    if nulls := [name for name in COLUMNS.names if table[name].null_count]:
        raise UserError(f"{path}: expected a {nulls[0]} in every row, found {table[nulls[0]].null_count} without")
    keys = table["key"].chunk(0)
    if len(keys) > 1 and (repeated := np.flatnonzero(np.asarray(pc.equal(keys[1:], keys[:-1])))).size:
        raise UserError(f"{path}: expected every key once, found {keys[int(repeated[0])].as_py()!r} twice")
    labels = table["label"].to_numpy()
    return Predictions(path, provenance, keys, labels, table["prediction"].to_numpy() == labels)
