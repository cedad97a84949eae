import hashlib
import io
import pickle
import tarfile

import pytest

from tests.helpers import write_folder
from vit_tickets.pipeline.datasets.shards import (
    Dataset,
    Sample,
    parse_label,
    read_keys,
    read_shard,
    sha256_of,
    write_shard,
)
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

SAMPLES = [Sample("a/1", 0, b"one", "jpg"), Sample("a/2", 3, b"", "png"), Sample("ü 3", 1, b"x" * 2000, "webp")]


def write_raw(path, members: list[tuple[str, bytes]]) -> str:
    """A tar of just these members, in this order."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_round_trip(tmp_path):
    shard = write_shard(str(tmp_path), "train/000000.tar", SAMPLES)
    path = str(tmp_path / "train" / "000000.tar")
    assert list(read_shard(path)) == SAMPLES
    assert (shard.samples, shard.file, shard.stem) == (3, "train/000000.tar", "000000")
    assert shard.bytes == (tmp_path / "train" / "000000.tar").stat().st_size
    assert shard.sha256 == hashlib.sha256((tmp_path / "train" / "000000.tar").read_bytes()).hexdigest()
    assert sha256_of(path) == shard.sha256


def test_equal_samples_equal_bytes(tmp_path):
    first, second = (write_shard(str(tmp_path), name, SAMPLES) for name in ("a.tar", "b.tar"))
    assert first.sha256 == second.sha256


def test_missing_members_are_none(tmp_path):
    path = write_raw(tmp_path / "a.tar", [("1.jpg", b"x"), ("2.cls", b"7"), ("3.jpg", b"y"), ("3.cls", b"cat")])
    assert list(read_shard(path)) == [Sample("1", None, b"x"), Sample("2", 7, None), Sample("3", None, b"y")]


def test_other_members_are_never_interpreted(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle from a shard was loaded",))

    path = write_raw(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.cls", b"0"), ("1.pyd", pickle.dumps(Trap()))])
    assert list(read_shard(path)) == [Sample("1", 0, b"x")]


def test_member_names_never_reach_the_file_system(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write_raw(inside / "a.tar", [("../escaped.jpg", b"x"), ("../escaped.cls", b"0"), ("/root.jpg", b"y")])
    assert [sample.key for sample in read_shard(path)] == ["../escaped", "/root"]
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inside", "a.tar"]


def test_keys_are_those_of_the_samples(tmp_path):
    members = [("a/1.jpg", b"x"), ("a/1.cls", b"0"), ("__meta__.x__", b"?"), ("README", b"?"), ("ü/2.png", b"y" * 2000)]
    path = write_raw(tmp_path / "a.tar", members)
    assert read_keys(path) == [sample.key for sample in read_shard(path)] == ["a/1", "ü/2"]
    (tmp_path / "b.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"b\.tar cannot be read as a WebDataset shard"):
        read_keys(str(tmp_path / "b.tar"))


def test_keys_of_a_local_tar_are_read_past_the_pixels(tmp_path, monkeypatch):
    write_shard(str(tmp_path), "a.tar", [Sample(str(number), 0, bytes(1 << 20)) for number in range(4)])
    read = []

    class Counted(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    monkeypatch.setattr(files, "open_read", Counted)
    assert read_keys(str(tmp_path / "a.tar")) == ["0", "1", "2", "3"]
    assert 0 < sum(read) < 64 << 10


@pytest.mark.parametrize("cut", [1, 700, 1024, 1500, 1536, 5000], ids="at {}".format)
def test_a_cut_tar_is_a_user_error(tmp_path, cut):
    write_shard(str(tmp_path), "a.tar", SAMPLES)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[:cut])
    with pytest.raises(UserError, match=r"b\.tar cannot be read as a WebDataset shard"):
        list(read_shard(str(tmp_path / "b.tar")))


def test_a_member_twice_is_a_user_error(tmp_path):
    path = write_raw(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.jpg", b"y")])
    with pytest.raises(UserError, match="duplicate file name"):
        list(read_shard(path))


@pytest.mark.parametrize(
    ("text", "label"),
    [(b"7", 7), (b" 7\n", 7), (b"-1", -1), (b"", None), (b"cat", None), (b"\xff", None), (None, None)],
)
def test_parse_label(text, label):
    assert parse_label(text) == label


def test_dataset_round_trip(tmp_path):
    root = str(tmp_path)
    dataset = Dataset(root, "name", ["a", "b"], "tests", {"train": [write_shard(root, "train/000000.tar", SAMPLES)]})
    dataset.save()
    again = Dataset.open(root)
    assert again == dataset
    assert again.samples("train") == 3
    assert files.read_json(files.join(root, "dataset.json"))["splits"]["train"]["samples"] == 3
    with pytest.raises(UserError, match="expected a split 'val', found train"):
        again.shards("val")


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{}",
        '{"version": 2}',
        '{"version": 1, "name": "a", "classes": [], "source": "x", "splits": []}',
        '{"version": 1, "name": "a", "classes": [], "source": "x", "splits": {"train": {"shards": [{"fil": 1}]}}}',
    ],
)
def test_a_malformed_index_is_a_user_error(tmp_path, record):
    (tmp_path / "dataset.json").write_text(record)
    with pytest.raises(UserError, match=r"dataset\.json"):
        Dataset.open(str(tmp_path))


def test_no_dataset(tmp_path):
    with pytest.raises(UserError, match=r"found no dataset\.json"):
        Dataset.open(str(tmp_path))


def test_a_folder_of_images_is_told_how_to_become_a_dataset(tmp_path):
    write_folder(tmp_path / "photos", {"cat": 1})
    with pytest.raises(UserError) as refused:
        Dataset.open(str(tmp_path / "photos"))
    packs = f"no dataset.json in {tmp_path}/photos; of images in it, `vit-tickets pack {tmp_path}/photos data/photos`"
    assert packs in str(refused.value)
    with pytest.raises(UserError, match=r"found no dataset.json in .*nowhere$"):
        Dataset.open(str(tmp_path / "nowhere"))
