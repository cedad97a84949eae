"""train, evaluate and report as a user types them."""

import json
import os
import shutil
import signal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from tests.command import refused, run, words
from tests.fixtures.numbered import PLAIN
from tests.helpers import read_weights
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.train.evaluation import predict as evaluate
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.report.analysis.results import read_run

pytestmark = pytest.mark.process
SMALL = words("--epochs 2 --batch-size 8 --image-size 24 --patch-size 4 --workers 0 --device cpu", *PLAIN)


@pytest.fixture(scope="module")
def runs(numbered_data, numbered_tickets, tmp_path_factory):
    """One finished and evaluated run per path, by name."""
    root = tmp_path_factory.mktemp("runs")
    for path in ("dense", "lt", "rc", "small"):
        tickets = () if path == "dense" else ("--tickets", numbered_tickets)
        train = ("train", numbered_data, "--model", "deit_micro", "--path", path, *tickets, "--lr", 0.01, *SMALL)
        run(*train, "--out", root / path)
        run("evaluate", root / path, "--tickets", numbered_tickets, "--workers", 0)
    return {path: root / path for path in ("dense", "lt", "rc", "small")}


@pytest.fixture(scope="module")
def train_lt(numbered_data, numbered_tickets):
    """The command that made `runs["lt"]`, but for its folder."""
    train = ("train", numbered_data, "--model", "deit_micro", "--path", "lt", "--tickets", numbered_tickets)
    return (*train, "--lr", 0.01, *SMALL)


def test_a_run_says_what_it_is(runs):
    config = json.loads((runs["lt"] / "config.json").read_text())
    assert config["model"] == "deit_micro"
    assert config["path"] == "lt"
    assert (config["kept"], config["num_patches"], config["sparsity"]) == (18, 36, 0.5)
    assert config["recipe"]["lr"] == 0.01
    assert (config["grad_accum"], config["channels_last"], config["compile"]) == (1, False, False)
    assert json.loads((runs["small"] / "config.json").read_text())["image_size"] == 16
    assert json.loads((runs["dense"] / "config.json").read_text())["sparsity"] is None


def test_a_run_may_go_on_in_other_circumstances(runs, train_lt, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(runs["lt"], out)
    (out / "final.safetensors").unlink()
    run(*train_lt, "--out", out, "--resume", "--grad-accum", 8, "--channels-last")
    assert (out / "final.safetensors").read_bytes() == (runs["lt"] / "final.safetensors").read_bytes()


def test_predictions_are_in_the_datasets_order(runs, numbered_data):
    dataset = Dataset.open(numbered_data)
    samples = [sample for shard in dataset.shards("val") for sample in read_shard(dataset.path_of(shard))]
    for on in ("dense", "lt", "rc"):
        frame = pd.read_parquet(runs["rc"] / f"predictions-{on}.parquet")
        assert frame["key"].tolist() == [sample.key for sample in samples]
        assert frame["label"].tolist() == [sample.label for sample in samples]
        assert (frame["top5"].str[0] == frame["prediction"]).all()
        assert frame["confidence"].between(0.5, 1).all()
    assert not (runs["small"] / "predictions-lt.parquet").exists()


def test_predictions_are_the_models(runs, numbered_data, numbered_tickets):
    """Each of dense, lt and rc, worked out from the files alone."""
    from vit_tickets.pipeline.geometry.images import crop_resize, decode, to_array
    from vit_tickets.pipeline.manifests.manifest import Manifest

    manifest, dataset = Manifest.open(numbered_tickets), Dataset.open(numbered_data)
    model = build_model("deit_micro", 2, 24, 4, None).eval()
    model.network.load_state_dict(read_weights(str(runs["lt"] / "final.safetensors")))
    view = manifest.view("val")
    expected = {"dense": [], "lt": [], "rc": []}
    for shard in dataset.shards("val"):
        rows = manifest.read("val", shard).to_pylist()
        for sample, row in zip(read_shard(dataset.path_of(shard)), rows, strict=True):
            image = decode(sample.data)
            pixels = to_array(crop_resize(image, view.box(image.height, image.width), 24))
            x = (torch.from_numpy(pixels).float() / 255 - torch.tensor(view.mean).view(3, 1, 1)) / torch.tensor(
                view.std
            ).view(3, 1, 1)
            for on in expected:
                kept = None if on == "dense" else torch.tensor([row[on]]).long()
                with torch.no_grad():
                    expected[on].append(model(x[None], kept).softmax(1)[0].max().item())
    for on, confidences in expected.items():
        frame = pd.read_parquet(runs["lt"] / f"predictions-{on}.parquet")
        np.testing.assert_allclose(frame["confidence"], confidences, rtol=1e-4)


def test_predictions_say_where_they_are_from(runs):
    metadata = json.loads(pq.read_schema(runs["lt"] / "predictions-lt.parquet").metadata[b"vit_tickets"])
    assert (metadata["on"], metadata["view"], metadata["split"], metadata["samples"]) == ("lt", "center", "val", 13)
    assert metadata["tickets"]["kept"] == 18


def test_the_report_shows_the_matrix_and_a_verdict(runs, tmp_path):
    done = run("report", *runs.values(), "--out", tmp_path)
    assert "verdict" in done.stdout.lower()
    assert "verdict: none, one seed per path; too few images\n" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"report.md", "report.json"}


