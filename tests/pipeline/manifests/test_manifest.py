import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.rows import Layout, Row, schema, write_rows
from vit_tickets.pipeline.manifests.tables import read_metadata, read_table
from vit_tickets.pipeline.system.errors import UserError

METADATA = {"format_version": 1, "num_patches": 4, "counts": [2], "dataset": "d", "shard_sha256": "ab"}
LAYOUT, PREDICTED = Layout(4, 2), Layout(4, 2, predictions=True)


def row(key: str, rank=(0, 2, 1, 3)) -> Row:
    rank_N = np.array(rank, dtype=np.uint8)
    score_N = (1 / (1 + rank_N.astype(np.float32))).astype(np.float32)
    return Row(key, 1, 30, 40, rank_N, np.flatnonzero(rank_N < 2), np.array([1, 3]), score_N)


ROWS = [row("a"), Row("b", None, error="broken"), row("c", (3, 2, 1, 0))]


def test_pandas_round_trip(tmp_path):
    path = str(tmp_path / "000000.parquet")
    write_rows(path, ROWS, LAYOUT, METADATA)
    table = pd.read_parquet(path)
    assert list(table.columns) == schema(LAYOUT).names
    assert table["key"].tolist() == ["a", "b", "c"]
    for name, dtype in (("rank", np.uint8), ("lt", np.uint8), ("rc", np.uint8), ("score", np.float16)):
        assert table[name].iloc[0].dtype == dtype, "a null row turns no list to another type"
        assert table[name].iloc[2].dtype == dtype
        assert table[name].iloc[1] is None
    assert table["rank"].iloc[2].tolist() == [3, 2, 1, 0]
    assert table["lt"].iloc[2].tolist() == [2, 3]
    assert table["error"].isna().tolist() == [True, False, True]


def test_schema_on_disk(tmp_path):
    path = str(tmp_path / "000000.parquet")
    write_rows(path, ROWS, PREDICTED, METADATA)
    table, metadata = read_table(path)
    assert table.schema.equals(schema(PREDICTED))
    assert metadata == METADATA == read_metadata(path)


def test_equal_rows_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_rows(str(tmp_path / name), ROWS, LAYOUT, dict(sorted(METADATA.items(), reverse=name == "b")))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_folder_reads_as_one_table(tmp_path):
    write_rows(str(tmp_path / "000000.parquet"), ROWS, LAYOUT, METADATA)
    write_rows(str(tmp_path / "000001.parquet"), [row("d")], LAYOUT, METADATA | {"shard_sha256": "cd", "batch_size": 7})
    assert pd.read_parquet(tmp_path)["key"].tolist() == ["a", "b", "c", "d"]


def test_rows_of_errors_alone(tmp_path):
    path = str(tmp_path / "000000.parquet")
    write_rows(path, [Row("b", None, error="broken")], LAYOUT, METADATA)
    assert read_table(path)[0].schema.equals(schema(LAYOUT))


def test_manifest(tickets, packed):
    manifest, dataset = Manifest.open(tickets), Dataset.open(packed)
    assert (manifest.num_patches, manifest.kept, manifest.mask_seed) == (36, 18, 3)
    assert manifest.splits == ["train", "val"]
    assert manifest.view("train").kind == "full"
    assert manifest.view("val").kind == "center"
    assert manifest.budget.label == "s0.5"
    first, second, _ = dataset.shards("train")
    assert manifest.read("train", first).num_rows == 8
    with pytest.raises(UserError, match="expected tickets of split 'test', found those of train, val"):
        manifest.view("test")
    other = type(first)(first.file, first.samples, first.bytes, second.sha256)
    with pytest.raises(UserError, match="was made from another shard"):
        manifest.read("train", other)
    fewer = type(first)(first.file, 7, first.bytes, first.sha256)
    with pytest.raises(UserError, match="expected 7 rows, found 8"):
        manifest.read("train", fewer)
    absent = type(first)("train/000009.tar", 8, first.bytes, first.sha256)
    with pytest.raises(UserError, match=r"expected tickets of shard train/000009\.tar, found no "):
        manifest.read("train", absent)


def test_indexes_that_are_none(tmp_path, tickets):
    with pytest.raises(UserError, match=r"expected a finished manifest, found no ticket\.json"):
        Manifest.open(str(tmp_path))
    record = json.loads(Path(tickets, "ticket.json").read_text())
    none = "found no format_version"
    for broken, message in (([], none), ({}, none), (record | {"format_version": 9}, "found 9")):
        (tmp_path / "ticket.json").write_text(json.dumps(broken))
        with pytest.raises(UserError, match=message):
            Manifest.open(str(tmp_path))
