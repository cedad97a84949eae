import os
import threading

import pytest

from tests.helpers import contents, png, write_folder, write_parquet, write_tars
from vit_tickets.pipeline.datasets import pack as packing
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.system import files


@pytest.fixture
def reads(monkeypatch):
    """Counts the files that are read, and stops the command as Ctrl-C does when `limit` of them have been."""

    class Reads:
        count, limit = 0, 1 << 30

        def __call__(self, path):
            with lock:
                self.count += str(path).endswith(".png")
                if self.count > self.limit:
                    raise KeyboardInterrupt
            return read_bytes(path)

    lock, read_bytes, reads = threading.Lock(), files.read_bytes, Reads()
    monkeypatch.setattr(files, "read_bytes", reads)
    return reads


def interrupted(reads, source, root, **options) -> None:
    """A call that has written some of its shards."""
    reads.limit = reads.count + 25
    with pytest.raises(KeyboardInterrupt):
        pack(str(source), str(root), shard_size=3, progress=False, **options)
    reads.limit, reads.count = 1 << 30, 0


@pytest.fixture
def source(tmp_path):
    return write_folder(tmp_path / "photos", {"cat": 30, "dog": 30}, height=4, width=4)


def fresh(source, tmp_path, **options) -> dict:
    pack(str(source), str(tmp_path / "fresh" / "out"), progress=False, **{"shard_size": 3, **options})
    return contents(tmp_path / "fresh" / "out")


def test_finished_shards_are_kept(source, tmp_path, reads):
    interrupted(reads, source, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()
    pack(str(source), str(tmp_path / "out"), shard_size=3, progress=False)
    assert reads.count <= 45, "of 60 files, those of finished shards are not read again"
    assert contents(tmp_path / "out") == fresh(source, tmp_path), "and the bytes are those of one call"


def change_a_file(source):
    for path in source.rglob("*.png"):
        was = path.stat()
        path.write_bytes(png(1000, 4, 4)[: was.st_size].ljust(was.st_size, b"x"))
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns + 1))


def add_a_file(source):
    (source / "cat" / "new.png").write_bytes(png(1001, 4, 4))


def rename_a_class(source):
    (source / "cat").rename(source / "emu")


@pytest.mark.parametrize("change", [change_a_file, add_a_file, rename_a_class])
def test_a_source_that_has_changed_is_packed_again(source, tmp_path, reads, change):
    interrupted(reads, source, tmp_path / "out")
    change(source)
    pack(str(source), str(tmp_path / "out"), shard_size=3, progress=False)
    assert contents(tmp_path / "out") == fresh(source, tmp_path)


@pytest.mark.parametrize("options", [{"shorter_side": 2}, {"shard_size": 4}])
def test_other_options_pack_again(source, tmp_path, reads, options):
    interrupted(reads, source, tmp_path / "out")
    pack(str(source), str(tmp_path / "out"), progress=False, **{"shard_size": 3, **options})
    assert contents(tmp_path / "out") == fresh(source, tmp_path, **options)


def test_a_finished_shard_that_was_cut_is_written_again(source, tmp_path, reads):
    interrupted(reads, source, tmp_path / "out")
    for tar in (tmp_path / "out" / "train").glob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:600])
    journal = tmp_path / "out" / "train" / ".packing.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    pack(str(source), str(tmp_path / "out"), shard_size=3, progress=False)
    assert contents(tmp_path / "out") == fresh(source, tmp_path)


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_source_that_is_read_in_sequence_keeps_its_finished_shards(tmp_path, monkeypatch, kind):
    if kind == "parquet":
        write_parquet(tmp_path / "in" / "train-0.parquet", [0, 1, 2] * 9)
    else:
        write_tars(tmp_path / "in" / "train", {"a": [0, 1, 2] * 5, "b": [0, 1] * 6})
    written = []
    module = packing.writing

    def write_shard(root, file, samples):
        written.append(file)
        if len(written) == 4:
            raise KeyboardInterrupt
        return write(root, file, samples)

    write = module.write_shard
    monkeypatch.setattr(module, "write_shard", write_shard)
    with pytest.raises(KeyboardInterrupt):
        pack(str(tmp_path / "in"), str(tmp_path / "out"), shard_size=4, progress=False)
    result = pack(str(tmp_path / "in"), str(tmp_path / "out"), shard_size=4, progress=False)
    assert result.kept == 3
    assert written[4:] == [f"train/{number:06d}.tar" for number in range(3, 7)]
    assert contents(tmp_path / "out") == fresh(tmp_path / "in", tmp_path, shard_size=4)


def test_a_split_has_at_most_10_000_shards_unless_it_is_asked_for():
    sizes = {1: 1000, 2_000_000: 1000, 10_000_000: 1000, 10_000_001: 2000, 14_197_122: 2000, 30_000_001: 4000}
    assert {samples: packing.size_of_shards(samples) for samples in sizes} == sizes
    assert packing.size_of_shards(30_000_000, 500) == 500
