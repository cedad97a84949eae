"""Accuracy on val says which view it is of."""

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from tests.command import run
from vit_tickets.pipeline.system import bars
from vit_tickets.train.loop import validation
from vit_tickets.train.loop.trainer import Trainer

SHORT = ("--model", "deit_micro", "--epochs", 1, "--batch-size", 8, "--workers", 0, "--device", "cpu", "--skip-errors")
OWN = "its own view, center 0.5; `evaluate --tickets` scores it on a manifest's, to be compared"


@pytest.mark.parametrize(
    ("with_tickets", "view", "told"), [(False, "own", OWN), (True, "manifest", "the manifest's view")]
)
def test_metrics_and_the_last_line_name_the_view(packed, tickets, tmp_path, with_tickets, view, told):
    given = ("--tickets", tickets) if with_tickets else ()
    done = run("train", packed, "--path", "dense", "--crop-pct", 0.5, *SHORT, *given, "--out", tmp_path / "run")
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert str(line.get("val_view")).startswith(f"{view}: center")
    assert (line["val_view"] == "own: center 0.5") is not with_tickets
    assert f"% top-1 on val ({told}" in done.stdout


@pytest.mark.parametrize(("weights", "path"), [(None, "dense"), ("gmp", "dense"), ("gmp", "rc")])
def test_runs_with_fewer_weights_on_whole_images_need_no_manifest(weights, path):
    trainer: Any = SimpleNamespace(
        val_top1=14.375,
        validation=SimpleNamespace(view=lambda name: "own: center 1"),
        run=SimpleNamespace(config=SimpleNamespace(weights=weights), path=path),
    )
    told = Trainer.result(trainer)
    assert told.startswith(", 14.38% top-1 on val (its own view, center 1")
    assert ("manifest" in told) is not (weights == "gmp" and path == "dense")


def test_a_long_pass_over_val_shows_how_far_it_is(packed, tmp_path, monkeypatch):
    shown = {}
    for seconds in (0.0, 60.0):
        monkeypatch.setattr(bars, "IN_A_FILE_S", seconds)
        monkeypatch.setattr(validation, "SHOWN_AFTER_S", seconds)
        shown[seconds] = run("train", packed, "--path", "dense", *SHORT, "--out", tmp_path / f"run{seconds}").stderr
    assert re.search(r"val: .*img/s\]", shown[0.0])
    assert "val:" not in shown[60.0]
