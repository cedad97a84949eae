"""`--keep-epochs`: the trained weights before the first step of an epoch."""

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from tests.meddling import RECIPE
from tests.training import equal, in_pieces, run_of, trainer
from vit_tickets.pipeline.cli import main

pytestmark = pytest.mark.process


def test_kept_weights_are_the_raw_ones_whatever_is_evaluated_and_however_often_the_run_ends(numbered_data, tmp_path):
    recipe = RECIPE.override(epochs=3, limit=16, ema=0.9)
    passed = {"checkpoint_minutes": 0.0, "keep_epochs": (0, 2)}
    seen = []

    def made(name):
        run = trainer(numbered_data, tmp_path / name, recipe=recipe, passed=passed)
        keep = run._keep_weights

        def keep_and_note():
            keep()
            if not run.position.step:
                state = run.learner.model.network.state_dict()
                seen.append({key: value.clone() for key, value in state.items()})

        run._keep_weights = keep_and_note
        return run

    made("whole").fit()
    first = run_of(numbered_data, tmp_path / "other", recipe=recipe).build_model().network.state_dict()
    kept = {epoch: load_file(tmp_path / "whole" / f"epoch-000{epoch}.safetensors") for epoch in (0, 2)}
    assert equal(kept[0], first)
    assert equal(kept[2], seen[2])
    assert not equal(kept[2], load_file(tmp_path / "whole" / "final.safetensors"))
    assert not (tmp_path / "whole" / "epoch-0001.safetensors").exists()
    assert in_pieces(lambda _: made("pieces"), saves=2) > 2
    for epoch in kept:
        assert equal(kept[epoch], load_file(tmp_path / "pieces" / f"epoch-000{epoch}.safetensors"))


def test_epochs_that_the_run_has_not_or_is_past_are_refused_and_overwriting_deletes(numbered_data, tmp_path):
    def run(*words):
        given = f"train {numbered_data} --model deit_micro --path dense --epochs 2 --batch-size 8 --limit 16".split()
        given += ["--image-size", "24", "--patch-size", "4", "--device", "cpu", "--workers", "0"]
        return CliRunner().invoke(main, [*given, "--out", str(tmp_path / "run"), *words])

    refused = run("--keep-epochs", "0,2")
    assert refused.exit_code == 2
    assert "--keep-epochs 0,2: expected epochs of the run, 0 to 1, found 2" in refused.output
    assert run("--keep-epochs", "1").exit_code == 0
    assert run("--keep-epochs", "1").exit_code == 0  # finished already, with all that is asked for
    refused = run("--keep-epochs", "0,1")
    assert refused.exit_code == 2
    assert "epoch-0000.safetensors of a run that is past it, found none" in refused.output
    assert run("--keep-epochs", "x").exit_code == 2
    assert run("--overwrite", "--keep-epochs", "0").exit_code == 0
    assert [path.name for path in sorted((tmp_path / "run").glob("epoch-*"))] == ["epoch-0000.safetensors"]
