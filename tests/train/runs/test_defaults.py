"""Defaults of `train` follow the images and their number, are told, and are recorded."""

import json

import pytest

from tests.command import run
from tests.helpers import write_folder
from vit_tickets.pipeline.datasets.left_out import record_undecodable
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.train.loop.trainer import Trainer


def dataset(tmp_path, images, side):
    write_folder(
        tmp_path / "source" / "train", {"cat": images // 2, "dog": images - images // 2}, height=side, width=side
    )
    write_folder(tmp_path / "source" / "val", {"cat": 4, "dog": 4}, first=10_000, height=side, width=side)
    pack(str(tmp_path / "source"), str(tmp_path / "data"), progress=False)
    return str(tmp_path / "data")


def begun(monkeypatch, data, out, *options, model="deit_micro"):
    """(config.json, stderr) of a run that ends before its first step."""
    monkeypatch.setattr(Trainer, "fit", lambda self: self.save())
    command = ("train", data, "--model", model, "--path", "dense", "--workers", 0, "--device", "cpu", "--out", out)
    done = run(*command, *options)
    return json.loads((out / "config.json").read_text()), done.stderr


def test_small_images_keep_their_size_and_few_images_get_batches_that_fit(tmp_path, monkeypatch):
    data, out = dataset(tmp_path, 330, 32), tmp_path / "run"
    config, told = begun(monkeypatch, data, out)
    sizes = {name: config[name] for name in ("image_size", "patch_size", "batch_size")}
    assert sizes == {"image_size": 32, "patch_size": 4, "batch_size": 16}
    assert config["recipe"]["name"] == "cifar-deit"
    assert "follow the 330 images of data: 32 px, patches of 4 px, batches of 16, recipe cifar-deit" in told


@pytest.mark.parametrize(("model", "size"), [("deit_micro", (64, 8)), ("resnet20", (32, 4)), ("lvvit_micro", (64, 8))])
def test_images_of_64_pixels(tmp_path, monkeypatch, model, size):
    config, _ = begun(monkeypatch, dataset(tmp_path, 40, 64), tmp_path / "run", model=model)
    assert (config["image_size"], config["patch_size"]) == size
    assert config["batch_size"] == 8


def test_what_is_given_stays(tmp_path, monkeypatch):
    data = dataset(tmp_path, 60, 32)
    config, _ = begun(monkeypatch, data, tmp_path / "a", "--image-size", 48, "--batch-size", 20)
    assert (config["image_size"], config["batch_size"], config["recipe"]["name"]) == (48, 20, "deit")
    config, _ = begun(monkeypatch, data, tmp_path / "b", "--recipe", "deit", "--batch-size", 20)
    assert (config["image_size"], config["recipe"]["name"]) == (48, "deit")


def test_few_steps_are_warned_of_with_a_batch_that_fits(tmp_path, monkeypatch):
    told = begun(monkeypatch, dataset(tmp_path, 330, 32), tmp_path / "run", "--batch-size", 128)[1]
    assert "note: an epoch has 2 steps of 128 images, fewer than 20; --batch-size 16 makes 20" in told


def test_images_that_cannot_be_decoded_are_told_before_the_run_stops_at_one(tmp_path, monkeypatch):
    data = dataset(tmp_path, 40, 32)
    record_undecodable(f"{data}/train", ["a/1", "b/2"])
    told = begun(monkeypatch, data, tmp_path / "a")[1]
    assert f"note: 2 images of train (listed in {data}/train/undecodable.txt) cannot be decoded" in told
    assert "--skip-errors leaves them out" in told
    assert "cannot be decoded" not in begun(monkeypatch, data, tmp_path / "b", "--skip-errors")[1]


def test_pixels_that_the_images_do_not_have_are_warned_of(tmp_path, monkeypatch):
    data = dataset(tmp_path, 40, 32)
    told = begun(monkeypatch, data, tmp_path / "a", "--image-size", 48, "--patch-size", 4)[1]
    assert "note: the images are enlarged to 48 px from 32 px (median of the shorter sides of the first 64)" in told
    for out, given in (("b", ("--image-size", 32, "--patch-size", 4)), ("c", ())):
        assert "enlarged" not in begun(monkeypatch, data, tmp_path / out, *given)[1]


def test_an_unfinished_run_of_older_defaults_resumes_with_its_own(tmp_path, monkeypatch):
    data, out = dataset(tmp_path, 330, 32), tmp_path / "run"
    older = ("--recipe", "deit", "--image-size", 48, "--patch-size", 8, "--batch-size", 256, "--epochs", 2)
    before, _ = begun(monkeypatch, data, out, *older)
    record = json.loads((out / "config.json").read_text())
    record["recipe"] |= {"image_size": None, "patch_size": None}  # as the family's recipe had them
    (out / "config.json").write_text(json.dumps(record))
    after, _ = begun(monkeypatch, data, out, "--batch-size", 256, "--epochs", 2, "--resume")
    assert after == record
    assert (after["image_size"], before["image_size"]) == (48, 48)


def test_a_batch_that_is_too_large_counts_all_images(tmp_path):
    done = run(
        *("train", dataset(tmp_path, 31, 32), "--model", "deit_micro", "--path", "dense", "--device", "cpu"),
        *("--batch-size", 64, "--workers", 0, "--out", tmp_path / "run"),
        code=2,
    )
    assert "found 31 images to train on" in done.stderr
