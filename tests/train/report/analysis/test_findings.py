"""Verdicts and null hypotheses of groups of synthetic run folders."""

import json

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
    (small,) = finding.nulls
    assert small.label == "inconclusive"
    assert f"{path} on dense is not above chance (10%)" in small.sentence
    shown = text([finding], []) + markdown([finding], [], None)
    assert "null hypothesis small: inconclusive" in shown
    assert "### Null hypothesis `small`: inconclusive" in shown
    assert "no ticket" not in shown


def shown_of(tmp_path, seeds, *options):
    """What `report` prints of runs with so many seeds by path, without a picture, and what report.json holds."""
    runs = [write_run(tmp_path, path, seed) for path, count in seeds.items() for seed in range(count)]
    shown = run("report", "--out", tmp_path / "out", *options, *runs).output
    (group,) = json.loads((tmp_path / "out" / "report.json").read_text())["groups"]
    return shown, group


@pytest.mark.parametrize(
    ("seeds", "todo"),
    [
        ({"dense": 1, "lt": 1, "rc": 1, "small": 1}, "train dense, lt and rc with `--seed 1`, evaluate"),
        ({"dense": 1, "lt": 2, "rc": 2, "small": 1}, "train dense with `--seed 1`, evaluate"),
    ],
)
def test_one_seed_of_a_path_gets_no_label_anywhere_and_is_told_what_would_decide(tmp_path, seeds, todo):
    shown, group = shown_of(tmp_path, seeds, "--html", "--gallery", 0)
    page, markdown = ((tmp_path / "out" / f"report.{kind}").read_text() for kind in ("html", "md"))
    for said in (shown, page, markdown):
        for word in ("LT wins", "LT loses", "LT beats", "LT trails"):
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
    assert [null["label"] for null in group["nulls"]] == ["ahead"]


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