def test_one_epoch_of_one_step_is_singular(numbered_data, tmp_path):
    how = ("--model", "deit_micro", "--path", "dense", *SMALL, "--epochs", 1, "--batch-size", 1)
    train = ("train", numbered_data, *how, "--limit", 1, "--out", tmp_path / "run")
    said = run(*train).stdout
    assert ", 1 image (limited to 1), 1 epoch of 1 step of 1 (" in said
    assert "finished already, 1 epoch\n" in run(*train).stdout


def test_a_finished_run_is_left_as_it_is(runs, train_lt):
    before = (runs["lt"] / "final.safetensors").stat().st_mtime_ns
    done = run(*train_lt, "--out", runs["lt"])
    assert "finished already" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert (runs["lt"] / "final.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (("--seed", 3), "seed: expected 3, found 0"),
        (("--sparsity", 0.25), "sparsity: expected 0.25, found 0.5"),
        (("--model", "deit_tiny"), 'model: expected "deit_tiny_patch16_224", found "deit_micro"'),
        (("--smoothing", 0.3), "recipe.smoothing: expected 0.3, found 0.1"),
        (("--epochs", 3), "epochs: expected 3, found 2"),
        (("--repeats", 2), "recipe.repeats: expected 2, found 1"),
        (("--ema", 0.9), "recipe.ema: expected 0.9, found null"),
        (("--precision", "bf16"), 'precision: expected "bf16", found "fp32"'),
        (("--amp",), 'precision: expected "bf16", found "fp32"'),
        (("--limit", 40), "limit: expected 40, found null"),
    ],
)
@pytest.mark.parametrize(("finished", "again"), [(True, ()), (True, ("--resume",)), (False, ("--resume",))])
def test_what_differs_from_the_runs_own_settings_is_named(
    runs, train_lt, tmp_path, changed, difference, finished, again
):
    out = tmp_path / "run"
    shutil.copytree(runs["lt"], out)
    if not finished:
        (out / "final.safetensors").unlink()
    told = refused(*train_lt, "--out", out, *again, *changed)
    assert "holds another run" in told
    assert difference in told


def test_an_unfinished_run_needs_resume(runs, numbered_data, tmp_path):
    train = ("train", numbered_data, "--model", "deit_micro", "--path", "dense", *SMALL, "--out", tmp_path / "r")
    run(*train)
    (tmp_path / "r" / "final.safetensors").unlink()
    assert "pass --resume" in refused(*train)
    run(*train, "--resume")
    assert (tmp_path / "r" / "final.safetensors").exists()


def test_plain_weights_are_scored_without_a_run(runs, numbered_data, numbered_tickets, tmp_path):
    given = ("--dataset", numbered_data, "--model", "deit_micro", "--weights", runs["lt"] / "final.safetensors")
    done = run("evaluate", *given, "--tickets", numbered_tickets, "--workers", 0, "--out", tmp_path / "w")
    assert done.stdout.count("top-1") == 3
    for on in ("dense", "lt", "rc"):
        ours = pd.read_parquet(tmp_path / "w" / f"predictions-{on}.parquet")
        pd.testing.assert_frame_equal(ours, pd.read_parquet(runs["lt"] / f"predictions-{on}.parquet"))


