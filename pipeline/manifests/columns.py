"""Columns of lists as arrays, for readers of tickets and label maps."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.system.errors import UserError


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; an empty one of the column's type if it has no chunks."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow returns one for empty columns
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    return array


def type_fault(expected: pa.Schema, found: pa.Schema) -> str | None:
    """The first column of `found` that has another type in `expected`; None if there is none."""
    for name in found.names:
        place = expected.get_field_index(name)
        if place >= 0 and not found.field(name).type.equals(kind := expected.field(place).type):
            return f"{name}: expected type {kind}, found {found.field(name).type}"
    return None


def check_types(table: pa.Table, expected: pa.Schema, path: str) -> None:
    """Raise UserError if a column that `expected` names has another type."""
    if fault := type_fault(expected, table.schema):
        raise UserError(f"{path}: {fault}")


def list_matrix(column: pa.ChunkedArray, length: int, path: str) -> tuple[np.ndarray, np.ndarray]:
    """A list column as (rows, `length`) array, zeros where null, and which rows are not null, bool (rows,).

    Raises:
        UserError: a list has another length, or holds a null.
    """
    lists = one_array(column)
    valid = np.asarray(lists.is_valid())
    values = np.asarray(lists.flatten())
    lengths = np.asarray(lists.value_lengths().fill_null(length))
    if (lengths != length).any():
        raise UserError(f"{path}: expected lists of {length}, found one of {lengths[lengths != length][0]}")
    if lists.flatten().null_count:
        raise UserError(f"{path}: expected no null inside a list, found one")
    matrix = np.zeros((len(lists), length), dtype=values.dtype)
    matrix[valid] = values.reshape(-1, length)
    return matrix, valid


def unpack_masks(masks: Sequence[bytes], num_patches: int) -> np.ndarray:
    """The masks of one row of view crops:V (column `lt`) as bool (V, `num_patches`): which patches are in the ticket.

    Raises:
        UserError: a mask does not have ceil(`num_patches` / 8) bytes.
    """
    size = -(-num_patches // 8)
    for mask in masks:
        if len(mask) != size:
            raise UserError(f"expected masks of {size} bytes for {num_patches} patches, found one of {len(mask)}")
    packed = np.frombuffer(b"".join(masks), dtype=np.uint8).reshape(len(masks), size)
    return np.unpackbits(packed, axis=1, count=num_patches, bitorder="little").astype(bool)
