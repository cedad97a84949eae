"""Columns of lists as arrays, for whoever reads a file of tickets or label maps."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.system.errors import UserError


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, of which there is one of its type even where it is empty."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # pyarrow returns one for empty columns
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    return array


def check_types(table: pa.Table, expected: pa.Schema, path: str, needed: Iterable[str] = ()) -> None:
    """Raise UserError where a column is missing that is `needed`, or one that `expected` names has another type."""
    if missing := [name for name in needed if name not in table.column_names]:
        raise UserError(f"{path}: expected a column {missing[0]}, found {', '.join(table.column_names)}")
    for field in table.schema:
        place = expected.get_field_index(field.name)
        if place >= 0 and not field.type.equals(kind := expected.field(place).type):
            raise UserError(f"{path}: {field.name}: expected type {kind}, found {field.type}")


def check_present(table: pa.Table, names: tuple[str, ...], path: str) -> None:
    """Raise UserError for a row without a key, and where one of the columns `names` that `table` has is null without an
    `error`, or not null with one."""
    if table["key"].null_count:
        raise UserError(f"{path}: expected a key in every row, found {table['key'].null_count} without")
    failed = table["error"].is_valid()
    for name in names:
        if name not in table.column_names:
            continue
        odd = np.flatnonzero(np.asarray(pc.equal(table[name].is_valid(), failed)))
        if odd.size:
            both = "both" if table["error"][int(odd[0])].is_valid else "neither"
            key = table["key"][int(odd[0])].as_py()
            raise UserError(f"{path}: row {odd[0]} ({key}): expected either {name} or an error, found {both}")


def check_patches(table: pa.Table, num_patches: int, kept: int, path: str) -> None:
    """Raise UserError unless every `rank` is a permutation of 0..N-1, N = `num_patches`, and `lt` and `rc` are `kept`
    patches, ascending."""
    for name, length in (("rank", num_patches), ("lt", kept), ("rc", kept)):
        if name not in table.column_names:
            continue
        rows, valid = list_matrix(table[name], length, path)
        rows = rows[valid].astype(np.int32)
        if name == "rank":
            fits, expected = (np.sort(rows, axis=1) == np.arange(num_patches)).all(axis=1), "a permutation of"
        else:
            fits = (np.diff(rows, axis=1) > 0).all(axis=1) & (rows[:, -1] < num_patches)
            expected = f"{kept} patches, ascending, in"
        if not fits.all():
            row = np.flatnonzero(valid)[np.flatnonzero(~fits)[0]]
            key = table["key"][int(row)].as_py()
            raise UserError(
                f"{path}: row {row} ({key}): {name}: expected {expected} 0..{num_patches - 1}, found others"
            )


def list_matrix(column: pa.ChunkedArray, length: int, path: str) -> tuple[np.ndarray, np.ndarray]:
    """A list column as (rows, `length`) array, zeros where null, and which rows are not null, bool (rows,).

    Raises UserError where a list has another length, or a null in it.
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

    Raises UserError where a mask is not of ceil(`num_patches` / 8) bytes.
    """
    size = -(-num_patches // 8)
    for mask in masks:
        if len(mask) != size:
            raise UserError(f"expected masks of {size} bytes for {num_patches} patches, found one of {len(mask)}")
    packed = np.frombuffer(b"".join(masks), dtype=np.uint8).reshape(len(masks), size)
    return np.unpackbits(packed, axis=1, count=num_patches, bitorder="little").astype(bool)
