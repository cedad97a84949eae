"""Cost at equal accuracy: the first epoch that is as accurate as the ticket in the end, counted by hand."""

import json

import pytest

from tests.runs import finding_of, write_run
from vit_tickets.train.report.analysis import bootstrap
from vit_tickets.train.report.analysis.frontier.equal import equal_accuracy
from vit_tickets.train.report.analysis.frontier.tradeoff import MACS, SECONDS
from vit_tickets.train.report.rendering.words.frontier import cost_tables, equal_sentence


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap.bootstrap_means, "__defaults__", (200, 0))


def write(root, curves, macs=True, seeds=(0, 1), **changes):
    """Runs of three epochs whose accuracy is below that after the last by so many points, by path."""
    folders = [write_run(root, path, seed, **changes) for path in curves for seed in seeds]
    group = finding_of(folders).group
    for path, below in curves.items():
        reached = group.accuracies[group.own(path)].per_seed
        for seed, last in zip(seeds, reached, strict=True):
            log = root / f"{path}-seed{seed}" / "metrics.jsonl"
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            more = {"macs": 1000 if path == "dense" else 400} if macs else {}
            lines = [line | more | {"val_top1": last - less} for line, less in zip(lines, below, strict=True)]
            log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folders


CURVES = {"dense": (30, 0, 0), "lt": (50, 20, 0), "rc": (10, 5, 0), "small": (9, 5, 0)}


def test_the_first_epoch_that_is_as_accurate_counts(tmp_path):
    curves = CURVES | {
        "lt": (50, 20, 0),
        "dense": (30, -4, 0),
    }  # dense is above the ticket after its second epoch alone
    finding = finding_of(write(tmp_path, curves))
    target = finding.group.accuracies["lt", "lt"].mean
    found = {of.row: of for of in equal_accuracy(finding.group)}
    assert set(found) == {"dense", "rc", "small"}
    dense = found["dense"]
    assert (dense.accuracy, dense.epoch, dense.epochs, dense.unit) == (target, 2, 3, MACS)
    assert (dense.cost, dense.share) == (2000, pytest.approx(2000 / 1200))
    assert (found["rc"].epoch, found["rc"].cost, found["rc"].share) == (None, 1200, pytest.approx(1))
    assert equal_sentence(finding) == (
        f"cost at equal accuracy (the ticket's {target:.2f}%, each on its own input, and times the ticket's "
        "multiply-adds): dense reached it after 2 of 3 epochs, at 1.67 times; rc and small never did"
    )


def test_seconds_stand_in_where_multiply_adds_are_not_counted_and_runs_compare(tmp_path):
    finding = finding_of(write(tmp_path / "a", CURVES, macs=False))
    assert {of.unit for of in equal_accuracy(finding.group)} == {SECONDS}
    runs = write(tmp_path / "b", CURVES, macs=False)
    config = tmp_path / "b" / "lt-seed0" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hardware": "another"}))
    assert equal_accuracy(finding_of(runs).group) == []
    assert equal_sentence(finding_of(runs)) is None


def test_a_log_that_ends_elsewhere_than_the_evaluation_tells_nothing(tmp_path):
    runs = write(tmp_path, CURVES | {"rc": (10, 5, 1), "dense": (3, 2, 0.05)})
    assert [of.row for of in equal_accuracy(finding_of(runs).group)] == ["dense", "small"]


def test_a_log_without_accuracies_or_without_all_epochs_tells_nothing(tmp_path):
    runs = write(tmp_path, CURVES)
    for path, drop in (("rc", lambda lines: lines[1:]), ("small", lambda lines: [{**lines[0], "val_top1": None}])):
        log = tmp_path / f"{path}-seed0" / "metrics.jsonl"
        lines = drop([json.loads(line) for line in log.read_text().splitlines()])
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [of.row for of in equal_accuracy(finding_of(runs).group)] == ["dense"]


def test_without_a_ticket_there_is_nothing_to_equal(tmp_path):
    assert equal_accuracy(finding_of(write(tmp_path, {"dense": (1, 1, 0), "rc": (1, 1, 0)})).group) == []


def test_the_table_marks_the_front(tmp_path):
    finding = finding_of(write(tmp_path, CURVES))
    ((heading, (header, *rows)),) = cost_tables([finding])
    assert heading.startswith("accuracy for cost, digits, deit_micro: multiply-adds")
    shown = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert (shown["dense"]["cost"], shown["lt"]["cost"], shown["lt"]["patches"]) == ("100%", "40%", "9 of 36")
    assert shown["lt"]["on its own input"] == f"{finding.group.accuracies['lt', 'lt'].mean:.2f} *"
    assert shown["rc"]["on its own input"] == f"{finding.group.accuracies['rc', 'rc'].mean:.2f}"
