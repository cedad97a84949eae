"""Verdicts and null hypotheses of groups of synthetic run folders."""

import numpy as np
import pytest

from tests.runs import RIGHT, finding_of, write_predictions, write_run
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
    runs = [write_run(tmp_path, path, can_drop_patches=False) for path in ("dense", "lt", "rc")]
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
    verdict = finding_of(runs).verdicts[0].verdict
    assert verdict.match.subtrahend == "the published weights on dense"
    assert verdict.label == "inconclusive"
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
