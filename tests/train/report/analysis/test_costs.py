"""What training and selection cost, from the logs of synthetic runs."""

import json

import pytest

from tests.runs import TICKETS, finding_of, write_run
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.costs import cost_rows


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
