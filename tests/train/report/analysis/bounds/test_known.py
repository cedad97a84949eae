"""Where there are bounds: the rule, and that sentences, tables, charts and picture all follow it."""

import csv
import io
import json
import re

import pytest

from tests.runs import IMAGES, finding_of, write_predictions, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.bounds.known import FEW, ONE_SEED, unbounded
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.frontier.tradeoff import tradeoffs
from vit_tickets.train.report.page.page import render
from vit_tickets.train.report.rendering.cost_panel import reach
from vit_tickets.train.report.rendering.tables import csv_text
from vit_tickets.train.report.rendering.text import markdown, text
from vit_tickets.train.report.report import record

PATHS = {"dense": ("dense", "lt"), "lt": ("dense", "lt"), "rc": ("dense", "lt", "rc"), "small": ("dense",)}
BRACKETS = re.compile(r"\[[+-]?\d+\.\d\d, [+-]?\d+\.\d\d\]")
SIDES = re.compile(r'class="(?:sided |c-)(?:above|below)')
BARS = re.compile(r'class="bar"|H[\d.]+M[\d.]+ [\d.]+v8M|" band"')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))


def found(root, seeds: int, images: int = IMAGES) -> Finding:
    runs = []
    for path, columns in PATHS.items():
        for seed in range(seeds):
            folder = write_run(root, path, seed, on=[])
            log = root / f"{path}-seed{seed}" / "metrics.jsonl"
            lines = [json.loads(line) | {"macs": 100 + len(path)} for line in log.read_text().splitlines()]
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
            for on in columns:
                share = 0.9 if path in ("dense", on) else 0.8
                keys = [f"class{i % 10}/{i:05d}" for i in range(images)]
                size = 24 if path == "small" else 48
                write_predictions(root / f"{path}-seed{seed}", on, share, seed, size, keys, weights_sha256=folder)
            runs.append(folder)
    return finding_of(runs)


@pytest.mark.parametrize(
    ("images", "seeds", "why"),
    [(30, (2, 2), None), (29, (2, 2), FEW), (29, (1,), FEW), (30, (1,), ONE_SEED), (30, (5, 1), ONE_SEED)],
)
def test_bounds_take_thirty_images_and_two_seeds_of_every_row(images, seeds, why):
    assert unbounded(images, seeds) == why


def test_of_enough_images_and_seeds_they_are_everywhere(tmp_path):
    finding = found(tmp_path, 2)
    page = render("said", [finding], {"groups": [record(finding)]})
    for shown in (text([finding], []), markdown([finding], [], None), page):
        assert BRACKETS.search(shown)
        assert "no interval" not in shown
        assert "none of" not in shown
    assert BARS.search(page)
    assert SIDES.search(page)
    for cell, accuracy in finding.group.accuracies.items():
        assert reach(accuracy) is not None, cell
    assert all(float(line["low"]) <= float(line["top1"]) for line in csv.DictReader(io.StringIO(csv_text([finding]))))


@pytest.mark.parametrize(("seeds", "images", "why"), [(1, IMAGES, ONE_SEED), (2, 20, FEW), (1, 20, FEW)])
def test_of_fewer_they_are_nowhere_and_the_reason_is_said(tmp_path, seeds, images, why):
    finding = found(tmp_path, seeds, images)
    page = render("said", [finding], {})
    for shown in (text([finding], []), markdown([finding], [], None), page):
        assert not BRACKETS.search(shown)
        assert f"no interval: {why}" in shown
        assert f"no bounds: {why}" in shown
        assert "within error</td>" not in shown
        for word in ("beats", "trails", "wins", "loses"):
            assert not re.search(rf"LT {word}\b", shown), word
    assert f"; of {why} there is none. A line joins" in page
    for shown in (text([finding], []), markdown([finding], [], None), page):
        told = [
            word
            for word in ("on the Pareto front", "is the Pareto front", 'class="front"', "runs that pay")
            if word in shown
        ]
        assert bool(told) == (why != FEW), told
    assert ("no Pareto front: fewer than 30 images" in text([finding], [])) == (why == FEW)
    assert not BARS.search(page)
    assert not SIDES.search(page)
    lines = list(csv.DictReader(io.StringIO(csv_text([finding]))))
    assert {(line["low"], line["high"]) for line in lines} == {("", "")}
    assert all(reach(accuracy) is None for accuracy in finding.group.accuracies.values())
    (charts,) = tradeoffs([finding.group])
    assert not any(point.is_near for chart in charts for point in chart.points)
    assert all(bool(chart.front) == (why != FEW) for chart in charts)
    for contrast in finding.classes:
        assert {contrast.ends(gain) for gain in contrast.gains} == {None}


def test_rows_of_one_seed_among_others_are_named(tmp_path):
    finding = found(tmp_path, 2)
    only = [run.folder for run in finding.group.runs if run.path != "rc" or run.seed == 0]
    finding = finding_of(only)
    shown = markdown([finding], [], None)
    assert "two-sided 95% interval, none of one seed" in shown
    assert "one-sided 95% bounds, none of one seed" in shown
    assert {row for (row, _), of in finding.group.accuracies.items() if of.unbounded} == {"rc"}


def test_runs_that_differ_in_their_mask_seed_alone_are_of_one_seed(tmp_path):
    runs = [write_run(tmp_path, "rc", 0, mask_seed=mask_seed, name=f"rc-{mask_seed}") for mask_seed in (0, 1)]
    finding = finding_of([write_run(tmp_path, "dense"), *runs])
    found_rc = finding.group.accuracies["rc", "rc"]
    assert (found_rc.seeds, found_rc.unbounded) == (2, ONE_SEED)
