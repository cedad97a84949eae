"""How findings about a file of rows are reported, the first of each kind and how many more there are, and the checks
that all kinds of rows share.

Legend: R rows of a file.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.contract import Check, Column, null_faults

UNCHECKED = ("key", "error")
Checked = tuple[np.ndarray, np.ndarray]


class Tally:
    """Findings of one file: the first of each kind, and how many more there are."""

    def __init__(self, where: str):
        self.where = where
        self._first: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def add(self, kind: str, text: str, times: int = 1) -> None:
        self._first.setdefault(kind, f"{self.where}{text}")
        self._count[kind] = self._count.get(kind, 0) + times

    def lines(self) -> Iterator[str]:
        for kind, text in self._first.items():
            more = self._count[kind] - 1
            yield " ".join(text.split()) + (f" (and {more} more like it)" if more else "")


class Rows:
    """A file's rows, and how findings about them are reported."""

    def __init__(self, tally: Tally, table: pa.Table):
        self.keys: list[str | None] = table["key"].to_pylist()
        self._tally = tally

    def report(self, column: str, bad_R: np.ndarray, expected: str, found: Callable[[int], Any]) -> None:
        rows = np.flatnonzero(bad_R)
        if len(rows):
            row = int(rows[0])
            text = f"row {row} ({self.keys[row]}): {column}: expected {expected}, found {found(row)}"
            self._tally.add(f"{column}: {expected}", text, len(rows))

    def matrix(self, column: pa.ChunkedArray, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A list column as (R, `length`) and which rows hold a sound list, bool (R,); the others are reported."""
        lists = column.combine_chunks()
        lengths_R = np.asarray(lists.value_lengths().fill_null(length))
        self.report(name, lengths_R != length, f"a list of {length}", lambda row: f"one of {lengths_R[row]}")
        gaps_R = np.zeros(len(lists), dtype=bool)
        if lists.flatten().null_count:
            gaps_R = np.array([None in (values or ()) for values in lists.to_pylist()])
            self.report(name, gaps_R, "no null inside a list", lambda row: "one")
        sound_R = (lengths_R == length) & ~gaps_R
        if not sound_R.all():
            lists = pc.if_else(pa.array(sound_R), lists, pa.scalar(None, lists.type))
        return list_matrix(pa.chunked_array([lists]), length, name)


def check_keys(rows: Rows, table: pa.Table, keys: set[str | None]) -> None:
    """Check that every row has a key that no other row has; `keys` are the split's so far, and grow."""
    rows.report("key", np.asarray(table["key"].is_null()), "a key", lambda row: "null")
    rows.report("key", _repeated(rows.keys, keys), "a key once in the split", lambda row: "it a second time")


def _repeated(row_keys: Iterable[str | None], keys: set[str | None]) -> np.ndarray:
    """Which rows have a key that is in `keys` or in an earlier row; adds them all to `keys`."""
    repeated = []
    for key in row_keys:
        repeated.append(key is not None and key in keys)
        keys.add(key)
    return np.array(repeated, dtype=bool)


def check_columns(rows: Rows, table: pa.Table, layout: Any, declared: Iterable[Column]) -> dict[str, Checked]:
    """Check the nulls and values of all columns but `key` and `error`.

    Args:
        declared: the columns of the file; lists of lists are checked for null rows alone.

    Returns:
        Of every column of plain lists its values, (R, length), and which rows are as expected, bool (R,).
    """
    present = [column for column in declared if column.name in table.column_names and column.name not in UNCHECKED]
    for column in present:
        missing_R, surplus_R = null_faults(table, column.name)
        rows.report(column.name, missing_R, "a value where there is no error", lambda row: "null")
        if not column.with_error:
            rows.report(column.name, surplus_R, "null where there is an error", lambda row: "a value")
    checked = {}
    for column in present:
        values = table[column.name]
        if column.length:
            value_RL, sound_R = rows.matrix(values, column.name, column.length(layout))
        elif column.in_full:
            value_RL, sound_R = np.asarray(values.fill_null(0)), np.asarray(values.is_valid())
        else:
            continue
        for check in column.in_full:
            fits_R = check.fits(value_RL, layout)
            found = partial(_found, check, value_RL, layout)
            rows.report(column.name, sound_R & ~fits_R, check.expected(layout), found)
            sound_R = sound_R & fits_R
        checked[column.name] = value_RL, sound_R
    return checked


def _found(check: Check, values: np.ndarray, layout: Any, row: int) -> Any:
    return check.found(values[row], layout)
