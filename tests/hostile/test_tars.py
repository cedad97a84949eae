"""Hostile tars: samples or a refusal in one line; nothing is written, and memory stays bounded."""

import tracemalloc

import pytest

from tests.hostile.tars import IMAGE, TARS
from tests.hostile.test_tables import by_kind, refusal
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset, read_keys, read_shard


@by_kind(TARS)
def test_samples_or_a_reason(case, tmp_path):
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    path.write_bytes(case.data)
    tracemalloc.start()
    try:
        samples = []
        why = refusal(lambda: samples.extend(read_shard(str(path))))
        refusal(lambda: read_keys(str(path)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(case.data) + (1 << 20)
    assert (why is None) == (case.read is None), why
    assert (case.read or "") in (why or "")
    if case.keys is not None:
        assert tuple(sample.key for sample in samples) == case.keys == tuple(read_keys(str(path)))
        assert {sample.data for sample in samples} <= {IMAGE, None}
    assert [entry.name for entry in tmp_path.rglob("*")] == ["in", "a.tar"]
    why = refusal(lambda: pack(str(path), str(tmp_path / "out"), progress=False))
    assert (why is None) == (case.packed is None), why
    assert (case.packed or "") in (why or "")
    if why is None:
        (shard,) = Dataset.open(str(tmp_path / "out")).shards("train")
        assert tuple(sample.key for sample in read_shard(str(tmp_path / "out" / shard.file))) == (case.keys or ("a",))


@pytest.mark.parametrize("reader", [read_keys, lambda path: list(read_shard(path))], ids=["keys", "samples"])
def test_a_zip_is_no_tar(reader, tmp_path):
    (tmp_path / "a.tar").write_bytes(b"PK\x03\x04" + bytes(2000))
    assert "cannot be read as a WebDataset shard" in refusal(lambda: reader(str(tmp_path / "a.tar")))
