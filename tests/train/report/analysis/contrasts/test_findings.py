"""Verdicts and null hypotheses of groups of synthetic run folders."""

import json
import re

import numpy as np
import pytest

from tests.command import run
from tests.runs import RIGHT, finding_of, write_predictions, write_run
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.rendering.text import markdown, text


def test_several_seeds(tmp_path):
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt", "rc") for seed in range(3)]
    finding = finding_of(runs)
    cell = finding.group.accuracies["lt", "lt"]
    assert cell.seeds == len(cell.per_seed) == 3
    assert cell.sd == pytest.approx(np.std(cell.per_seed, ddof=1))
    verdict = finding.verdicts[0].verdict
    assert verdict.match.seeds == (3, 3)
    assert "Seeds: LT on lt 3" in verdict.scope


def test_models_that_cannot_drop_patches_get_two_verdicts(tmp_path):
    runs = [write_run(tmp_path, path, s, can_drop_patches=False) for path in ("dense", "lt", "rc") for s in range(3)]
    finding = finding_of(runs)
    paper, sparse = finding.verdicts
    assert paper.name.startswith("the paper's verdict")
    assert (paper.verdict.match.minuend, paper.verdict.gap.subtrahend) == ("LT on dense", "RC on dense")
    assert paper.verdict.label == "loses"
    assert sparse.name.startswith("the sparse verdict")
    assert (sparse.verdict.match.minuend, sparse.verdict.gap.subtrahend) == ("LT on lt", "RC on lt")
    assert sparse.verdict.label == "wins"
    shown = text([finding], [])
    for sentence in (
        "dropped patches masked with the mean colour",
        "(tested on whole images): LT loses",
        "(tested on tickets): LT wins",
    ):
        assert sentence in shown


def test_published_weights_stand_in_for_dense_but_their_epochs_are_unknown(tmp_path):
    runs = [write_run(tmp_path, path) for path in ("weights", "lt", "rc")]
    (named,) = finding_of(runs).verdicts
    verdict = named.verdict
    assert verdict.match.subtrahend == "the published weights on dense"
    assert verdict.standing == "ahead of the published weights and RC in these runs"
    assert "is not known" in verdict.reasons[2]


@pytest.mark.parametrize("path", ["dense", "small"])
def test_small_proves_nothing_where_nothing_was_learnt(tmp_path, path):
    runs = [write_run(tmp_path, each) for each in RIGHT]
    write_predictions(tmp_path / f"{path}-seed0", "dense", 0.1, size=24 if path == "small" else 48)
    finding = finding_of(runs)
    _, small = finding.nulls
    assert small.label == "none"
    assert f"{path} on dense has learnt too little: its lower bound " in small.sentence
    shown = text([finding], []) + markdown([finding], [], None)
    assert "| none, one seed |" in shown
    assert small.sentence in text([finding], [])
    assert f"- `small` on its own input: none, one seed. {small.sentence}.\n" in shown
    assert "a smaller picture holds" not in shown


def shown_of(tmp_path, seeds, *options):
    """What `report` prints of runs with so many seeds by path, without a picture, and what report.json holds."""
    runs = [write_run(tmp_path, path, seed) for path, count in seeds.items() for seed in range(count)]
    shown = run("report", "--out", tmp_path / "out", *options, *runs).output
    (group,) = json.loads((tmp_path / "out" / "report.json").read_text())["groups"]
    return shown, group


@pytest.mark.parametrize(
    ("seeds", "todo"),
    [
        (
            {"dense": 1, "lt": 1, "rc": 1, "small": 1},
            "train `--path dense`, `--path lt` and `--path rc` with `--seed 1`, otherwise",
        ),
        ({"dense": 1, "lt": 2, "rc": 2, "small": 1}, "train `--path dense` with `--seed 1`, otherwise"),
    ],
)
def test_one_seed_of_a_path_gets_no_label_anywhere_and_is_told_what_would_decide(tmp_path, seeds, todo):
    shown, group = shown_of(tmp_path, seeds, "--html", "--gallery", 0)
    page, markdown = ((tmp_path / "out" / f"report.{kind}").read_text() for kind in ("html", "md"))
    for said in (shown, page, markdown):
        for word in ("LT wins", "LT loses", *(("LT beats", "LT trails") if seeds["rc"] == 1 else ())):
            assert word not in said
    for said in (shown, markdown):
        assert "LT ahead of dense and RC in these runs" in said
        assert "LT ahead of it in these runs" in said
        assert "no verdict" in said
        assert (
            "about 2 seeds per path, at even odds, if the differences found are the true ones and seeds differ by 0.3"
            in said
        )
        assert todo in said
        assert "e-1" not in said
    (verdict,) = group["verdicts"]
    assert (verdict["verdict"]["label"], verdict["verdict"]["needed"]["seeds"]) == ("ahead", 2)
    assert [null["label"] for null in group["nulls"]] == ["ahead" if seeds["rc"] == 1 else "beats", "ahead"]


@pytest.mark.parametrize("few", [False, True])
def test_one_seed_that_cannot_be_judged_has_no_word_anywhere_and_is_told_what_would_decide(tmp_path, few):
    runs = [write_run(tmp_path, path) for path in RIGHT]
    for path, columns in RIGHT.items():
        for on, share in columns.items():
            size, keys = 24 if path == "small" else 48, [f"{i:05d}" for i in range(20)] if few else None
            write_predictions(tmp_path / f"{path}-seed0", on, share if few else 0.2, size=size, keys=keys)
    shown = run("report", "--out", tmp_path / "out", "--html", "--gallery", 0, *runs).output
    page, record, markdown = ((tmp_path / "out" / f"report.{kind}").read_text() for kind in ("html", "json", "md"))
    why = "too few images" if few else "dense has learnt too little"
    assert f"verdict: none, one seed per path; {why}\n" in shown
    for said in (shown, page, markdown):
        assert f"none, one seed per path; {why}" in said
        assert re.search("none, one seed(<|\n| +none| \\|)", said)
    for said in (shown, page, markdown, record):
        assert "inconclusive" not in said
        first = "at least 30 images to test on" if few else "dense trained for longer (`--epochs`; it had 3 epochs)"
        assert (
            f"{first}, and 2 seeds per path: train `--path dense`, `--path lt` and `--path rc` with `--seed 1`, "
            "otherwise" in said
        )
        assert (
            f"what would decide: {first}, and 2 seeds per path: train `--path lt` and `--path small` with `--seed 1`"
            in said
        )


def test_two_seeds_of_every_path_get_a_label(tmp_path):
    shown, group = shown_of(tmp_path, {"dense": 2, "lt": 2, "rc": 2, "small": 2})
    assert group["verdicts"][0]["verdict"]["label"] in ("wins", "loses", "inconclusive")
    assert "in these runs" not in shown
    assert group["nulls"][0]["label"] == "beats"


def test_a_mask_seed_makes_no_second_seed(tmp_path):
    """Of dense and lt it changes nothing: such runs are one run twice. Of rc it changes the subsets alone."""
    runs = [write_run(tmp_path, path, seed) for path in ("dense", "lt") for seed in range(2)]
    runs += [write_run(tmp_path, "rc", name=f"rc-{mask}", mask_seed=mask) for mask in range(2)]
    verdict = finding_of(runs).verdicts[0].verdict
    assert verdict.gap.seeds == (2, 1)
    assert verdict.standing.endswith("ahead of RC in these runs")
    twice = write_run(tmp_path, "dense", name="twice", mask_seed=7)
    with pytest.raises(UserError, match="expected one dense run per seed"):
        finding_of([*runs, twice])
