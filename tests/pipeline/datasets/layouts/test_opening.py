import pytest

from tests.helpers import write_folder, write_parquet, write_tars
from vit_tickets.pipeline.datasets.layouts.opening import open_source
from vit_tickets.pipeline.geometry.images import decode
from vit_tickets.pipeline.system.errors import UserError


def test_splits_of_folders(tmp_path):
    write_folder(tmp_path / "train", {"cat": 2, "dog": 1})
    write_folder(tmp_path / "validation", {"cat": 1})
    found = open_source(str(tmp_path)).splits
    assert list(found) == ["train", "val"]
    assert found["train"].classes == ["cat", "dog"]
    assert [(sample.key, sample.label, sample.suffix) for sample in found["train"].read(range(3))] == [
        ("cat/cat_00", 0, "png"),
        ("cat/cat_01", 0, "png"),
        ("dog/dog_00", 1, "png"),
    ]


def test_splits_of_parquet_files(tmp_path):
    for name, labels in (("train-00000-of-00002", [0, 1]), ("train-00001-of-00002", [0]), ("test-00000-of-00001", [1])):
        write_parquet(tmp_path / f"{name}.parquet", labels)
    assert {name: len(split) for name, split in open_source(str(tmp_path)).splits.items()} == {"train": 3, "val": 1}


def test_splits_of_tars(tmp_path):
    write_tars(tmp_path / "train", {"a": [0, 2], "b": [1]})
    write_tars(tmp_path / "val", {"c": [0]})
    assert {name: len(split) for name, split in open_source(str(tmp_path)).splits.items()} == {"train": 3, "val": 1}


def test_a_single_file_is_one_split(tmp_path):
    write_parquet(tmp_path / "all.parquet", [0, 3])
    write_tars(tmp_path, {"a": [0, 1]})
    for name in ("all.parquet", "a.tar"):
        assert {split: len(part) for split, part in open_source(str(tmp_path / name)).splits.items()} == {"train": 2}


def test_test_is_val_only_where_there_is_no_other(tmp_path):
    for name in ("train", "test"):
        write_folder(tmp_path / name, {"cat": 1})
    assert list(open_source(str(tmp_path)).splits) == ["train", "val"]
    write_folder(tmp_path / "val", {"cat": 2})
    found = open_source(str(tmp_path)).splits
    assert list(found) == ["train", "val", "test"]
    assert len(found["val"]) == 2


def test_parquet_in_a_repositorys_data_folder(tmp_path):
    write_parquet(tmp_path / "data" / "train-0.parquet", [0])
    (tmp_path / "README.md").write_text("about")
    assert len(open_source(str(tmp_path)).splits["train"]) == 1


def test_parquet_files_with_and_without_a_split(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [0])
    write_parquet(tmp_path / "extra.parquet", [0])
    with pytest.raises(UserError, match="expected every Parquet file to be named"):
        open_source(str(tmp_path))


def test_what_is_no_source(tmp_path):
    with pytest.raises(UserError, match="no such source"):
        open_source(str(tmp_path / "absent"))
    with pytest.raises(UserError, match="found none in"):
        open_source(str(tmp_path))
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(UserError, match="expected an image folder, Parquet or WebDataset tars"):
        open_source(str(tmp_path / "a.zip"))


def test_real_parquet(shared):
    found = open_source(str(shared / "data" / "cifar10")).splits
    assert {name: len(split) for name, split in found.items()} == {"train": 50_000, "val": 10_000}
    assert found["train"].classes[:2] == ["airplane", "automobile"]
    sample = next(iter(found["val"].read(range(10_000))))
    assert sample.key == "00000000"
    assert decode(sample.data).size == (32, 32)


def test_real_photographs(shared):
    found = open_source(str(shared / "data" / "imagenet-samples")).splits
    assert list(found) == ["train"]
    assert len(found["train"]) == len(found["train"].classes) == 1000
    (sample,) = found["train"].read([7])
    assert min(decode(sample.data).size) == 256
