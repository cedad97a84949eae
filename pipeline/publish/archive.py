"""Archives: the tickets of a manifest as one Parquet file for publication. manifests/README.md documents the format.

Rows are sorted by split and key, so the file does not depend on the packing or order of the data. It leaves out scores,
predictions, `rc` (which follows from mask seed and key), and `lt` if it holds ranks. Equal manifests give equal bytes
with the same version of Arrow. The `sha256` of a split covers only its rows, whatever program wrote the file.

Legend: R rows of a split, N patches of an image, k of them kept, B bytes of a ticket.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vit_tickets.pipeline.geometry.patches import rank_dtype
from vit_tickets.pipeline.manifests.index import TicketRecord
from vit_tickets.pipeline.manifests.keyed import KeyedRows, Part, rank_bytes, read_keyed, stored_ranks
from vit_tickets.pipeline.manifests.manifest import INDEX, Manifest
from vit_tickets.pipeline.manifests.tables import FORMAT_VERSION
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet
from vit_tickets.pipeline.system.records import required

RANKS, MASKS = "rank", "lt"
METADATA_KEY = b"PANDAS_ATTRS"  # pandas reads it as `attrs` of the frame
ENTRY = "vit_tickets"
GROUP_ROWS = 1 << 14
MEAN_KEY_BYTES = 1 << 12  # generous limit for key and error of a row together
MAX_METADATA_BYTES = 1 << 24
LOCAL = ("selector_run",)  # entries of ticket.json with paths of the machine that wrote it


def schema(holds: str) -> pa.Schema:
    """Columns of an archive that `holds` ranks or masks (column `rank` or `lt`, as bytes)."""
    sizes = [(name, pa.int32()) for name in ("label", "height", "width")]
    return pa.schema(
        [("split", pa.string()), ("key", pa.string()), *sizes, (holds, pa.binary()), ("error", pa.string())]
    )


@dataclass(frozen=True)
class Written:
    """The extent of a written archive."""

    #: for each split: number of rows, and number of rows without a ticket
    rows: dict[str, tuple[int, int]]
    #: size of the file
    num_bytes: int


def ticket_bytes(holds: str, num_patches: int) -> int:
    """B: for a rank N bytes (2 N for more than 256 patches), for a mask ceil(N / 8)."""
    return rank_bytes(num_patches) if holds == RANKS else -(-num_patches // 8)


def stored_tickets(rank_RN: np.ndarray, holds: str, kept: int) -> np.ndarray:
    """Ranks, or the masks of their tickets, in the form that an archive stores: uint8 (R, B)."""
    if holds == MASKS:
        return np.packbits(rank_RN < kept, axis=1, bitorder="little")
    return stored_ranks(rank_RN)


def write_archive(path: str, manifest: Manifest, splits: list[str], holds: str = RANKS) -> Written:
    """Write the tickets of `splits` as one file.

    Raises UserError if rows cannot be read, keys repeat or ranks are no permutations, and for tickets of stored crops.
    """
    ticket = {name: value for name, value in manifest.record.items() if name not in LOCAL}
    ticket["splits"] = {split: manifest.record["splits"][split] for split in splits}
    about = {"format_version": FORMAT_VERSION, "holds": holds, "ticket": ticket, "sha256": {}}
    read = {split: read_keyed(manifest, split) for split in splits}
    for split, rows in read.items():
        digest = hashlib.sha256()
        for table in _tables(manifest, split, rows, holds):
            update(digest, table, holds)
        about["sha256"][split] = digest.hexdigest()
    text = json.dumps({ENTRY: about}, sort_keys=True, separators=(",", ":"))
    with files.atomic_write(path) as stream:
        writer = pq.ParquetWriter(
            stream,
            schema(holds).with_metadata({METADATA_KEY: text}),
            compression="zstd",
            compression_level=9,
            use_dictionary=["split", "error"],
            column_encoding={"key": "DELTA_BYTE_ARRAY", holds: "DELTA_LENGTH_BYTE_ARRAY"},
            write_statistics=False,
        )
        with writer:
            for split, rows in read.items():
                for table in _tables(manifest, split, rows, holds):
                    writer.write_table(table)
    counts = {split: (len(rows), int((~rows.valid_R).sum())) for split, rows in read.items()}
    return Written(counts, files.size(path))


def _tables(manifest: Manifest, split: str, rows: KeyedRows, holds: str) -> Iterator[pa.Table]:
    N, k = manifest.num_patches_of(split), manifest.kept_of(split)
    for start in range(0, len(rows), GROUP_ROWS):
        stop = min(start + GROUP_ROWS, len(rows))
        part, valid_R = slice(start, stop), rows.valid_R[start:stop]
        rank_RN = rows.ranks(part, N)
        check_permutations(rank_RN[valid_R], f"{manifest.root}: {split}")
        stored_RB = stored_tickets(rank_RN, holds, k)
        columns = {
            "split": pa.array([split] * (stop - start), pa.string()),
            "key": rows.keys[start:stop],
            **{
                name: pa.array(values, pa.int32(), mask=values < 0)
                for name, values in (
                    ("label", rows.label_R[part]),
                    ("height", rows.height_R[part]),
                    ("width", rows.width_R[part]),
                )
            },
            holds: pa.array(
                [row.tobytes() if valid else None for row, valid in zip(stored_RB, valid_R, strict=True)], pa.binary()
            ),
            "error": pa.array([rows.errors.get(row) for row in range(start, stop)], pa.string()),
        }
        yield pa.table([columns[field.name] for field in schema(holds)], schema=schema(holds))


def check_permutations(rank_RN: np.ndarray, origin: str) -> None:
    """Raise UserError unless every row of (R, N) is a permutation of 0..N-1."""
    N = rank_RN.shape[1]
    if (np.sort(rank_RN, axis=1) != np.arange(N)).any():
        raise UserError(f"{origin}: expected every rank to be a permutation of 0..{N - 1}, found another list")


def update(digest: Any, table: pa.Table, holds: str) -> None:
    """Add rows to a SHA-256: for each, the JSON list [key, label, height, width, error], a line feed and the ticket."""
    columns = (table[name].to_pylist() for name in ("key", "label", "height", "width", "error", holds))
    for *plain, ticket in zip(*columns, strict=True):
        digest.update(json.dumps(plain, separators=(",", ":")).encode() + b"\n" + (ticket or b""))


@dataclass(frozen=True)
class Archive:
    """A published file: `Archive.open(path)`."""

    path: str
    #: the manifest's record; its files are not there
    manifest: Manifest
    #: `rank` or `lt`
    holds: str
    #: SHA-256 of the rows of each split
    sha256: dict[str, str]

    @classmethod
    def open(cls, path: str) -> "Archive":
        """Read and check the metadata of an archive. Raises UserError if it is not valid."""
        with open_parquet(path) as file:
            text = (file.schema_arrow.metadata or {}).get(METADATA_KEY, b"")
            names = file.schema_arrow.names
        try:
            if len(text) > MAX_METADATA_BYTES:
                raise ValueError
            about = json.loads(text)[ENTRY]
            version, holds, ticket = about["format_version"], about["holds"], dict(about["ticket"])
            sha256 = {split: str(about["sha256"][split]) for split in ticket["splits"]}
        except (KeyError, ValueError, TypeError, RecursionError):
            raise UserError(f"expected an archive that `vit-tickets export` wrote, found none in {path}") from None
        if version != FORMAT_VERSION:
            raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {version!r}")
        if holds not in (RANKS, MASKS) or names != schema(holds).names:
            raise UserError(f"{path}: expected columns of an archive, found {', '.join(names)}")
        manifest = Manifest(path, ticket)
        try:
            if missing := [name for name in required(TicketRecord) if name not in ticket]:
                raise UserError(f"{missing[0]} is missing")
            _ = manifest.ticket
        except UserError as error:
            raise UserError(f"{path}: expected the entries of {INDEX}: {error}") from None
        return cls(path, manifest, holds, sha256)

    def read(self, split: str) -> KeyedRows:
        """The rows of a split. Raises UserError if sizes, order, ranks or the `sha256` are wrong."""
        digest, N = hashlib.sha256(), self.manifest.num_patches_of(split)
        rows = KeyedRows(self._parts(split, digest), ticket_bytes(self.holds, N), f"{self.path}: {split}")
        if (found := digest.hexdigest()) != self.sha256[split]:
            expected = self.sha256[split][:12]
            raise UserError(f"{self.path}: {split}: expected rows of SHA-256 {expected}..., found {found[:12]}...")
        return rows

    def _parts(self, split: str, digest: Any) -> Iterator[Part]:
        size = {name: ticket_bytes(self.holds, self.manifest.num_patches_of(name)) for name in self.manifest.splits}
        with open_parquet(self.path) as file:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                limit = GROUP_ROWS * (max(size.values()) + MEAN_KEY_BYTES)
                if group.num_rows > GROUP_ROWS or group.total_byte_size > limit:
                    found = f"{group.num_rows:,} rows in {group.total_byte_size:,} bytes"
                    raise UserError(f"{self.path}: expected at most {GROUP_ROWS:,} rows in a group, found {found}")
                of = set(self._columns(file, number, ["split"])["split"].to_pylist())
                if split not in of:
                    continue
                if of != {split}:
                    raise UserError(f"{self.path}: expected row groups of one split, found one of {len(of)}")
                table = self._columns(file, number, None)
                update(digest, table, self.holds)
                yield self._part(table, split, size[split])

    def _columns(self, file: pq.ParquetFile, number: int, names: list[str] | None) -> pa.Table:
        table = file.read_row_group(number, names, use_threads=False)
        table.validate(full=True)
        return table.cast(pa.schema([schema(self.holds).field(name) for name in table.column_names]))

    def _part(self, table: pa.Table, split: str, size: int) -> Part:
        tickets = table[self.holds].to_pylist()
        errors = table["error"].to_pylist()
        for ticket, error in zip(tickets, errors, strict=True):
            if (ticket is None) == (error is None) or (ticket is not None and len(ticket) != size):
                found = "none" if ticket is None else f"{len(ticket)}"
                raise UserError(f"{self.path}: {split}: expected a ticket of {size} bytes or an error, found {found}")
        valid_R = np.array([ticket is not None for ticket in tickets], dtype=bool)
        whole = table.filter(pa.array(valid_R))
        if any(whole[name].null_count for name in ("label", "height", "width")):
            raise UserError(f"{self.path}: {split}: expected label, height and width of every ticket, found null")
        stored_RB = np.zeros((len(tickets), size), dtype=np.uint8)
        stored_RB[valid_R] = np.frombuffer(b"".join(filter(None, tickets)), np.uint8).reshape(-1, size)
        if self.holds == RANKS:
            N = self.manifest.num_patches_of(split)
            rank_RN = stored_RB[valid_R].view(np.dtype(rank_dtype(N)).newbyteorder("<"))
            check_permutations(rank_RN, f"{self.path}: {split}")
        return Part(table, stored_RB, valid_R)