def test_a_run_that_is_scored_elsewhere_is_still_that_run(runs, numbered_tickets, tmp_path):
    run("evaluate", runs["dense"], "--tickets", numbered_tickets, "--workers", 0, "--out", tmp_path / "scored")
    scored, own = read_run(str(tmp_path / "scored")), read_run(str(runs["dense"]))
    assert scored.finished
    assert (scored.seconds, scored.epochs, scored.config.environment) == (own.seconds, 2, own.config.environment)
    assert scored.predictions["lt"].keys.equals(own.predictions["lt"].keys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_that_is_stopped_says_so_in_one_line(runs, tmp_path, monkeypatch, number):
    monkeypatch.setattr(evaluate, "_summarised", lambda _: os.kill(os.getpid(), number))
    handler = signal.getsignal(number)
    done = run("evaluate", runs["lt"], "--workers", 0, "--out", tmp_path, code=1)
    told = f"Error: stopped by {number.name}; predictions are written at the end, the same command starts anew"
    assert done.stderr.splitlines()[-1] == told
    assert signal.getsignal(number) == handler
    assert not list(tmp_path.glob("predictions-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("train", "DATA", "--model", "deit_micro", "--path", "dense", "--labels", "MAPS", "--image-size", 24),
            "expected a model with logits for tokens for --labels, such as lvvit_small, found deit_micro",
        ),
        (("train", "DATA", "--model", "deit_micro", "--path", "lt"), "--path lt: expected --tickets MANIFEST"),
        (("train", "DATA", "--model", "deit_smal", "--path", "dense"), "found 'deit_smal'; did you mean deit_small?"),
        (("train", "/nowhere", "--model", "deit_micro", "--path", "dense"), "found no dataset.json in /nowhere"),
        (("train", "DATA", "--model", "deit_micro", "--path", "dense", "--image-size", 25, "--patch-size", 4), "25"),
        (("train", "DATA", "--model", "deit_micro", "--path", "dense", *SMALL, "--batch-size", 999), "found 62 images"),
        (("train", "DATA", "--model", "deit_micro", "--path", "lt", "--tickets", "DATA"), "found no ticket.json"),
        (("train", "DATA", "--model", "deit_micro", "--path", "dense", "--device", "tpu"), "found 'tpu'"),
        (("train", "DATA", "--model", "deit_micro", "--path", "dense", "--crop-scale", 5), "5.0 is not in the range"),
        (("train", "DATA", "--model", "deit_micro", "--path", "dense", "--lr", -1), "-1.0 is not in the range"),
        (("train", "DATA", "--model", "deit_micro", "--path", "dense", "--hflip", 3), "3.0 is not in the range"),
        (
            ("train", "DATA", "--model", "deit_micro", "--path", "dense", "--sparsity", 0, "--keep-rate", 1),
            "expected --sparsity, --keep-rate or --tokens, found --sparsity and --keep-rate",
        ),
        (
            ("train", "DATA", "--model", "deit_micro", "--path", "dense", *SMALL, "--grad-accum", 9),
            "expected --grad-accum of at most 8 (8 images per rank), found 9",
        ),
        (
            ("train", "DATA", "--model", "deit_micro", "--path", "dense", "--amp", "--precision", "fp32"),
            "--amp: expected --precision bf16 or none, found fp32",
        ),
        (("evaluate", "/nowhere"), "found nothing at /nowhere"),
        (("evaluate",), "expected either a RUN, or --dataset with --model, found neither"),
        (("report", "/nowhere"), "/nowhere"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(numbered_data, tmp_path, arguments, message):
    arguments = [numbered_data if argument == "DATA" else argument for argument in arguments]
    out = ("--out", tmp_path / "r") if arguments[0] == "train" else ()
    done = run(*arguments, *out, code=2)
    assert message in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1
    assert done.stderr.rstrip().endswith(told[0]), done.stderr


def test_occluded_models_train_and_evaluate(numbered_data, numbered_tickets, tmp_path):
    options = words("--model resnet18 --path rc --epochs 1 --batch-size 16 --image-size 48 --workers 0")
    done = run("train", numbered_data, *options, "--tickets", numbered_tickets, "--out", tmp_path / "r")
    assert "18 of 36 patches" in done.stdout
    assert json.loads((tmp_path / "r" / "config.json").read_text())["can_drop_patches"] is False
    run("evaluate", tmp_path / "r", "--workers", 0)
    assert len(pd.read_parquet(tmp_path / "r" / "predictions-lt.parquet")) == 13


@pytest.mark.slow  # 49 M parameters, and a checkpoint of three times that
def test_deit_medium_trains_on_the_tickets_of_another_network(numbered_data, numbered_tickets, tmp_path):
    train = ("train", numbered_data, "--model", "deit_m", "--path", "lt", "--tickets", numbered_tickets, *SMALL)
    run(*train, "--epochs", 1, "--limit", 8, "--image-size", 32, "--patch-size", 16, "--out", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model"], config["kept"], config["num_patches"]) == ("deit_medium", 2, 4)
    run("evaluate", tmp_path, "--workers", 0)
    assert pd.read_parquet(tmp_path / "predictions-lt.parquet")["confidence"].between(0.5, 1).all()
