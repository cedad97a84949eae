import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vit_tickets.pipeline.manifests.tables import difference, read_metadata, read_table
from vit_tickets.pipeline.system.errors import UserError


def test_difference():
    assert difference({"a": 1, "b": 2}, {"b": 2, "a": 1}) is None
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 3}) == "b: expected 2, found 3"
    assert difference({"a": 1}, {}) == "a: expected 1, found null"
    assert difference({"a": 1}, {"a": 2}, ignore=("a",)) is None


def test_files_that_are_no_manifest(tmp_path):
    path = tmp_path / "000000.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_table(str(path))
    for metadata in ({}, {"vit_tickets": "{"}, {"vit_tickets": "[]"}, {"vit_tickets": "{}"}):
        pq.write_table(pa.table({"key": ["a"]}).replace_schema_metadata(metadata), path)
        with pytest.raises(UserError, match="expected provenance in its schema"):
            read_metadata(str(path))
    pq.write_table(pa.table({"key": ["a"]}).replace_schema_metadata({"vit_tickets": '{"format_version": 2}'}), path)
    with pytest.raises(UserError, match="expected format version 1, found 2"):
        read_metadata(str(path))
