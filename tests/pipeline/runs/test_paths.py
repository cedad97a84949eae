"""The table of training paths, and the lists that follow from it."""

import pytest

from vit_tickets.pipeline.runs.paths import COMPARED, DROPPING, JUDGED, ON, PARTIAL, PATHS, TESTED_ON, TRAINED, path_of


def test_lists_follow_from_the_table():
    assert list(PATHS) == ["dense", "lt", "rc", "small", "short", "learned", "selector", "weights"]
    assert tuple(PATHS)[:-1] == TRAINED
    assert COMPARED == ("dense", "lt", "rc", "small", "short", "learned")
    assert JUDGED == ON == ("dense", "lt", "rc")
    assert DROPPING == ("lt", "rc")
    assert PARTIAL == ("lt", "rc", "learned")
    assert all(set(path.tested_on) <= set(TESTED_ON) for path in PATHS.values())


def test_a_path_that_drops_patches_uses_tickets_and_has_a_budget():
    for path in PATHS.values():
        assert not path.drops_patches or (path.uses_tickets and path.has_budget)


@pytest.mark.parametrize(
    ("row", "name"), [("dense", "dense"), ("lt:centre", "lt"), ("rc:centre:fresh", "rc"), ("lt@288:mean", "lt")]
)
def test_path_of_a_row(row, name):
    assert path_of(row) is PATHS[name]
