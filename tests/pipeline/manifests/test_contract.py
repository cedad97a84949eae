"""The columns as they are declared: against the tables of manifests/README.md, and what a declaration checks."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vit_tickets.pipeline.manifests import rows as declared
from vit_tickets.pipeline.manifests.contract import check_table, columns_of, schema
from vit_tickets.pipeline.manifests.labels import LabelRow
from vit_tickets.pipeline.manifests.rows import CropRow, Layout, Row
from vit_tickets.pipeline.system.errors import UserError

README = (Path(__file__).parents[3] / "manifests" / "README.md").read_text()
NARROW, WIDE = Layout(256, 128, True), Layout(257, 128, True)


def documented(heading: str, number: int = 0) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column in a table of the section `heading`."""
    section = re.split(r"^## ", README, flags=re.M)
    text = next(part for part in section if part.startswith(heading))
    table = text.split("| column | type | meaning |\n| --- | --- | --- |\n")[1 + number].split("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.strip().splitlines()]
    return [(name, kind, meaning) for names, kind, meaning in cells for name in re.findall("`(.*?)`", names)]


WORDS = {"item: ": "", "halffloat": "float16", "float": "float32"}


def in_words(narrow: pa.DataType, wide: pa.DataType) -> str:
    text = re.sub("item: |halffloat|float", lambda found: WORDS[found[0]], str(narrow))
    return text if narrow == wide else f"{text} (uint16 if N > 256)"


@pytest.mark.parametrize(
    ("row", "heading", "number"), [(Row, "Columns", 0), (CropRow, "Columns", 1), (LabelRow, "Label maps", 0)]
)
def test_the_readmes_tables_are_the_declarations(row, heading, number):
    told = [(one.name, in_words(one.type_in(NARROW), one.type_in(WIDE)), one.doc) for one in columns_of(row)]
    shared = ("key", "label", "height", "width", "error") if row is CropRow else ()
    assert documented(heading, number) == [one for one in told if one[0] not in shared]
    assert [one for one in columns_of(row) if one.name in shared] == [
        one for one in columns_of(Row) if one.name in shared
    ]


def test_optional_columns_come_where_they_are_asked_for():
    plain = schema(Row, replace(NARROW, predictions=False)).names
    assert {"prediction", "confidence"} <= {*schema(Row, NARROW).names} - {*plain}
    crops = Layout.of(36, 18, declared.View("crops:2", 24), predictions=True, crop_ranks=True)
    assert schema(crops.row, crops).names == ["key", "label", "height", "width", "box", "flip", "lt", "rank", "error"]
    assert "rank" not in schema(crops.row, replace(crops, crop_ranks=False)).names


def test_patch_indices_widen_beyond_256_patches():
    assert [schema(Row, at).field("rank").type for at in (NARROW, WIDE)] == [
        pa.list_(pa.uint8()),
        pa.list_(pa.uint16()),
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rank", [0, 1, 1, 3], "rank: expected a permutation of 0..3, found 1 twice"),
        ("rank", [0, 1, 2], "expected lists of 4, found one of 3"),
        ("lt", [2, 1], "lt: expected 2 patches, ascending, in 0..3, found others"),
        ("rc", [1, 4], "rc: expected 2 patches, ascending, in 0..3, found others"),
        ("score", None, "expected either score or an error, found neither"),
        ("error", "broken", "expected either rank or an error, found both"),
        ("key", None, "expected a key in every row, found 1 without"),
        ("label", -1, None),
    ],
)
def test_what_is_wrong_is_named_on_reading(name, value, message):
    layout = Layout(4, 2)
    sound = {"key": "a", "label": 0, "height": 1, "width": 1, "rank": [0, 1, 2, 3], "lt": [0, 1], "rc": [1, 2]}
    sound |= {"score": np.zeros(4, np.float16), "error": None}
    spoilt = sound | {name: value}
    fields = schema(Row, layout)
    table = pa.table([pa.array([sound[f.name], spoilt[f.name]], f.type) for f in fields], schema=fields)
    if message is None:
        check_table(table, Row, layout, "here")
        return
    with pytest.raises(UserError, match=f"^here: .*{re.escape(message)}"):
        check_table(table, Row, layout, "here")
