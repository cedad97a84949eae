"""A share of train held out as val: which images, of every kind of source, and what is refused."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from tests.helpers import write_folder, write_parquet, write_tars
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.datasets import verify_dataset


def samples(root, split):
    dataset = Dataset.open(str(root))
    return {s.key: (s.label, s.data) for shard in dataset.shards(split) for s in read_shard(dataset.path_of(shard))}


def expected(labels: dict[str, int], share: float) -> set[str]:
    """Keys of val, class by class: the first of the keys sorted by hash."""
    held = set()
    for label in set(labels.values()):
        of_class = [key for key in labels if labels[key] == label]
        digest = {key: hashlib.blake2b(f"val:{key}".encode(), digest_size=8).digest() for key in of_class}
        of_class.sort(key=lambda key: int.from_bytes(digest[key], "little"))
        held.update(of_class[: min(round(share * len(of_class) + 1e-9), len(of_class) - 1)])
    return held


def write(kind, root):
    if kind == "folder":
        return write_folder(root, {"cat": 21, "dog": 9, "emu": 1}, height=4, width=4)
    if kind == "parquet":
        write_parquet(root / "train-0.parquet", [0, 1, 2] * 5 + [0] * 7, ["cat", "dog", "emu"])
    else:
        write_tars(root, {"a": [0, 1] * 9, "b": [2, 0, 0, 1, 2]})
    return root


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("kind", ["folder", "parquet", "tars"])
def test_the_same_images_of_every_class_are_held_out_of_every_kind_of_source(tmp_path, kind, share):
    source = str(write(kind, tmp_path / "in"))
    pack(source, str(tmp_path / "whole"), progress=False, shard_size=7)
    result = pack(source, str(tmp_path / "parts"), progress=False, shard_size=7, val_share=share)
    whole = samples(tmp_path / "whole", "train")
    train, val = (samples(tmp_path / "parts", split) for split in ("train", "val"))
    assert {**train, **val} == whole, "labels and bytes stay as they are"
    assert not train.keys() & val.keys()
    assert set(val) == expected({key: label for key, (label, _) in whole.items()}, share)
    assert list(verify_dataset(str(tmp_path / "parts"))) == []
    assert [line.images for line in result.lines] == [len(train), len(val)]
    record = json.loads((tmp_path / "parts" / "dataset.json").read_text())
    assert record["splits"]["val"]["held_out"] == {"of": "train", "share": share}
    assert "held_out" not in record["splits"]["train"]
    again = pack(source, str(tmp_path / "parts"), progress=False, shard_size=7, val_share=share, overwrite=True)
    assert again.dataset.splits == result.dataset.splits


def test_images_that_are_added_move_few_others(tmp_path):
    write_folder(tmp_path / "in", {"cat": 40, "dog": 40}, height=2, width=2)
    pack(str(tmp_path / "in"), str(tmp_path / "a"), progress=False, val_share=0.2)
    write_folder(tmp_path / "in", {"cat": 50}, height=2, width=2)
    pack(str(tmp_path / "in"), str(tmp_path / "b"), progress=False, val_share=0.2)
    before, after = (set(samples(tmp_path / name, "val")) for name in "ab")
    assert len(before - after) <= 2
    assert {key for key in before if key.startswith("dog")} == {key for key in after if key.startswith("dog")}


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_an_interrupted_packing_keeps_the_shards_of_the_same_share(tmp_path, monkeypatch, share):
    write_folder(tmp_path / "in", {"cat": 30, "dog": 30}, height=2, width=2)
    words = {"source": str(tmp_path / "in"), "root": str(tmp_path / "out"), "progress": False, "shard_size": 8}
    monkeypatch.setattr(Dataset, "save", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pack(**words, val_share=0.2)
    monkeypatch.undo()
    again = pack(**words, val_share=share)
    assert again.kept == (sum(line.shards for line in again.lines) if share == 0.2 else 0)


def test_a_test_split_keeps_its_name_where_val_is_held_out(tmp_path):
    for split in ("train", "test"):
        write_folder(tmp_path / "in" / split, {"cat": 10, "dog": 10}, height=2, width=2)
    plain = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), "--dry-run"])
    assert "its split test is packed as val" in plain.output
    result = CliRunner().invoke(main, ["pack", str(tmp_path / "in"), str(tmp_path / "out"), "--val-share", "0.2"])
    assert result.exit_code == 0, result.output
    assert "val is held out of train, 20% of each class by hash of the key: 4 of 20 images" in result.output
    assert "packed as val" not in result.output
    dataset = Dataset.open(str(tmp_path / "out"))
    assert {split: dataset.samples(split) for split in dataset.splits} == {"train": 16, "val": 4, "test": 20}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--split", "test"), "expected a split train and no val"),
        (("--in-place",), "--val-share: expected a DATASET to pack into, found --in-place"),
    ],
)
def test_what_cannot_be_held_out_is_told_in_one_line(tmp_path, options, said):
    write_folder(tmp_path / "in", {"cat": 3, "dog": 3}, height=2, width=2)
    folder = () if "--in-place" in options else (str(tmp_path / "out"),)
    words = ["pack", str(tmp_path / "in"), *folder, "--val-share", "0.2", *options]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_classes_of_one_image_have_none_to_hold_out(tmp_path):
    write_folder(tmp_path / "in", {"cat": 1, "dog": 1}, height=2, width=2)
    with pytest.raises(UserError, match=r"--val-share 0\.2: .* found 1 image at most in a class"):
        pack(str(tmp_path / "in"), str(tmp_path / "out"), progress=False, val_share=0.2)


def test_train_alone_is_not_packed_again_over_what_val_was_held_out_of(tmp_path):
    write_folder(tmp_path / "in", {"cat": 10, "dog": 10}, height=2, width=2)
    pack(str(tmp_path / "in"), str(tmp_path / "out"), progress=False, val_share=0.2)
    with pytest.raises(UserError, match=r"val was held out of train; pass --val-share 0\.2"):
        pack(str(tmp_path / "in"), str(tmp_path / "out"), progress=False, overwrite=True)
