import math

import msgspec
import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import (
    LONGEST,
    Count,
    Finite,
    Name,
    Positive,
    fields_fault,
    is_count,
    is_number,
    required,
    shown,
    typed,
)


class Split(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    shards: Positive
    share: Finite = 0.5
    errors: Count | None = None
    counts: list[int] = []


def test_a_record_becomes_an_object_with_its_defaults():
    assert typed({"name": "val", "shards": 3, "share": 1}, Split) == Split("val", 3, 1.0)
    assert required(Split) == ["name", "shards"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"name": 7}, "name: expected a name, found 7"),
        ({"shards": 0}, "shards: expected a count, found 0"),
        ({"shards": True}, "shards: expected a count, found True"),
        ({"share": math.inf}, "share: expected a number, found inf"),
        ({"errors": "none"}, "errors: expected a count, found 'none'"),
        ({"counts": {}}, "counts: expected a list, found {}"),
        ({"magic": 1}, "expected no entry magic, found one"),
        ({"name": ["x" * 200]}, "name: expected a name, found ['" + "x" * (LONGEST - 2)),
    ],
)
def test_the_first_fault_is_named(changed, fault):
    with pytest.raises(UserError) as raised:
        typed({"name": "val", "shards": 3} | changed, Split)
    assert str(raised.value) == fault


def test_a_missing_entry_and_no_object():
    with pytest.raises(UserError, match="expected an entry shards, found none"):
        typed({"name": "val"}, Split)
    with pytest.raises(UserError, match=r"expected an object, found \[1\]"):
        typed([1], Split)


def test_counts_and_numbers_are_no_booleans():
    assert [is_count(value) for value in (0, 3, -1, 1.0, True, "1", None)] == [True, True, *[False] * 5]
    assert [is_number(value) for value in (0, -1.5, True, math.nan, math.inf, "1")] == [True, True, *[False] * 4]


def test_fields_of_other_kinds():
    kinds = {"epochs": int, "lr": float, "ema": bool}
    assert fields_fault({"epochs": 3, "lr": 1, "ema": None, "other": object()}, kinds) is None
    assert fields_fault({"epochs": True}, kinds) == "epochs: expected a whole number, found True"
    assert fields_fault({"lr": math.nan}, kinds) == "lr: expected a number, found nan"
    assert fields_fault({"ema": 1}, kinds) == "ema: expected true or false, found 1"
    assert fields_fault({}, kinds, needed=("lr",)) == "lr: expected a number, found None"


def test_long_values_are_cut():
    assert shown({"a": None}) == '{"a": null}'
    assert len(shown("x" * 200)) == LONGEST
    assert shown("x" * 200).endswith("x...")
