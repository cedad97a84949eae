"""Columns declared once: the schema, the writer, the checks on reading, `verify` and the tests of the documentation
take them from the fields of a row's dataclass.

A *layout* is what the columns of a file depend on: `rows.Layout` of a manifest, `index.LabelRecord` of label maps.
Legend: R rows of a file.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.manifests.columns import check_types, list_matrix
from vit_tickets.pipeline.manifests.tables import write_table
from vit_tickets.pipeline.system.errors import UserError

HALVES = pa.list_(pa.float16())


@dataclass(frozen=True)
class Check:
    """A condition on the values of one column."""

    #: layout -> what a message says is expected
    expected: Callable[[Any], str]
    #: values (R,) or (R, length) and layout -> which rows are as expected, bool (R,)
    fits: Callable[[np.ndarray, Any], Any]
    #: value of a row that is not, and layout -> what a message says was found
    found: Callable[[Any, Any], Any] = lambda value, layout: value


@dataclass(frozen=True)
class Column:
    """A column of a kind of file: annotates the attribute of the row that holds its value."""

    #: Arrow type, or layout -> Arrow type
    type: pa.DataType | Callable[[Any], pa.DataType]
    #: meaning, as manifests/README.md gives it
    doc: str
    #: name in the file; by default the attribute's
    name: str = ""
    #: layout -> whether a file has the column; None: every file
    only: Callable[[Any], bool] | None = None
    #: layout -> length of each list; None for other values and for lists of lists
    length: Callable[[Any], int] | None = None
    #: whether rows with an error may have a value
    with_error: bool = False
    #: checks whenever the file is read
    on_read: Sequence[Check] = ()
    #: checks of `verify`
    in_full: Sequence[Check] = ()
    #: attribute of the row
    attribute: str = ""

    def type_in(self, layout: Any) -> pa.DataType:
        """Arrow type in a file of `layout`."""
        return self.type(layout) if callable(self.type) else self.type


@cache
def columns_of(row: type) -> tuple[Column, ...]:
    """The columns that the dataclass `row` declares, in the order of the file."""
    hints = get_type_hints(row, include_extras=True)
    declared = [(name, hint.__metadata__[0]) for name, hint in hints.items() if get_origin(hint) is Annotated]
    return tuple(replace(column, name=column.name or name, attribute=name) for name, column in declared)


def schema(row: type, layout: Any) -> pa.Schema:
    """The columns of a file of `row`s."""
    present = [column for column in columns_of(row) if column.only is None or column.only(layout)]
    return pa.schema([(column.name, column.type_in(layout)) for column in present])


def write(path: str, rows: Sequence[Any], row: type, layout: Any, metadata: dict[str, Any]) -> None:
    """Write a file of `row`s; equal rows and metadata give equal bytes. Raises UserError for what float16 lacks."""
    columns = schema(row, layout)
    values = {
        column.name: [_stored(one, column, column.type_in(layout)) for one in rows]
        for column in columns_of(row)
        if column.name in columns.names
    }
    write_table(path, values, columns, metadata)


def _stored(one: Any, column: Column, kind: pa.DataType) -> Any:
    """The value of `column` in the row `one` as Arrow takes it: arrays flat, and in float16 where the column is."""
    value = getattr(one, column.attribute)
    if not isinstance(value, np.ndarray):
        return value
    if kind != HALVES:
        return value.ravel()
    with np.errstate(over="ignore"):
        half = value.ravel().astype(np.float16)
    if not np.isfinite(half).all():
        odd = value.ravel()[~np.isfinite(half)][0]
        raise UserError(f"{one.key}: {column.name}: expected finite numbers within float16, found {odd}")
    return half


def null_faults(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows without an error where column `name` is null, and rows with an error where it is not; bool (R,) each."""
    failed_R, null_R = np.asarray(table["error"].is_valid()), np.asarray(table[name].is_null())
    return null_R & ~failed_R, ~null_R & failed_R


def check_table(table: pa.Table, row: type, layout: Any, path: str, needed: Iterable[str] | None = None) -> None:
    """Raise UserError for the first fault in a file's rows; `verify` reports all faults.

    Args:
        table: its columns `key`, `error` and others.
        row: dataclass that declares the columns.
        path: of the file, for messages.
        needed: columns that must be there; by default all that a file of `layout` has.
    """
    declared = columns_of(row)
    for name in schema(row, layout).names if needed is None else needed:
        if name not in table.column_names:
            raise UserError(f"{path}: expected a column {name}, found {', '.join(table.column_names)}")
    types = pa.schema([(column.name, column.type_in(layout)) for column in declared])
    check_types(table, types, path)
    if table["key"].null_count:
        raise UserError(f"{path}: expected a key in every row, found {table['key'].null_count} without")
    present = [column for column in declared if column.name in table.column_names]
    for column in present:
        if pa.types.is_list(column.type_in(layout)):
            _check_nulls(table, column.name, path)
    for column in present:
        if column.on_read and column.length is not None:
            _check_lists(table, column, column.length(layout), layout, path)


def _check_nulls(table: pa.Table, name: str, path: str) -> None:
    missing_R, surplus_R = null_faults(table, name)
    odd = np.flatnonzero(missing_R | surplus_R)
    if odd.size:
        found = "neither" if missing_R[odd[0]] else "both"
        raise UserError(f"{path}: {_row(table, odd[0])}: expected either {name} or an error, found {found}")


def _check_lists(table: pa.Table, column: Column, length: int, layout: Any, path: str) -> None:
    values, valid_R = list_matrix(table[column.name], length, path)
    for check in column.on_read:
        odd = np.flatnonzero(valid_R & ~check.fits(values, layout))
        if odd.size:
            expected, found = check.expected(layout), check.found(values[odd[0]], layout)
            raise UserError(f"{path}: {_row(table, odd[0])}: {column.name}: expected {expected}, found {found}")


def _row(table: pa.Table, row: int) -> str:
    return f"row {row} ({table['key'][int(row)].as_py()})"
