"""An index that lies elsewhere than its tars, which are in a place that is read-only."""

import json

import pytest

from tests.command import refused, run, words
from tests.helpers import contents, write_tars
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard


@pytest.fixture
def tars(tmp_path):
    write_tars(tmp_path / "mount" / "birds" / "train", {"a": [0, 1], "b": [1]})
    write_tars(tmp_path / "mount" / "birds" / "val", {"c": [1, 0]})
    return tmp_path / "mount" / "birds"


def test_an_index_elsewhere_is_a_dataset(tars, tmp_path, monkeypatch):
    before = contents(tars)
    index = tmp_path / "mine" / "birds.json"
    monkeypatch.chdir(tars.parent)
    shown = run("pack", "birds", "--index", index).output
    assert "train has 3 images in 2 shards, 2 classes" in shown
    monkeypatch.chdir(tmp_path)
    assert contents(tars) == before, "nothing is written beside the tars"
    dataset = Dataset.open(str(index))
    assert (dataset.name, list(dataset.splits)) == ("birds", ["train", "val"])
    samples = [sample.key for shard in dataset.shards("train") for sample in read_shard(dataset.path_of(shard))]
    assert samples == ["a-0", "a-1", "b-0"]
    assert "train 3 images, val 2 images" in run("verify", index).output
    tars.joinpath("train", "d.tar").write_bytes(b"")
    assert "train/d.tar: expected only tars that dataset.json lists" in run("verify", index, code=1).output


def test_generate_and_train_take_an_index(tars, tmp_path, selector_run):
    index = tmp_path / "birds.json"
    run("pack", tars, "--index", index)
    out = tmp_path / "tickets"
    run("generate", index, "--selector", selector_run, "--engine", "local", "--out", out)
    run("verify", out, "--dataset", index)
    options = words("--model deit_micro --image-size 24 --patch-size 8 --epochs 1 --batch-size 3 --workers 0 --path lt")
    run("train", index, *options, "--tickets", out, "--out", tmp_path / "run")
    run("evaluate", tmp_path / "run")


def test_what_is_no_index_is_told(tars, tmp_path):
    index = tmp_path / "birds.json"
    assert "expected the name of a .json file, found" in refused("pack", tars, "--index", tmp_path / "birds")
    assert "--in-place: expected no DATASET" in refused("pack", tars, tmp_path / "out", "--index", index)
    run("pack", tars, "--index", index)
    assert "is there already; pass --overwrite" in refused("pack", tars, "--index", index)
    run("pack", tars, "--index", index, "--overwrite")
    record = json.loads(index.read_text())
    assert record.pop("root") == str(tars)
    index.write_text(json.dumps(record))
    assert "expected its root, the folder of the tars, found none" in refused("verify", index)
    (tmp_path / "other.json").write_text("{}")
    assert "found no version" in refused("verify", tmp_path / "other.json")
