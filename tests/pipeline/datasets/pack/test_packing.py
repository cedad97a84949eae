import hashlib
from pathlib import Path

import pytest
import webdataset as wds
from PIL import Image

from tests.helpers import encode, png, write_folder, write_parquet, write_tars
from vit_tickets.pipeline.datasets.left_out import undecodable
from vit_tickets.pipeline.datasets.pack import pack, pack_in_place
from vit_tickets.pipeline.datasets.shards import Dataset, Sample, read_shard, write_shard
from vit_tickets.pipeline.geometry.images import decode
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.datasets import verify_dataset


def contents(root) -> dict[str, str]:
    """SHA-256 of every file below `root`, hidden ones too."""
    paths = sorted(path for path in Path(root).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def all_samples(dataset: Dataset, split: str) -> list[Sample]:
    return [sample for shard in dataset.shards(split) for sample in read_shard(dataset.path_of(shard))]


def test_a_folder_becomes_a_dataset(packed, small_source):
    dataset = Dataset.open(packed)
    assert dataset.name == "small"
    assert dataset.classes == ["cat", "dog"]
    assert [shard.samples for shard in dataset.shards("train")] == [8, 8, 7]
    assert [shard.file for shard in dataset.shards("train")] == [f"train/00000{i}.tar" for i in range(3)]
    assert list(verify_dataset(packed)) == []
    for split in ("train", "val"):
        samples = all_samples(dataset, split)
        expected = {
            str(path.relative_to(small_source / split).with_suffix("")): path
            for path in (small_source / split).rglob("*")
            if path.is_file()
        }
        assert {sample.key for sample in samples} == set(expected)
        for sample in samples:
            assert sample.data == expected[sample.key].read_bytes(), "bytes are packed as they are, decodable or not"
            assert dataset.classes[sample.label] == sample.key.split("/")[0]


def test_the_order_mixes_classes_and_is_fixed(tmp_path):
    write_folder(tmp_path / "a", {"cat": 40, "dog": 40}, height=2, width=2)
    dataset = pack(str(tmp_path / "a"), str(tmp_path / "out"), progress=False).dataset
    labels = [sample.label for sample in all_samples(dataset, "train")]
    assert labels != sorted(labels)
    assert 10 <= sum(labels[:40]) <= 30, "the first half holds both classes"


def test_same_input_same_bytes(small_source, packed, tmp_path):
    again = str(tmp_path / "small")
    pack(str(small_source), again, shard_size=8, progress=False)
    assert contents(again) == contents(packed)


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_spilling_changes_nothing(kind, tmp_path, monkeypatch):
    if kind == "parquet":
        write_parquet(tmp_path / "in" / "train-0.parquet", [0, 1, 2] * 9, ["ant", "bee", "cow"])
    else:
        write_tars(tmp_path / "in" / "train", {"a": [0, 1, 2] * 5, "b": [0, 1] * 6})
    roots = [str(tmp_path / name / "same") for name in ("memory", "spilled")]
    pack(str(tmp_path / "in"), roots[0], shard_size=4, progress=False)
    monkeypatch.setattr("vit_tickets.pipeline.datasets.pack.spill.SPILL_BYTES", 1500)
    pack(str(tmp_path / "in"), roots[1], shard_size=4, progress=False)
    assert contents(roots[0]) == contents(roots[1])
    assert len(all_samples(Dataset.open(roots[1]), "train")) == 27


def test_a_failed_packing_leaves_no_index_and_no_spill(tmp_path):
    write_parquet(tmp_path / "a.parquet", [0, 1, None])
    with pytest.raises(UserError, match="found none in row 2"):
        pack(str(tmp_path / "a.parquet"), str(tmp_path / "out"), progress=False)
    assert contents(tmp_path / "out") == {}


def test_parquet_labels_outside_the_classes_are_refused(tmp_path):
    write_parquet(tmp_path / "a.parquet", [0, -1], ["ant", "bee"])
    with pytest.raises(UserError, match=r"a\.parquet: expected class indices in 0\.\.1048575, found -1"):
        pack(str(tmp_path / "a.parquet"), str(tmp_path / "out"), progress=False)
    write_parquet(tmp_path / "b.parquet", [0, 2], ["ant", "bee"])
    with pytest.raises(UserError, match=r"expected a label in 0..1, found 2"):
        pack(str(tmp_path / "b.parquet"), str(tmp_path / "out"), progress=False)


def test_parquet_becomes_a_dataset(tmp_path):
    write_parquet(tmp_path / "in" / "train-0.parquet", [0, 1, 1], ["ant", "bee"])
    write_parquet(tmp_path / "in" / "test-0.parquet", [1], ["ant", "bee"])
    dataset = pack(str(tmp_path / "in"), str(tmp_path / "out"), progress=False).dataset
    assert dataset.classes == ["ant", "bee"]
    assert {s.key: s.label for s in all_samples(dataset, "train")} == {"00000000": 0, "00000001": 1, "00000002": 1}
    assert {s.key: s.suffix for s in all_samples(dataset, "val")} == {"00000000": "png"}


def test_webdataset_reads_the_same_samples(packed):
    dataset = Dataset.open(packed)
    urls = [dataset.path_of(shard) for shard in dataset.shards("val")]
    theirs = list(wds.WebDataset(urls, shardshuffle=False))
    ours = all_samples(dataset, "val")
    assert [sample["__key__"] for sample in theirs] == [sample.key for sample in ours]
    assert [sample["png"] for sample in theirs] == [sample.data for sample in ours]
    assert [int(sample["cls"]) for sample in theirs] == [sample.label for sample in ours]


def test_a_split_is_added_to_what_is_there(tmp_path):
    write_folder(tmp_path / "a", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "b", {"dog": 1})
    root = str(tmp_path / "out")
    pack(str(tmp_path / "a"), root, progress=False)
    dataset = pack(str(tmp_path / "b"), root, split="val", progress=False).dataset
    assert dataset.classes == ["cat", "dog"]
    assert dataset.samples("train") == 4
    assert [sample.label for sample in all_samples(dataset, "val")] == [1], "dog is class 1 in the dataset"
    assert list(verify_dataset(root)) == []
    with pytest.raises(UserError, match="has split val already; pass --overwrite"):
        pack(str(tmp_path / "b"), root, split="val", progress=False)


def test_a_second_split_may_not_bring_new_classes(tmp_path):
    write_folder(tmp_path / "a" / "train", {"cat": 1})
    write_folder(tmp_path / "a" / "val", {"cat": 1, "emu": 1})
    with pytest.raises(UserError, match=r"split val: expected only classes of train \(cat\), found 'emu'"):
        pack(str(tmp_path / "a"), str(tmp_path / "out"), progress=False)
    assert not files.exists(str(tmp_path / "out" / "dataset.json"))


def test_one_split_of_a_source(small_source, tmp_path):
    dataset = pack(str(small_source), str(tmp_path / "out"), split="val", progress=False).dataset
    assert list(dataset.splits) == ["val"]
    with pytest.raises(UserError, match="expected a split 'test', found train, val"):
        pack(str(small_source), str(tmp_path / "out"), split="test", progress=False)


def test_repacking_removes_tars_of_a_longer_packing(tmp_path):
    write_folder(tmp_path / "a", {"cat": 5})
    root = str(tmp_path / "out")
    pack(str(tmp_path / "a"), root, shard_size=2, progress=False)
    pack(str(tmp_path / "a"), root, shard_size=3, overwrite=True, progress=False)
    assert files.list_names(str(tmp_path / "out" / "train")) == ["000000.tar", "000001.tar"]
    assert list(verify_dataset(root)) == []


def test_shorter_side_shrinks_what_is_larger_and_can_be_decoded(tmp_path):
    folder = write_folder(tmp_path / "a", {"cat": 1}, height=60, width=40) / "cat"
    (folder / "small.png").write_bytes(png(1, 20, 30))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing more")
    (folder / "empty.png").write_bytes(b"")
    result = pack(str(tmp_path / "a"), str(tmp_path / "out"), shorter_side=24, progress=False)
    samples = {sample.key: sample for sample in all_samples(result.dataset, "train")}
    assert len(samples) == 4
    assert decode(samples["cat/cat_00"].data).size == (24, 36)
    assert samples["cat/cat_00"].suffix == "jpg"
    assert samples["cat/small"].data == png(1, 20, 30)
    assert samples["cat/broken"].data == b"\xff\xd8\xff nothing more"
    assert sorted(result.unshrunk) == ["cat/broken", "cat/empty"]
    assert str(result.lines[0]).endswith("nothing left out; 2 images cannot be decoded, packed as found")
    assert sorted((tmp_path / "out/train/undecodable.txt").read_text().splitlines()) == ["cat/broken", "cat/empty"]
    assert len(undecodable(str(tmp_path / "out/train"))) == 2
    assert list(verify_dataset(result.dataset.root)) == []
    for name in ("broken.jpg", "empty.png"):
        (folder / name).unlink()
    again = pack(str(tmp_path / "a"), result.dataset.root, shorter_side=24, overwrite=True, progress=False)
    assert (again.unshrunk, undecodable(str(tmp_path / "out/train"))) == ([], [])
    assert str(again.lines[0]).endswith("nothing left out")


def test_in_place_writes_only_the_index(tmp_path):
    root = tmp_path / "tars"
    write_tars(root / "train", {"part-1": [0, 1], "part-7": [2]})
    write_tars(root / "val", {"x": [1]})
    before = contents(root)
    dataset = pack_in_place(str(root))
    after = contents(root)
    assert after.pop("dataset.json")
    assert after == before
    assert [shard.file for shard in dataset.shards("train")] == ["train/part-1.tar", "train/part-7.tar"]
    assert list(verify_dataset(str(root))) == []


def test_in_place_over_tars_without_splits(tmp_path):
    write_tars(tmp_path, {"a": [0], "b": [1]})
    assert [shard.file for shard in pack_in_place(str(tmp_path)).shards("train")] == ["a.tar", "b.tar"]
    assert list(verify_dataset(str(tmp_path))) == []


def test_in_place_needs_tars(small_source, tmp_path):
    with pytest.raises(UserError, match="expected a folder of WebDataset tars, found image folder"):
        pack_in_place(str(small_source))


def test_tars_keep_keys_and_suffixes(tmp_path):
    sample = Sample("deep/key", 1, encode(Image.new("RGB", (4, 4)), "WEBP"), "webp")
    write_shard(str(tmp_path / "in"), "a.tar", [sample])
    dataset = pack(str(tmp_path / "in"), str(tmp_path / "out"), progress=False).dataset
    assert all_samples(dataset, "train") == [sample]


@pytest.mark.parametrize("inside", ["", "packed"])
def test_a_dataset_is_not_written_into_its_source(small_source, inside):
    with pytest.raises(UserError, match="expected a DATASET outside SOURCE"):
        pack(str(small_source), str(small_source / inside), progress=False)
    assert sorted(path.name for path in small_source.iterdir()) == ["train", "val"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path, small_source):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write"):
        pack(str(small_source), str(tmp_path / "file"), progress=False)
