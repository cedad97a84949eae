"""The rows of a file of view crops:V as arrays, for training on them: boxes, flips, masks.

Legend: R rows of a file, V crops of an image, N patches of a crop, k of them kept.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.geometry.crops import Crop
from vit_tickets.pipeline.manifests.columns import one_array, unpack_masks
from vit_tickets.pipeline.system.errors import UserError


@dataclass(frozen=True)
class CropRows:
    """Arrays over the rows of one file; zeros where a row has an error."""

    num_patches: int  #: N
    box_RV4: np.ndarray  #: int32, pixels after EXIF orientation, half-open
    flip_RV: np.ndarray  #: bool
    mask_RVB: np.ndarray  #: uint8, `lt` as it is packed
    valid_R: np.ndarray  #: bool, rows without an error

    def crop(self, row: int, view: int) -> Crop:
        """What crop `view` of a row shows; `Crop.render` gives the pixels that its ticket was computed on."""
        x0, y0, x1, y1 = map(float, self.box_RV4[row, view])
        return Crop((x0, y0, x1, y1), bool(self.flip_RV[row, view]))

    def one(self, row: int) -> "CropRows":
        """Row `row` alone, copied."""
        part = slice(row, row + 1)
        return CropRows(
            self.num_patches,
            self.box_RV4[part].copy(),
            self.flip_RV[part].copy(),
            self.mask_RVB[part].copy(),
            self.valid_R[part].copy(),
        )

    def ticket(self, row: int, view: int) -> np.ndarray:
        """The patches in the ticket of that crop, ascending, int64 (k,); none where the row has an error."""
        packed = self.mask_RVB[row, view]
        return np.flatnonzero(np.unpackbits(packed, count=self.num_patches, bitorder="little"))

    def masks(self, row: int) -> np.ndarray:
        """Which patches are in the tickets of all crops of a row, bool (V, N)."""
        return unpack_masks([packed.tobytes() for packed in self.mask_RVB[row]], self.num_patches)


def read_crop_rows(table: pa.Table, num_views: int, num_patches: int, path: str) -> CropRows:
    """The rows of `table` (columns `box`, `flip`, `lt`); `path` is where it is from.

    Raises UserError where a column is missing, its lists are not of V boxes, flips and masks of N bits, a box is empty,
    or masks keep different numbers of patches.
    """
    missing = [name for name in ("box", "flip", "lt") if name not in table.column_names]
    if missing:
        raise UserError(f"{path}: expected a column {missing[0]}, found {', '.join(table.column_names)}")
    columns = {name: one_array(table[name]) for name in ("box", "flip", "lt")}
    valid_R = np.asarray(columns["lt"].is_valid())
    for name, lists in columns.items():
        lengths = np.asarray(lists.value_lengths().fill_null(0))
        wrong = lengths[lengths != num_views * valid_R]
        if len(wrong):
            raise UserError(f"{path}: {name}: expected lists of {num_views}, found one of {wrong[0]}")
    boxes, flips, masks = (columns[name].flatten() for name in ("box", "flip", "lt"))
    size = -(-num_patches // 8)
    for name, values, expected in (("box", boxes.value_lengths(), 4), ("lt", pc.binary_length(masks), size)):
        lengths = np.asarray(values.fill_null(0))
        if (lengths != expected).any():
            raise UserError(f"{path}: {name}: expected {expected} each, found {lengths[lengths != expected][0]}")
    if boxes.flatten().null_count or flips.null_count:
        raise UserError(f"{path}: expected no null inside a list, found one")
    R, V = len(valid_R), num_views
    rows = CropRows(
        num_patches,
        np.zeros((R, V, 4), dtype=np.int32),
        np.zeros((R, V), dtype=bool),
        np.zeros((R, V, size), dtype=np.uint8),
        valid_R,
    )
    rows.box_RV4[valid_R] = np.asarray(boxes.flatten()).reshape(-1, V, 4)
    rows.flip_RV[valid_R] = flips.to_numpy(zero_copy_only=False).reshape(-1, V)
    rows.mask_RVB[valid_R] = np.frombuffer(b"".join(masks.to_pylist()), dtype=np.uint8).reshape(-1, V, size)
    x0, y0, x1, y1 = np.moveaxis(rows.box_RV4[valid_R], -1, 0)
    if ((x0 < 0) | (y0 < 0) | (x0 >= x1) | (y0 >= y1)).any():
        raise UserError(f"{path}: box: expected 0 <= x0 < x1 and 0 <= y0 < y1, found another box")
    kept = np.unique(np.bitwise_count(rows.mask_RVB[valid_R]).sum(axis=-1))
    beyond = (rows.mask_RVB[..., -1] >> (num_patches % 8)).any() if num_patches % 8 else False
    if beyond or len(kept) > 1 or 0 in kept:
        raise UserError(f"{path}: lt: expected masks that keep equally many of {num_patches} patches, found others")
    return rows
