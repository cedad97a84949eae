"""`evaluate --masks`: a run under masks, without training; against a run whose weights are 0 there in its file."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.runs.predictions import read_predictions
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.train.lotus.plan import is_masked

pytestmark = pytest.mark.process


def said(*words, code=0):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_a_run_under_masks_is_one_with_zeros_in_its_file(finished, weights_of, tmp_path):
    run, masks, out = finished("whole"), str(tmp_path / "masks"), str(tmp_path / "scores")
    said("prune", run, "--weight-sparsity", 0.6, "--out", masks)
    before = weights_of(run)
    said("evaluate", run, "--masks", masks, "--on", "dense", "--out", out, "--workers", 0)
    zeroed = dict(before)
    for name, mask in tickets.read(masks).masks().items():
        zeroed[name] = np.where(mask, before[name], np.float32(0))
    shutil.copytree(run, tmp_path / "zeroed")
    save_file(zeroed, tmp_path / "zeroed" / "final.safetensors")
    said("evaluate", tmp_path / "zeroed", "--on", "dense", "--workers", 0)
    found, expected = ((folder, "predictions-dense.parquet") for folder in (out, str(tmp_path / "zeroed")))
    first, second = (read_predictions("/".join(place)) for place in (found, expected))
    assert first.provenance == second.provenance  # the same weights by their SHA-256
    assert first.keys.equals(second.keys)
    assert (first.correct == second.correct).all()
    assert (open("/".join(found), "rb").read()) == open("/".join(expected), "rb").read()  # noqa: SIM115
    recorded = json.loads((tmp_path / "scores" / "config.json").read_text())
    assert recorded["run"] == run
    assert recorded["weights"]["start"] == "masked"
    assert not (tmp_path / "whole" / "predictions-dense.parquet").exists()
    assert all((weights_of(run)[name] == before[name]).all() for name in before)
    assert is_masked(run, out, masks, ("dense",))
    assert not is_masked(run, out, masks, ("dense", "lt"))
    assert not is_masked(str(tmp_path / "zeroed"), out, masks, ("dense",)), "of other weights"
    said("prune", run, "--weight-sparsity", 0.5, "--out", masks, "--overwrite")
    assert not is_masked(run, out, masks, ("dense",)), "of other masks"


def test_masks_that_are_refused(finished, tmp_path):
    run, other = finished("whole"), finished("other", "resnet20")
    said("prune", run, "--weight-sparsity", 0.6, "--out", tmp_path / "masks")
    out = ("--out", tmp_path / "scores")
    for words, message in (
        ((run, "--masks", tmp_path / "masks"), "--masks: expected --out for the predictions"),
        ((run, "--masks", tmp_path / "none", *out), "expected a weight ticket, found no ticket.json"),
        ((other, "--masks", tmp_path / "masks", *out), "expected masks of resnet20, found deit_micro"),
        (
            ("--dataset", tmp_path, "--model", "deit_micro", "--masks", tmp_path / "masks", *out),
            "--masks: expected a RUN, whose weights are masked, found --dataset",
        ),
    ):
        assert message in said("evaluate", *words, code=2)
