"""What a verdict is worth: weak baselines, runs that have barely learnt, pairs of runs of one seed."""

import dataclasses
import sys

import pytest

from tests.command import run
from tests.runs import finding_of, write_predictions, write_run
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering import text as rendering


def write(root, seeds=2, dense=0.9, ticket=0.92, random=0.7, **changes):
    """dense, lt and rc runs, whose accuracy is near `dense` on whole images, `ticket` and `random` on tickets."""
    folders = []
    for path, on, share in (("dense", "dense", dense), ("lt", "lt", ticket), ("rc", "lt", random)):
        for seed in range(seeds):
            folders.append(write_run(root, path, seed, on=[], **changes))
            for column in {"dense", on}:
                here = {"weights_sha256": "w", "dataset": changes.get("dataset", "digits")}
                write_predictions(root / f"{path}-seed{seed}", column, share, seed, **here)
    return folders


@pytest.mark.parametrize(
    ("dataset", "below", "weak"),
    [
        ("digits", None, True),
        ("cifar10", None, True),
        ("cifar10-10000", None, True),
        ("cifar100", None, False),
        ("imagenet", None, False),
        ("imagenet", 85.0, True),
        ("digits", 50.0, False),
        ("digits", 0.0, False),
    ],
)
def test_a_weak_baseline_is_said_beside_the_verdict(tmp_path, dataset, below, weak):
    made = finding_of(write(tmp_path, dense=0.8, dataset=dataset), below)
    accuracy, threshold = made.group.accuracies["dense", "dense"].mean, 90 if below is None else below
    sentence = f"weak baseline: dense on dense is {accuracy:.2f}%, under {threshold:g}%"
    label = "LT wins, weak baseline" if weak else "LT wins"
    text, markdown = rendering.text([made], []), rendering.markdown([made], [], None)
    assert f"verdict: {label}\n" in text
    assert f"### Verdict: {label}\n" in markdown
    assert (f"  - {sentence}" in text, f"- {sentence}" in markdown) == (weak, weak)
    record = dataclasses.asdict(made.verdicts[0])
    assert (record["verdict"]["label"], bool(record["weak_baseline"])) == ("wins", weak)


def test_a_strong_baseline_is_not_called_weak(tmp_path):
    made = finding_of(write(tmp_path, dense=0.95, ticket=0.96))
    assert (made.verdicts[0].weak_baseline, made.weak_below) == (None, 90)
    assert "weak" not in rendering.text([made], [])


def test_the_option_reaches_the_report(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)  # no picture: it takes longest
    folders = write(tmp_path, dense=0.90, ticket=0.96)
    shown = run("report", "--weak-baseline", 99, "--out", tmp_path / "r", *folders).output
    assert "verdict: LT wins, weak baseline" in shown
    record = (tmp_path / "r" / "report.json").read_text()
    assert '"weak_below": 99.0' in record
    assert '"weak_baseline": "weak baseline: dense on dense is' in record
    run("report", "--weak-baseline", 101, *folders, code=2)


def test_no_one_wins_or_loses_where_dense_has_barely_learnt(tmp_path):
    """As `resnet50` did after three epochs on digits: 18.55% dense, 21.80 on tickets, 12.70 at random."""
    made = finding_of(write(tmp_path, dense=0.1855, ticket=0.218, random=0.127))
    verdict = made.verdicts[0].verdict
    assert (verdict.match.lower > -0.5, verdict.gap.lower > 0) == (True, True)
    assert verdict.label == "inconclusive"
    assert verdict.reasons[0].startswith("dense on dense has learnt too little: its lower bound ")
    assert verdict.reasons[0].endswith(
        " is not above 28%, 20% of the way from the share of the most frequent class (10%) to 100%"
    )
    shown = rendering.text([made], [])
    assert "verdict: inconclusive, weak baseline" in shown
    for found in (verdict.match, verdict.gap):
        assert f"over 2 seeds each; its bounds are {found.lower:+.2f} and {found.upper:+.2f}\n" in shown
    assert "What would decide: dense trained for longer (`--epochs`; it had 3 epochs).\n" in shown


def test_learnt_enough_is_judged(tmp_path):
    made = finding_of(write(tmp_path, dense=0.40, ticket=0.50, random=0.2))
    assert made.verdicts[0].verdict.label == "wins"


def test_runs_of_one_seed_are_paired(tmp_path):
    folders = write(tmp_path, seeds=2)
    made = finding_of([*folders, *write(tmp_path / "more", seeds=3, dense=0.91)[2:3]])
    pairs = [(pair.first, pair.second, pair.seed) for pair in made.paired]
    match, gap = ("LT on lt", "dense on dense"), ("LT on lt", "RC on lt")
    assert pairs == [(*contrast, seed) for contrast in (match, gap) for seed in (0, 1)]
    for pair in made.paired:
        path = "dense" if "dense" in pair.second else "rc"
        first = read_run(str(tmp_path / f"lt-seed{pair.seed}")).predictions["lt"].correct
        on = "dense" if path == "dense" else "lt"
        second = read_run(str(tmp_path / f"{path}-seed{pair.seed}")).predictions[on].correct
        counts = sum(first & ~second), sum(second & ~first)
        assert (pair.only_first, pair.only_second) == counts
    text, markdown = rendering.text([made], []), rendering.markdown([made], [], None)
    for said in (text, markdown):
        assert "they describe two runs and say nothing about other seeds" in said
        assert "McNemar" not in said
    assert "### Side by side" in markdown
    line = next(line.split() for line in text.splitlines() if line.startswith("  1     LT on lt  RC on lt"))
    assert line[7:9] == [str(made.paired[3].only_first), str(made.paired[3].only_second)]


def test_models_that_cannot_drop_patches_are_paired_both_ways_and_weights_not_at_all(tmp_path):
    made = finding_of([write_run(tmp_path, path, can_drop_patches=False) for path in ("dense", "lt", "rc")])
    assert [pair.first for pair in made.paired] == ["LT on dense"] * 2 + ["LT on lt"] * 2
    published = [write_run(tmp_path / "w", path) for path in ("weights", "lt")]
    config = tmp_path / "w" / "weights-seed0" / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": null', 1))
    assert finding_of(published).paired == []
