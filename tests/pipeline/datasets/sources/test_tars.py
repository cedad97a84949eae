import pytest

from tests.helpers import png, write_tars
from vit_tickets.pipeline.datasets.shards import Sample, write_shard
from vit_tickets.pipeline.datasets.sources.tars import TarSplit
from vit_tickets.pipeline.system.errors import UserError


def test_tars(tmp_path):
    write_tars(tmp_path, {"a": [0, 2], "b": [1]})
    split = TarSplit(str(tmp_path), ["a.tar", "b.tar"])
    expected = [("a-0", 0, png(0)), ("a-1", 2, png(1)), ("b-0", 1, png(0))]
    assert [(sample.key, sample.label, sample.data) for sample in split.read(range(3))] == expected
    assert [(shard.file, shard.samples) for shard in split.shards] == [("a.tar", 2), ("b.tar", 1)]
    assert split.classes == ["0", "1", "2"]


def test_tar_errors(tmp_path):
    write_tars(tmp_path / "negative", {"a": [-1]})
    with pytest.raises(UserError, match=r"expected a class index in 0\.\.1048575 in a-0\.cls, found -1"):
        len(TarSplit(str(tmp_path / "negative"), ["a.tar"]))
    write_tars(tmp_path / "twice", {"a": [0]})
    write_shard(str(tmp_path / "twice"), "b.tar", [Sample("a-0", 0, b"")])
    with pytest.raises(UserError, match="expected unique keys, found a-0 a second time"):
        len(TarSplit(str(tmp_path / "twice"), ["a.tar", "b.tar"]))
    (tmp_path / "twice" / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UserError, match="cannot be read as a WebDataset shard"):
        len(TarSplit(str(tmp_path / "twice"), ["a.tar", "b.tar"]))
