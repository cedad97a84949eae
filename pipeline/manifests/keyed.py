"""The rows of a split by key: keys, labels and sizes in memory, ranks or masks in a temporary file.

Whatever the packing, the same images give the same rows in the same order. Memory: about 0.5 kB per image, and one
file of the manifest; ranks of ImageNet's train images take 251 MB of temporary storage.

Legend: R rows of a split, N patches of an image, B bytes of a ticket.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.geometry.patches import rank_dtype
from vit_tickets.pipeline.manifests.columns import list_matrix, one_array
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError

COLUMNS = ("key", "label", "height", "width", "rank", "error")


@dataclass(frozen=True)
class Part:
    """Some rows of a split, in the order of their file."""

    plain: pa.Table  #: columns key, label, height, width, error
    stored_RB: np.ndarray  #: uint8, the tickets, zeros where a row has none
    valid_R: np.ndarray  #: bool, rows with a ticket


class KeyedRows:
    """The rows of a split, ascending by the UTF-8 bytes of their keys.

    Attributes:
        keys: string (R,).
        label_R: int32, -1 for none.
        height_R: int32, pixels, -1 for none.
        width_R: int32, pixels, -1 for none.
        valid_R: bool, rows with a ticket.
        errors: by row, why it has no ticket.
    """

    def __init__(self, parts: Iterable[Part], num_bytes: int, origin: str):
        """Raises UserError if a key is missing or repeated; `origin` names the source."""
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (kept open for the array on it)
        tables, valid = [], []
        for part in parts:
            spool.write(part.stored_RB.tobytes())
            tables.append(part.plain.select(["key", "label", "height", "width", "error"]).replace_schema_metadata(None))
            valid.append(part.valid_R)
        spool.flush()
        plain = pa.concat_tables(tables) if tables else _NO_ROWS
        keys = one_array(plain["key"])
        if keys.null_count:
            raise UserError(f"{origin}: expected a key in every row, found null")
        self._row_R = pc.sort_indices(keys).to_numpy()
        self.keys = keys.take(pa.array(self._row_R))
        if len(self.keys) > 1 and pc.any(repeats := pc.equal(self.keys[1:], self.keys[:-1])).as_py():
            again = self.keys[repeats.index(True).as_py()].as_py()
            raise UserError(f"{origin}: expected each key once in a split, found {again} again")
        label_R, height_R, width_R = (
            np.asarray(one_array(plain[name]).fill_null(-1))[self._row_R] for name in ("label", "height", "width")
        )
        self.label_R, self.height_R, self.width_R = label_R, height_R, width_R
        self.valid_R = np.concatenate(valid)[self._row_R] if valid else np.zeros(0, dtype=bool)
        texts = one_array(plain["error"]).take(pa.array(self._row_R))
        self.errors = {row: texts[row].as_py() for row in np.flatnonzero(np.asarray(texts.is_valid())).tolist()}
        shape = (len(self.keys), num_bytes)
        self._stored = np.memmap(spool, np.uint8, "r", shape=shape) if len(keys) else np.zeros(shape, np.uint8)

    def __len__(self) -> int:
        return len(self.keys)

    def stored(self, rows: np.ndarray | slice) -> np.ndarray:
        """The tickets of some rows as they are stored, uint8 (rows, B)."""
        return self._stored[self._row_R[rows]]

    def ranks(self, rows: np.ndarray | slice, num_patches: int) -> np.ndarray:
        """Ranks of some rows, `rank_dtype` (rows, N)."""
        return self.stored(rows).view(_stored_dtype(num_patches))


_NO_ROWS = pa.table(
    {"key": pa.array([], pa.string()), "error": pa.array([], pa.string())}
    | {name: pa.array([], pa.int32()) for name in ("label", "height", "width")}
)


def _stored_dtype(num_patches: int) -> np.dtype:
    return np.dtype(rank_dtype(num_patches)).newbyteorder("<")


def stored_ranks(rank_RN: np.ndarray) -> np.ndarray:
    """Ranks as bytes, uint8 (R, B)."""
    return np.ascontiguousarray(rank_RN, dtype=_stored_dtype(rank_RN.shape[1])).view(np.uint8)


def rank_bytes(num_patches: int) -> int:
    """Bytes of a stored rank: N, or 2 N beyond 256 patches."""
    return num_patches * _stored_dtype(num_patches).itemsize


def check_fixed_view(manifest: Manifest, split: str) -> None:
    """Raise UserError for view crops:V, whose rows hold a mask per crop and no rank of the image."""
    if manifest.view(split).num_views:
        raise UserError(f"expected tickets of a fixed view, found {manifest.view(split).kind} in {manifest.root}")


def read_keyed(manifest: Manifest, split: str) -> KeyedRows:
    """The rows of a manifest's split, ranks as they are stored; raises UserError where they cannot be read."""
    check_fixed_view(manifest, split)
    N = manifest.num_patches_of(split)

    def parts() -> Iterable[Part]:
        for path, table in manifest.read_files(split, list(COLUMNS)):
            rank_RN, valid_R = list_matrix(table["rank"], N, path)
            yield Part(table, stored_ranks(rank_RN), valid_R)

    return KeyedRows(parts(), rank_bytes(N), f"{manifest.root}: {split}")


OTHER_LABELS = 0.01  # share of images with another label from which keys cannot name the same images
