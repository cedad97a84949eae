import copy

import pytest

from . import golden

RECORD = {"items": {"a": "1" * 64, "b": "2" * 64}, "configs": {"runs/dense/config.json": {"seed": 0, "epochs": 3}}}


def test_equal_records_have_no_difference(capsys):
    assert golden.differences(RECORD, copy.deepcopy(RECORD)) == []
    assert "NO" not in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"a": "3" * 64}, {"c": "3" * 64}])
def test_a_changed_or_new_item_differs(change, capsys):
    after = RECORD | {"items": RECORD["items"] | change}
    assert golden.differences(RECORD, after) == golden.differences(after, RECORD) == list(change)
    assert "NO" in capsys.readouterr().out


def test_a_config_may_change_and_is_told(capsys):
    after = RECORD | {"configs": {"runs/dense/config.json": {"seed": 1, "epochs": 3}}}
    assert golden.differences(RECORD, after) == []
    assert "runs/dense/config.json: may change; differs in seed" in capsys.readouterr().out


def test_only_volatile_keys_are_left_out():
    index = {"counts": [18], "wall_time_s": 1.5, "splits": [{"samples": 4, "versions": {"torch": "2"}}]}
    assert golden.stable(index) == {"counts": [18], "splits": [{"samples": 4}]}
    assert golden.canonical(index) == golden.canonical(index | {"wall_time_s": 9.0})
    assert golden.canonical(index) != golden.canonical(index | {"counts": [17]})
