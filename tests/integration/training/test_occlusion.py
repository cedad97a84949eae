"""Models that are shown something in place of dropped patches: chosen with a run, stored, and used to evaluate it."""

import json
import shutil

import pandas as pd
import pytest
import torch

from tests.command import refused, run, words
from tests.fixtures.numbered import PLAIN
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.evaluation.scoring import open_run
from vit_tickets.train.recipes.presets import DIGITS, LVVIT
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve

pytestmark = pytest.mark.process
BLACK = [(0 - 0.5) / 0.5] * 3  # by the mean and deviation that timm gives for test_convnext


def without(config, *names):
    """config.json of a run that is older than these settings."""
    kept = {name: value for name, value in config.items() if name not in names}
    return kept | {"recipe": {name: value for name, value in kept["recipe"].items() if name not in names}}


@pytest.fixture(scope="module")
def train(numbered_data, numbered_tickets):
    """The command that trains a convolutional network, named as in timm, for one step on tickets."""
    options = "--model test_convnext --path lt --image-size 48 --patch-size 8 --epochs 1 --limit 8 --batch-size 8"
    circumstances = "--workers 0 --device cpu --recipe digits"
    return ("train", numbered_data, *words(f"{options} {circumstances}"), "--tickets", numbered_tickets, *PLAIN)


@pytest.fixture(scope="module")
def black(train, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs") / "black"
    run(*train, "--occlude", "black", "--out", root)
    return root


def test_a_run_is_evaluated_with_what_it_was_trained_on(black, tmp_path):
    config = json.loads((black / "config.json").read_text())
    assert (config["model"], config["can_drop_patches"]) == ("test_convnext", False)
    assert (config["occlude"], config["stem_occlusion"]) == ("black", False)
    assert open_run(str(black), None, "val", None).model.fill.flatten().tolist() == pytest.approx(BLACK)
    run("evaluate", black, "--on", "dense,lt", "--workers", 0)

    older = tmp_path / "older"
    older.mkdir()
    (older / "config.json").write_text(json.dumps(without(config, "occlude", "stem_occlusion", "mix_token")))
    (older / "final.safetensors").write_bytes((black / "final.safetensors").read_bytes())
    assert not open_run(str(older), None, "val", None).model.fill.any()
    run("evaluate", older, "--on", "dense,lt", "--workers", 0)
    scores = {
        (run, on): pd.read_parquet(run / f"predictions-{on}.parquet")["confidence"]
        for run in (black, older)
        for on in ("dense", "lt")
    }
    assert (scores[black, "dense"] == scores[older, "dense"]).all()
    assert not (scores[black, "lt"] == scores[older, "lt"]).all()


def test_a_run_from_before_these_settings_is_the_same_run(train, black, tmp_path):
    older = shutil.copytree(black, tmp_path / "older")
    config = json.loads((older / "config.json").read_text())
    new = ("stem_occlusion", "mix_token", "class_weight", "token_weight")
    (older / "config.json").write_text(json.dumps(without(config, *new)))
    assert "finished already" in run(*train, "--occlude", "black", "--out", older).output
    assert "holds another run: occlude" in refused(*train, "--out", older)


def resolved(data, model, recipe=DIGITS, path="dense", **options):
    return resolve(Dataset.open(data), recipe, Request(model=model, path=path, **options))


def test_lv_vit_has_its_stem_occluded_where_asked(numbered_data, numbered_tickets):
    options = {"tickets": numbered_tickets, "stem_occlusion": True, "occlude": "black"}
    run = resolved(numbered_data, "lvvit_s", LVVIT.override(patch_size=4), "lt", **options)
    assert (run.config.occlude, run.config.stem_occlusion, run.config.can_drop_patches) == ("black", True, True)
    assert (run.config.image_size, run.grid, run.kept, run.recipe.mix_token) == (24, 6, 18, 1.0)
    assert run.root.endswith("-lvvit_small-lt-s0.5-black-stem-occlusion-seed0")
    with torch.device("meta"):
        assert run.build_model().stem_occlusion


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("deit_micro", {"occlude": "black"}, "--occlude: expected a model that cannot drop patches, found deit_micro$"),
        ("lvvit_s", {"occlude": "mean"}, "cannot drop patches, found lvvit_s without --stem-occlusion$"),
        ("deit_micro", {"stem_occlusion": True}, "--stem-occlusion: expected LV-ViT, .*, found deit_micro"),
        ("resnet20", {"stem_occlusion": True}, "--stem-occlusion: expected LV-ViT, .*, found resnet20"),
        ("deit_micro", {"recipe": LVVIT}, "logits for tokens for --mix-token, such as lvvit_small, found deit_micro"),
    ],
)
def test_options_that_a_model_has_no_use_for_are_refused(numbered_data, model, options, message):
    with pytest.raises(UserError, match=message):
        resolved(numbered_data, model, **({"recipe": DIGITS} | options))


def test_a_selector_in_the_making_mixes_no_tokens(numbered_data):
    expected = "--mix-token: expected another path, as selector mixes no tokens, found selector"
    with pytest.raises(UserError, match=expected):
        resolved(numbered_data, "lvvit_s", LVVIT, "selector", init="weights")
