"""Predictions of a run on one split: the Parquet file, its provenance, and how it is read."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.manifests.columns import check_types
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import CROSS_FIT, method_entries, scored_by
from vit_tickets.pipeline.manifests.tables import METADATA_KEY
from vit_tickets.pipeline.runs.provenance import OF_MANIFEST
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet
from vit_tickets.pipeline.system.records import fields_fault

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("prediction", pa.int32()),
        ("top5", pa.list_(pa.int32())),
        ("confidence", pa.float32()),
    ]
)


def ticket_provenance(manifest: Manifest) -> dict[str, Any]:
    """What a predictions file says of the manifest that it was made with; of its method where that is not staged."""
    record = {name: manifest.record.get(name) for name in OF_MANIFEST}
    return record | method_entries(manifest.record)


FORMAT_VERSION = 1
ABOUT = {
    "dataset": str, "split": str, "on": str, "view": str, "model": str, "weights_sha256": str, "preprocessing": dict,
    "tickets": dict, "errors": int, "samples": int,
}  # fmt: skip
COLUMNS = pa.schema([("key", pa.string()), ("label", pa.int32()), ("prediction", pa.int32())])


@dataclass(frozen=True)
class Predictions:
    """One predictions file, rows sorted by key.

    path: of the file. metadata: what it was made from. keys: string, labels: int32, correct: bool, all of length n.
    """

    path: str
    metadata: dict[str, Any]
    keys: pa.Array
    labels: np.ndarray
    correct: np.ndarray

    @property
    def tickets(self) -> dict[str, Any] | None:
        """Provenance of the tickets it was evaluated with or on; None where there were none."""
        return self.metadata.get("tickets")

    @property
    def method(self) -> str:
        """How those tickets were found; `staged` where nothing is said."""
        return scored_by(self.tickets or {})

    @property
    def cross_fit(self) -> bool:
        """Whether they are of several selectors, each marking what it was trained without."""
        return bool((self.tickets or {}).get(CROSS_FIT))


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
    if fault := fields_fault(metadata, ABOUT):
        raise UserError(f"{path}: {fault}")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {metadata.get('format_version')!r}")
    if table.num_rows == 0:
        raise UserError(f"{path}: expected predictions for at least one image, found none")
    if nulls := [name for name in COLUMNS.names if table[name].null_count]:
        raise UserError(f"{path}: expected a {nulls[0]} in every row, found {table[nulls[0]].null_count} without")
    keys = table["key"].chunk(0)
    if len(keys) > 1 and (repeated := np.flatnonzero(np.asarray(pc.equal(keys[1:], keys[:-1])))).size:
        raise UserError(f"{path}: expected every key once, found {keys[int(repeated[0])].as_py()!r} twice")
    labels = table["label"].to_numpy()
    return Predictions(path, metadata, keys, labels, table["prediction"].to_numpy() == labels)
