"""Rows of view crops:V as arrays, against the lists that they are made of."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import write_crops
from vit_tickets.pipeline.geometry.crops import Crop
from vit_tickets.pipeline.manifests.columns import unpack_masks
from vit_tickets.pipeline.manifests.crop_rows import read_crop_rows
from vit_tickets.pipeline.system.errors import UserError


@pytest.fixture
def table(tmp_path) -> pa.Table:
    """One image of three crops, and one error."""
    return pq.read_table(write_crops(str(tmp_path / "m")) + "/train/000000.parquet")


def test_arrays_are_the_lists(table):
    doubled = pa.concat_tables([table.slice(1), table])  # chunks, the error first
    rows = read_crop_rows(doubled, 3, 36, "x")
    assert rows.valid_R.tolist() == [False, True, False]
    (stored,) = table.slice(0, 1).to_pylist()
    assert rows.box_RV4.dtype == np.int32
    assert rows.box_RV4[1].tolist() == stored["box"]
    assert rows.flip_RV[1].tolist() == stored["flip"]
    assert [packed.tobytes() for packed in rows.mask_RVB[1]] == stored["lt"]
    assert not rows.box_RV4[[0, 2]].any()
    assert rows.crop(1, 1) == Crop((0.0, 0.0, 40.0, 20.0), flip=True)
    assert np.array_equal(rows.masks(1), unpack_masks(stored["lt"], 36))
    for view in range(3):
        assert rows.ticket(1, view).tolist() == np.flatnonzero(rows.masks(1)[view]).tolist()
    assert rows.ticket(0, 0).size == 0


def test_rows_of_errors_alone_and_no_rows(table):
    assert not read_crop_rows(table.slice(1), 3, 36, "x").valid_R.any()
    assert read_crop_rows(table.slice(0, 0), 3, 36, "x").box_RV4.shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("box", None, "box: expected lists of 3, found one of 0"),
        ("box", [[0, 0, 1, 1]], "box: expected lists of 3, found one of 1"),
        ("box", [[0, 0, 1]] * 3, "box: expected 4 each, found 3"),
        ("box", [[0, 0, 1, None]] * 3, "expected no null inside a list"),
        ("flip", [None, True, True], "expected no null inside a list"),
        ("lt", [b"12345", b"12345", b"1234"], "lt: expected 5 each, found 4"),
        ("lt", [b"12345", b"12345", None], "lt: expected 5 each, found 0"),
    ],
)
def test_other_lists_are_told(table, column, value, message):
    place = table.column_names.index(column)
    wrong = table.set_column(place, column, pa.array([value, None], table.schema.field(column).type))
    with pytest.raises(UserError, match=f"x: {message}"):
        read_crop_rows(wrong, 3, 36, "x")


def test_a_table_of_another_view_is_told(table):
    with pytest.raises(UserError, match="x: expected a column flip, found key, label"):
        read_crop_rows(table.drop_columns(["flip"]), 3, 36, "x")
