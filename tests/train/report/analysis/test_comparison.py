"""Which synthetic runs are compared with each other, and which are refused."""

import pytest

from tests.runs import IMAGES, TICKETS, write_predictions, write_run
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.results import read_run


def groups(folders):
    return group_runs([read_run(folder) for folder in folders])


def test_dense_runs_join_every_budget_and_tickets_of_another_budget_are_a_dash(tmp_path):
    half = TICKETS | {"sparsity": 0.5, "counts": [18], "view": "center"}
    dense = write_run(tmp_path, "dense")
    runs = [write_run(tmp_path, path) for path in ("lt", "rc")]
    runs += [
        write_run(tmp_path, path, name=f"{path}-s0.5", sparsity=0.5, kept=18, metadata={"tickets": half})
        for path in ("lt", "rc")
    ]
    by_budget = {group.budget.sparsity: group for group in groups([dense, *runs])}
    assert set(by_budget) == {0.5, 0.75}
    assert {on for row, on in by_budget[0.75].matrix if row == "dense"} == {"dense", "lt", "rc"}
    assert {on for row, on in by_budget[0.5].matrix if row == "dense"} == {"dense"}
    assert "with tickets of another budget" in by_budget[0.5].missing[0]
    assert find(by_budget[0.5]).verdicts[0].verdict.label == "ahead"


MISPAIRED = [
    ({"keys": [f"class{i % 10}/{i:05d}" for i in range(IMAGES - 1)]}, "1 image missing (such as 'class9/00399')"),
    ({"keys": [f"x/{i:05d}" for i in range(IMAGES)]}, "400 images missing (such as 'class0/00000') and 400"),
    ({"shift_labels": 1}, "other labels of 400 images, the first 'class0/00000': expected 0, found 1"),
    ({"view": "full"}, 'view: expected "center", found "full"'),
    ({"preprocessing": {"image_size": 48, "crop_pct": 0.9}}, "preprocessing.crop_pct: expected 1.0, found 0.9"),
    ({"split": "train"}, 'split: expected "val", found "train"'),
    ({"tickets": TICKETS | {"view": "center", "weights_sha256": "0" * 64}}, "they differ in weights_sha256"),
    ({"tickets": TICKETS | {"view": "center", "counts": [10]}}, "they differ in counts: expected [9], found [10]"),
    ({"tickets": None}, "they differ in"),
    ({"format_version": 2}, "expected format version 1, found 2"),
    ({"weights_sha256": "other"}, "expected predictions of the weights"),
]


@pytest.mark.parametrize(("change", "message"), MISPAIRED)
def test_mispaired_predictions_are_refused(tmp_path, change, message):
    runs = [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]
    write_predictions(tmp_path / "rc-seed0", "lt", 0.7, **change)
    with pytest.raises(UserError) as caught:
        groups(runs)
    assert message in str(caught.value)
    assert "rc-seed0/predictions-lt.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dense_run_on_the_tickets_of_another_selector_is_refused(tmp_path):
    other = TICKETS | {"view": "center", "selector": "deit_small"}
    runs = [write_run(tmp_path, "dense", metadata={"tickets": other}), write_run(tmp_path, "lt")]
    with pytest.raises(UserError, match=r"differ in selector: expected .deit_micro., found .deit_small."):
        groups(runs)


def test_two_runs_of_one_seed_are_refused(tmp_path):
    runs = [write_run(tmp_path, "lt", name=name) for name in "ab"]
    with pytest.raises(UserError, match="expected one lt run per seed"):
        groups(runs)


@pytest.mark.parametrize(
    ("method", "ticket"), [("scores", "lt:scores"), ("column-sum", "lt:column-sum"), ("centre", "lt")]
)
def test_without_staged_tickets_those_of_another_selector_or_of_scores_are_judged(tmp_path, method, ticket):
    of = {"tickets": TICKETS | {"method": method}}
    runs = [write_run(tmp_path, path, metadata=of, **({} if path == "dense" else of)) for path in ("dense", "lt", "rc")]
    (group,) = groups(runs)
    assert group.ticket == ticket
    (named,) = find(group).verdicts
    assert (named.verdict is None) == (ticket == "lt")
