"""Points of accuracy against cost: costs of the logs, the front, and what is said where costs are not there."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.runs import write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import find
from vit_tickets.train.report.analysis.frontier.tradeoff import MACS, OWN_INPUT, SECONDS, WHOLE, tradeoffs
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.page.marks import looks
from vit_tickets.train.report.page.opening import NO_COST, costs

MACS_OF = {"dense": 9_000, "lt": 4_000, "rc": 4_100, "small": 4_000}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))


def groups_of(root, paths=("dense", "lt", "rc", "small"), seeds=(0, 1), macs=True, **changes):
    runs = []
    for path in paths:
        for seed in seeds:
            folder = write_run(root, path, seed, **changes)
            if macs:
                log = root / f"{path}-seed{seed}" / "metrics.jsonl"
                lines = [json.loads(line) | {"macs": MACS_OF[path] + seed} for line in log.read_text().splitlines()]
                log.write_text("".join(json.dumps(line) + "\n" for line in lines))
            runs.append(read_run(folder))
    return group_runs(runs)


def test_a_model_has_a_chart_for_each_unit_as_deployed_and_on_its_own_input(tmp_path):
    groups = groups_of(tmp_path)
    (charts,) = tradeoffs(groups)
    assert [(chart.tested, chart.unit) for chart in charts] == [
        (OWN_INPUT, MACS),
        (OWN_INPUT, SECONDS),
        (WHOLE, MACS),
        (WHOLE, SECONDS),
    ]
    (group,) = groups
    for chart in charts:
        on = {"dense": "dense", "small": "dense", "lt": "lt", "rc": "rc"}
        for point in chart.points:
            assert point.on == ("dense" if chart.tested == WHOLE else on[point.row])
            assert point.accuracy == group.accuracies[point.row, point.on]
            expected = {MACS: 3 * MACS_OF[point.row] + 1.5, SECONDS: 60.0 if point.row == "dense" else 24.0}[chart.unit]
            assert point.cost == pytest.approx(expected)
            dense = {MACS: 3 * 9_000 + 1.5, SECONDS: 60.0}[chart.unit]
            assert point.share == pytest.approx(100 * expected / dense)
            assert point.patches == ("-" if point.row == "dense" else "9 of 36")


def test_the_front_is_what_no_other_point_beats(tmp_path):
    (charts,) = tradeoffs(groups_of(tmp_path))
    for chart in charts:
        for point in chart.points:
            beaten = [
                other
                for other in chart.points
                if other.cost <= point.cost
                and other.accuracy.mean >= point.accuracy.mean
                and (other.cost, other.accuracy.mean) != (point.cost, point.accuracy.mean)
            ]
            assert point.is_best == (not beaten)
        costs_of = [point.cost for point in chart.front]
        assert costs_of == sorted(costs_of)
        assert chart.front


def test_runs_without_multiply_adds_have_seconds_and_of_different_machines_nothing(tmp_path):
    (charts,) = tradeoffs(groups_of(tmp_path / "a", macs=False))
    assert {chart.unit for chart in charts} == {SECONDS}
    one = groups_of(tmp_path / "b", ("dense",), macs=False)[0].runs
    others = groups_of(tmp_path / "c", ("lt", "rc"), macs=False, hardware="another")[0].runs
    groups = group_runs([*one, *others])
    assert tradeoffs(groups) == []
    assert NO_COST in costs([find(group) for group in groups], looks(groups[0].rows))


def test_rows_of_which_a_log_lacks_them_are_named(tmp_path):
    groups = groups_of(tmp_path)
    groups[0].of("rc")[1].epochs_log[0].pop("macs")
    (charts,) = tradeoffs(groups)
    for chart in charts:
        assert chart.lacking == (["rc"] if chart.unit == MACS else [])
        assert ("rc" in chart.rows) == (chart.unit == SECONDS)
    page = costs([find(group) for group in groups], looks(groups[0].rows))
    assert "Not in the chart of multiply-adds, for their logs do not have all of them: rc." in page


def test_a_dense_run_in_groups_of_several_budgets_is_one_point(tmp_path):
    (group,) = groups_of(tmp_path)
    other = SimpleNamespace(**{name: getattr(group, name) for name in dir(group) if not name.startswith("__")})
    other.budget = SimpleNamespace(label="s0.5")
    (charts,) = tradeoffs([group, other])
    assert [(point.row, point.budget) for point in charts[0].points if point.row in ("dense", "lt")] == [
        ("dense", ""),
        ("lt", "s0.75"),
        ("lt", "s0.5"),
    ]


def test_within_error_of_the_front_is_what_nothing_on_it_is_clearly_above(tmp_path):
    (group,) = groups = groups_of(tmp_path)
    (charts,) = tradeoffs(groups)
    found = {(chart.tested, point.row): point for chart in charts if chart.unit == MACS for point in chart.points}
    assert not any(point.is_near and point.is_best for point in found.values())
    own = group.contrast(("lt", "lt"), ("dense", "dense"))
    assert own.estimate > 0 > own.low, "more accurate by chance, and cheaper: dense is off the front, within its error"
    assert (found[OWN_INPUT, "lt"].is_best, found[OWN_INPUT, "dense"].is_near) == (True, True)
    for row in ("rc", "small"):
        assert group.contrast(("lt", "lt"), found_cell(row)).low > 0
        assert not found[OWN_INPUT, row].is_near
    assert found[WHOLE, "small"].is_best
    assert not found[WHOLE, "lt"].is_near


def found_cell(row):
    return (row, "dense" if row == "small" else row)


def test_between_budgets_points_are_compared_on_the_same_images(tmp_path):
    (group,) = groups_of(tmp_path)
    other = SimpleNamespace(**{name: getattr(group, name) for name in dir(group) if not name.startswith("__")})
    other.budget = SimpleNamespace(label="s0.5")
    worse = group.matrix | {("lt", "lt"): group.matrix["lt", "lt"] & (np.arange(group.images) % 40 > 0)}
    for keys, near in ((group.keys, False), (group.keys.slice(1), True)):
        other.matrix, other.keys = worse, keys
        other.accuracies = group.accuracies | {("lt", "lt"): bootstrap.accuracy(worse["lt", "lt"])}
        (charts,) = tradeoffs([group, other])
        (chart,) = [chart for chart in charts if (chart.tested, chart.unit) == (OWN_INPUT, MACS)]
        (point,) = [point for point in chart.points if (point.row, point.budget) == ("lt", "s0.5")]
        assert (point.is_best, point.is_near) == (False, near), "other images: the intervals alone, which overlap"
