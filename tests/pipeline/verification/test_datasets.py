"""Findings about datasets: what lies on disk against the index."""

import shutil

import pytest

from tests.fixtures.findings import edit_json, the_only
from tests.helpers import png
from vit_tickets.pipeline.datasets.shards import Dataset, Sample, read_shard, write_shard
from vit_tickets.pipeline.verification.datasets import verify_dataset


def test_a_true_one_has_no_findings(packed):
    assert list(verify_dataset(packed)) == []


def test_missing_tar(dataset):
    (dataset / "train" / "000001.tar").unlink()
    the_only(verify_dataset(str(dataset)), "train/000001.tar", "found no such file")


def test_surplus_tar(dataset):
    shutil.copy(dataset / "val" / "000000.tar", dataset / "val" / "000001.tar")
    the_only(verify_dataset(str(dataset)), "val/000001.tar: expected only tars that dataset.json lists")


def test_hidden_and_other_files_do_not_matter(dataset):
    (dataset / "train" / ".000001.tar.1234.part").write_bytes(b"left over")
    (dataset / "train" / "notes.txt").write_bytes(b"")
    assert list(verify_dataset(str(dataset))) == []


def test_another_content_of_the_same_length(dataset):
    path = dataset / "train" / "000000.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    the_only(verify_dataset(str(dataset)), "train/000000.tar: expected SHA-256", "found")


def test_a_cut_tar(dataset):
    path = dataset / "train" / "000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    found = list(verify_dataset(str(dataset)))
    assert len(found) == 2
    assert "train/000000.tar: expected" in found[0]
    assert "found 3000" in found[0]
    assert "expected a WebDataset shard" in found[1]


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("bytes", 1, "expected 1 bytes as in dataset.json, found"),
        ("sha256", "0" * 64, "expected SHA-256 000000000000..."),
        ("sha256", "short", "expected 64 hexadecimal digits, found 'short'"),
        ("samples", "8", "samples: expected a count, found '8'"),
        ("samples", -1, "samples: expected a count, found -1"),
        ("bytes", None, "bytes: expected a count, found None"),
        ("file", "../outside.tar", "expected a path below the dataset, found '../outside.tar'"),
        ("file", "/etc/passwd", "expected a path below the dataset, found '/etc/passwd'"),
        ("file", 7, "expected a path below the dataset, found 7"),
    ],
)
def test_a_wrong_index_entry(dataset, entry, value, message):
    def change(record):
        record["splits"]["train"]["shards"][0][entry] = value

    edit_json(dataset / "dataset.json", change)
    the_only(verify_dataset(str(dataset)), message)


def test_a_wrong_total(dataset):
    edit_json(dataset / "dataset.json", lambda record: record["splits"]["val"].update(samples=99))
    the_only(verify_dataset(str(dataset)), "val: expected 7 samples", "found 99")


def test_a_wrong_count(dataset):
    def change(record):
        record["splits"]["val"]["shards"][0]["samples"] = record["splits"]["val"]["samples"] = 6

    edit_json(dataset / "dataset.json", change)
    the_only(verify_dataset(str(dataset)), "val/000000.tar: expected 6 samples as in dataset.json, found 7")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("cat/new", 2, png(0), "png"), "cat/new.cls: expected a class index in 0..1, found 2"),
        (Sample("cat/new", -1, png(0), "png"), "expected a class index in 0..1, found -1"),
        (Sample("cat/new", "cat", png(0), "png"), "expected a class index in 0..1, found cat"),
        (Sample("cat/new", 0, b"about", "txt"), "cat/new: expected one image member, found cls, txt"),
        (None, "expected a key once in the split, found it a second time"),
    ],
)
def test_a_wrong_sample(dataset, sample, message):
    opened = Dataset.open(str(dataset))
    samples = list(read_shard(opened.path_of(opened.splits["val"][0])))
    if sample is None:
        first, second = (list(read_shard(opened.path_of(shard))) for shard in opened.splits["train"][:2])
        opened.splits["train"][1] = write_shard(str(dataset), "train/000001.tar", [first[0], *second])
    else:
        opened.splits["val"][0] = write_shard(str(dataset), "val/000000.tar", [sample, *samples])
    opened.save()
    the_only(verify_dataset(str(dataset)), message)


def test_findings_of_one_kind_are_counted(dataset):
    opened = Dataset.open(str(dataset))
    samples = [Sample(str(number), 5, png(number), "png") for number in range(9)]
    opened.splits["val"][0] = write_shard(str(dataset), "val/000000.tar", samples)
    opened.save()
    the_only(verify_dataset(str(dataset)), "0.cls: expected a class index", "(and 8 more like it)")
