"""What training and selection cost, from the logs of synthetic runs."""

import json

import pytest

from tests.runs import TICKETS, finding_of, write_run
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.costs import _amount, cost_rows


def costs(runs):
    """The cost of a group of runs, and the report's lines on it."""
    finding = finding_of(runs)
    return finding.cost, dict(cost_rows(finding.group, finding.cost))


def test_cost_never_pays_back_when_lt_is_not_faster(tmp_path):
    runs = [write_run(tmp_path, path) for path in ("dense", "lt", "rc")]
    slow = "".join(json.dumps({"epoch": e, "seconds": 30.0}) + "\n" for e in range(1, 4))
    (tmp_path / "lt-seed0" / "metrics.jsonl").write_text(slow)
    cost, shown = costs(runs)
    assert cost.never is True
    assert cost.runs_for_selection is None
    assert shown["saved per lt run"] == "nothing: lt took 30.0 s longer than dense"
    assert shown["lt runs that pay the manifest back"] == "never"


@pytest.mark.parametrize("other", [{"hardware": "a GPU"}, {"compile": True}, {"grad_accum": 2}])
def test_published_selector_and_other_hardware_in_the_cost(tmp_path, other):
    published = TICKETS | {"selector_run": None, "selector_seconds": None, "wall_time_s": 20.0}
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", tickets=published, **other)]
    cost, shown = costs(runs)
    assert shown["training the selector"] == "published weights, not counted"
    assert "not comparable" in shown["saved per lt run"]
    assert cost.saving is None


def test_log_of_a_resumed_or_killed_run(tmp_path):
    runs = [write_run(tmp_path, path) for path in ("dense", "lt")]
    log = tmp_path / "lt-seed0" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"epoch": 3, "seconds": 10.0}\n{"epoch": 4, "sec')
    assert costs(runs)[0].lt == 26
    log.write_text("nonsense\n" + log.read_text())
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: expected a JSON object with an epoch"):
        costs(runs)


ONLINE = TICKETS | {"online": "full", "selector_run": "runs/selector", "selector_seconds": 300.0}


def test_an_online_selection_costs_nothing_beside_the_training_and_its_selector_is_counted(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", tickets=ONLINE)]
    cost, shown = costs(runs)
    assert (cost.online, cost.selection, cost.selector, cost.published) == (True, None, 300, False)
    assert (cost.runs_for_selection, cost.runs_for_all) == (None, 9)
    assert shown["selection, in every step"] == "no cost of its own: it is part of the lt training"
    assert shown["training the selector"] == "300.0 s"
    assert shown["lt runs that pay the selector back"] == "9"
    assert not any("manifest" in what for what in shown)


@pytest.mark.parametrize(("selector", "said"), [("runs/selector", "never"), (None, None)])
def test_online_runs_that_save_nothing_never_pay_the_selector_back(tmp_path, selector, said):
    tickets = ONLINE | {"selector_run": selector, "selector_seconds": 300.0 if selector else None}
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", tickets=tickets)]
    slow = "".join(json.dumps({"epoch": e, "seconds": 30.0}) + "\n" for e in range(1, 4))
    (tmp_path / "lt-seed0" / "metrics.jsonl").write_text(slow)
    _, shown = costs(runs)
    assert "lt took 30.0 s longer than dense" in shown["saved per lt run"]
    assert shown.get("lt runs that pay the selector back") == said


def counted_runs(root, **of_lt):
    """Dense, two seeds of lt, and rc, with multiply-adds in their logs."""
    macs = {"forward": 4_600_000_000, "forward_kept": 2_300_000_000, "selection": 2_000_000_000, "selected": 1437}
    runs = [write_run(root, path, seed, macs=macs) for path, seed in (("dense", 0), ("lt", 0), ("lt", 1), ("rc", 0))]
    for run, of_epoch in zip(runs, (10**15, 4 * 10**14, 6 * 10**14, 5 * 10**14), strict=True):
        lines = [{"epoch": e, "seconds": 2.0, "macs": of_epoch} for e in (1, 2, 3)]
        if run.endswith("lt-seed1"):
            lines[1] |= of_lt
        (root / run.rpartition("/")[2] / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return runs


def test_multiply_adds_of_training_selection_and_test_are_told_apart(tmp_path):
    cost, shown = costs(counted_runs(tmp_path))
    assert {row: (found.macs, found.share, found.seconds) for row, found in cost.rows.items()} == {
        "dense": (3e15, 1.0, 6.0),
        "lt": (1.5e15, 0.5, 6.0),
        "rc": (1.5e15, 0.5, 6.0),
    }
    assert cost.rows["lt"].tested == {"dense": 4_600_000_000, "lt": 4_300_000_000, "rc": 2_300_000_000}
    assert (cost.selection_macs, cost.selected) == (2_000_000_000, 1437)
    lines = cost_rows(finding_of(counted_runs(tmp_path / "again")).group, cost)
    assert lines[:3] == [
        ("dense training, one run", "6.0 s, 3 P multiply-adds"),
        ("lt training, one run", "6.0 s, 1.5 P multiply-adds (50% of dense)"),
        ("selection, once per dataset", "20.0 s, 2.87 T multiply-adds (2 G for each of 1,437 images)"),
    ]
    assert lines[-2:] == [
        ("testing an image on all patches", "4.6 G multiply-adds"),
        ("testing an image on its ticket", "4.3 G multiply-adds (2.3 G and 2 G to choose it)"),
    ]
    assert shown["saved per lt run"].startswith("nothing")


def test_a_row_has_no_multiply_adds_where_an_epoch_of_a_run_has_none(tmp_path):
    cost, shown = costs(counted_runs(tmp_path, macs=None))
    assert cost.rows["lt"].macs is None
    assert cost.rows["dense"].share == 1.0
    assert shown["lt training, one run"] == "6.0 s"


def test_seconds_of_rows_are_told_only_where_runs_compare(tmp_path):
    runs = [write_run(tmp_path, "dense"), write_run(tmp_path, "lt", hardware="a GPU")]
    assert {row: found.seconds for row, found in costs(runs)[0].rows.items()} == {"dense": None, "lt": None}


@pytest.mark.parametrize(
    ("macs", "shown"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (4.5989e9, "4.6 G"), (1.2e22, "12 Z"), (1e25, "1e+04 Z")],
)
def test_amounts_have_three_digits(macs, shown):
    assert _amount(macs) == shown
