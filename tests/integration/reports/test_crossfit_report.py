"""Cross-fitted tickets in the report: a group of their own, with verdict and cost; their selectors are left out."""

import pytest

from tests.runs import COSTS, TICKETS, write_run
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.report import report

FITTED = TICKETS | {"cross_fit": ["a" * 64, "b" * 64], "weights_sha256": "c" * 64}
OF_FITTED = {"tickets": FITTED | {"view": "center"}}


def write_fitted(root, path, **changes):
    """A run that was tested on cross-fitted tickets; `lt` and `rc` were trained with their manifest, too."""
    own = {"tickets": FITTED | COSTS | {"selector_run": ["runs/a", "runs/b"]}} if path in ("lt", "rc") else {}
    return write_run(root, path, metadata=OF_FITTED, **{"name": f"fitted-{path}"} | own | changes)


def groups(folders):
    return group_runs([read_run(folder) for folder in folders])


def test_alone_they_get_a_verdict(tmp_path):
    (group,) = groups([write_fitted(tmp_path, path) for path in ("dense", "lt", "rc")])
    assert (group.cross_fit, group.rows, group.missing) == (True, ["dense", "lt", "rc"], [])
    finding = find(group)
    assert finding.verdicts[0].verdict is not None
    assert finding.cost.selector == 300
    assert "9 of 36 patches, cross-fitted tickets; 400 images" in rendering.title(group)


@pytest.mark.parametrize("order", [1, -1])
def test_beside_others_they_are_a_group_of_their_own(tmp_path, order):
    plain = [write_run(tmp_path, path) for path in ("dense", "lt", "rc", "small")]
    fitted = [write_fitted(tmp_path, path) for path in ("dense", "lt", "rc")]
    ours, theirs = groups([*plain, *fitted][::order])
    assert [group.cross_fit for group in (ours, theirs)] == [False, True]
    assert [run.name for run in ours.runs] == ["dense-seed0", "lt-seed0", "rc-seed0", "small-seed0"]
    assert [run.name for run in theirs.runs] == ["fitted-dense", "fitted-lt", "fitted-rc", "small-seed0"]
    assert not ours.missing + theirs.missing
    assert all(find(group).verdicts[0].verdict for group in (ours, theirs))
    assert [null.name for null in find(theirs).nulls] == ["rc", "small"]


def test_a_random_subset_belongs_where_it_was_tested(tmp_path):
    retested = write_fitted(tmp_path, "rc", tickets=TICKETS | COSTS)
    (group,) = groups([write_fitted(tmp_path, "dense"), write_fitted(tmp_path, "lt"), retested])
    assert find(group).verdicts[0].verdict is not None


def test_what_was_tested_on_the_other_kind_is_missing(tmp_path):
    folders = [write_run(tmp_path, "dense"), write_fitted(tmp_path, "lt"), write_fitted(tmp_path, "rc")]
    (group,) = groups(folders)
    (said,) = group.missing
    assert "dense-seed0 was tested on lt and rc with tickets of another selection, which was not cross-fitted" in said
    assert find(group).verdicts[0].verdict is not None, "dense is compared on whole images"


def test_their_selectors_are_left_out(tmp_path):
    halves = [write_run(tmp_path, "dense", name=f"without-{i}", without_fold=f"{i}/2", on=[]) for i in (1, 2)]
    made = report([*halves, *(write_run(tmp_path, path) for path in ("dense", "lt", "rc"))], str(tmp_path / "out"))
    assert made.data["left_out"] == [
        f"{folder} is a selector for cross-fitting, trained without fold {i}/2, not a competitor"
        for i, folder in enumerate(halves, start=1)
    ]
    (group,) = made.data["groups"]
    assert (group["cross_fit"], len(group["runs"])) == (False, 3)
