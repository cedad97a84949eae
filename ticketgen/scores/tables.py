"""Scores in one file: boxes as CSV, maps as Parquet or as an archive of NumPy arrays."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.parquet_files import open_parquet
from vit_tickets.ticketgen.scores.reading import Boxes, UnusableScores

CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))
SIZED = ("x", "y", "w", "h")
OF_IMAGE = ("image_height", "image_width")
KAGGLE = ("ImageId", "PredictionString")  # ImageNet's boxes: class x0 y0 x1 y1, again and again
COLUMNS = "key,x0,y0,x1,y1 (or key,x,y,w,h)"
PREFERRED = ("scores", "score", "map")


def read_boxes(path: str) -> dict[str, Boxes]:
    """The boxes of each key in the CSV file at `path`, whose header names the columns.

    Corners are x0,y0,x1,y1 or xmin,ymin,xmax,ymax; x,y,w,h are a corner and a size. All are in pixels of the upright
    image, or of one of `image_height` and `image_width`, where there are such columns. Other columns are not read.
    Raises UserError for another header, and for a line that is not of numbers.
    """
    with files.open_read(path) as stream:
        try:
            lines = list(csv.reader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path}: expected a CSV file in UTF-8: {error}") from None
    header = [name.strip() for name in lines[0]] if lines else []
    if tuple(header) == KAGGLE:
        return _grouped((line[0], _fives(path, number, line[1]), None) for number, line in _numbered(path, lines, 2))
    names = _columns(path, header)
    places = [header.index(name) for name in ("key", *names)]
    of_image = [header.index(name) for name in OF_IMAGE] if set(OF_IMAGE) <= set(header) else []

    def rows() -> Iterable[tuple[str, list[list[float]], tuple[int, int] | None]]:
        for number, line in _numbered(path, lines, len(header)):
            a, b, c, d = (
                _number(path, number, name, line[place]) for name, place in zip(names, places[1:], strict=True)
            )
            box = [a, b, a + c, b + d] if names == SIZED else [a, b, c, d]
            sides = [int(_number(path, number, name, line[at])) for name, at in zip(OF_IMAGE, of_image, strict=False)]
            yield line[places[0]].strip(), [box], (sides[0], sides[1]) if sides else None

    return _grouped(rows())


def _columns(path: str, header: list[str]) -> tuple[str, ...]:
    """The four columns of a box in `header`."""
    if len(set(header)) < len(header):
        raise UserError(f"{path}: expected columns of different names, found {','.join(header)}")
    found = [names for names in (*CORNERS, SIZED) if set(names) <= set(header)]
    if "key" not in header or len(found) != 1:
        raise UserError(f"{path}: expected a header with {COLUMNS}, found {','.join(header)[:100] or 'none'}")
    return found[0]


def _numbered(path: str, lines: list[list[str]], columns: int) -> Iterable[tuple[int, list[str]]]:
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != columns:
            raise UserError(f"{path}: line {number}: expected {columns} values, found {len(line)}")
        yield number, line


def _number(path: str, line: int, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: line {line}: expected a number as {name}, found {text[:40]!r}") from None


def _fives(path: str, line: int, text: str) -> list[list[float]]:
    words = text.split()
    if len(words) % 5:
        raise UserError(f"{path}: line {line}: expected a class and four numbers for each box, found {text[:60]!r}")
    values = [_number(path, line, KAGGLE[1], word) for place, word in enumerate(words) if place % 5]
    return [values[start : start + 4] for start in range(0, len(values), 4)]


def _grouped(rows: Iterable[tuple[str, list[list[float]], tuple[int, int] | None]]) -> dict[str, Boxes]:
    boxes: dict[str, list[list[float]]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for key, of_row, size in rows:
        boxes.setdefault(key, []).extend(of_row)
        if sizes.setdefault(key, size) != size:
            raise UserError(f"{key}: expected one size of its image, found {sizes[key]} and {size}")
    return {key: Boxes(np.array(found, dtype=np.float64).reshape(-1, 4), sizes[key]) for key, found in boxes.items()}


class MapTable:
    """Maps in Parquet files with a column `key` and one of lists: N values of a square grid, or H lists of W values."""

    def __init__(self, paths: Sequence[str]):
        """Read the files into memory. Raises UserError for other columns, and for a key that is there twice."""
        tables = [self._read(path) for path in paths]
        if any(table.schema != tables[0].schema for table in tables):
            raise UserError(f"expected Parquet files with equal columns, found others in {paths[-1]}")
        table = pa.concat_tables(tables)
        keys = table["key"].to_pylist()
        self._maps, self.rows = table.column(1), {key: row for row, key in enumerate(keys)}
        if None in self.rows or len(self.rows) < len(keys):
            twice = next((key for row, key in enumerate(keys) if self.rows[key] != row), None)
            raise UserError(f"{paths[0]}: expected each key once, found {twice!r} {'twice' if twice else 'as a key'}")

    @staticmethod
    def _read(path: str) -> pa.Table:
        with open_parquet(path) as opened:
            schema = opened.schema_arrow
            lists = [field.name for field in schema if _is_list(field.type)]
            chosen = next((name for name in PREFERRED if name in lists), lists[0] if len(lists) == 1 else None)
            if "key" not in schema.names or chosen is None:
                raise UserError(
                    f"{path}: expected a column key and a column of lists (several: one called scores), found "
                    f"{', '.join(schema.names)}"
                )
            if not pa.types.is_string(schema.field("key").type) and not pa.types.is_large_string(
                schema.field("key").type
            ):
                raise UserError(f"{path}: key: expected text, found {schema.field('key').type}")
            return opened.read(["key", chosen], use_threads=False).select(["key", chosen])

    def read(self, key: str) -> np.ndarray:
        """The values of `key`, (N,) or (H, W). Raises UnusableScores."""
        scalar = self._maps[self.rows[key]]
        if not scalar.is_valid:
            raise UnusableScores("expected a list, found null")
        values, shape = scalar.values, ()
        while _is_list(values.type):
            lengths = (
                set(values.value_lengths().to_pylist()) if hasattr(values, "value_lengths") else {values.type.list_size}
            )
            if len(lengths) != 1 or None in lengths:
                raise UnusableScores(f"expected a map with rows of one length, found {len(lengths)} lengths")
            shape, values = (*shape, len(values)), values.flatten()
        if values.null_count:
            raise UnusableScores("expected finite scores, found null")
        try:
            flat = values.to_numpy(zero_copy_only=False)
        except pa.ArrowException as error:
            raise UnusableScores(f"expected numbers: {error}") from None
        return flat.reshape(*shape, -1) if shape else flat


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


class ArrayArchive:
    """Arrays by name in an .npz file."""

    def __init__(self, path: str):
        """Raises UserError for another file."""
        try:
            with files.open_read(path) as stream:
                data: Any = np.load(io.BytesIO(stream.read()), allow_pickle=False)
            self.names = list(data.files)
        except UserError:
            raise
        except Exception as error:  # NumPy and zipfile raise many kinds
            raise UserError(f"{path}: expected an archive of NumPy arrays (.npz): {type(error).__name__}") from None
        self._data = data

    def read(self, name: str) -> np.ndarray:
        """The array of that name. Raises UnusableScores."""
        try:
            return self._data[name]
        except Exception as error:
            raise UnusableScores(f"expected a .npy array: {type(error).__name__}") from None
