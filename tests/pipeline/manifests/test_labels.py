"""Label maps on disk: round trip, equal bytes, the shard they belong to, arrays, names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.helpers import label_rows, write_labels
from vit_tickets.pipeline.datasets.shards import Dataset, Shard
from vit_tickets.pipeline.manifests.labels import SCHEMA, LabelMaps, LabelRow, label_arrays, write_label_rows
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.pipeline.system.errors import UserError

METADATA = {"format_version": 1, "map_size": 2, "places": 3, "shard_sha256": "ab"}
SHARD = Shard("train/000000.tar", 3, 0, "ab")


def maps_at(root: Path) -> LabelMaps:
    record = {"map_size": 2, "places": 3, "num_classes": 3, "dataset": "d", "image_size": 24}
    splits = {"train": {"samples": 3, "errors": 1}}
    return LabelMaps(str(root), record | {"preprocessing": {"image_size": 24}, "splits": splits})


@pytest.fixture
def rows() -> list[LabelRow]:
    first, second = label_rows(["a", "c"], map_size=2, places=3, num_classes=3)
    return [first, LabelRow("b", error="broken"), second]


def test_round_trip(rows, tmp_path):
    write_label_rows(str(tmp_path / "train/000000.parquet"), rows, METADATA)
    maps = maps_at(tmp_path)
    assert maps.read("train", SHARD).schema.equals(SCHEMA)
    arrays = maps.arrays("train", SHARD)
    assert (arrays.classes.dtype, arrays.logits.dtype) == (np.uint16, np.float16)
    assert arrays.classes.shape == arrays.logits.shape == (3, 4, 3)
    assert arrays.valid.tolist() == [True, False, True]
    for index in (0, 2):
        assert np.array_equal(arrays.classes[index], rows[index].classes)
        assert np.array_equal(arrays.logits[index], rows[index].logits)
    assert not arrays.classes[1].any()


def test_pandas_reads_a_folder(rows, tmp_path):
    write_label_rows(str(tmp_path / "train/000000.parquet"), rows, METADATA)
    frame = pd.read_parquet(tmp_path / "train")
    assert frame["key"].tolist() == ["a", "b", "c"]
    assert frame["classes"].iloc[0].dtype == np.uint16
    assert frame["classes"].iloc[0][3 * 2] == rows[0].classes[2, 0], "index = places * cell + place"
    assert frame.loc[1, ["map_size", "classes", "logits"]].isna().all()
    assert frame["error"].isna().tolist() == [True, False, True]


def test_equal_rows_equal_bytes(rows, tmp_path):
    for name in ("a", "b"):
        write_label_rows(str(tmp_path / name), rows, dict(sorted(METADATA.items(), reverse=name == "b")))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_rows_of_errors_alone(tmp_path):
    write_label_rows(str(tmp_path / "train/000000.parquet"), [LabelRow("b", error="broken")] * 3, METADATA)
    arrays = maps_at(tmp_path).arrays("train", SHARD)
    assert arrays.classes.shape == (3, 4, 3)
    assert not arrays.valid.any()
    assert (arrays.classes.dtype, arrays.logits.dtype) == (np.uint16, np.float16)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        (Shard("train/000000.tar", 3, 0, "cd" * 32), "made from another shard: expected SHA-256 cdcdcdcdcdcd"),
        (Shard("train/000000.tar", 2, 0, "ab"), "expected 2 rows, found 3"),
        (Shard("train/000001.tar", 3, 0, "ab"), "expected label maps of shard train/000001.tar"),
    ],
)
def test_another_shard_is_refused(rows, tmp_path, shard, message):
    write_label_rows(str(tmp_path / "train/000000.parquet"), rows, METADATA)
    with pytest.raises(UserError, match=message):
        maps_at(tmp_path).read("train", shard)


def test_lists_of_another_length_are_refused(rows, tmp_path):
    write_label_rows(str(tmp_path / "f"), rows, METADATA)
    table, _ = read_table(str(tmp_path / "f"))
    with pytest.raises(UserError, match="f: expected lists of 27, found one of 12"):
        label_arrays(table, map_size=3, places=3, path="f")
    lone = table.set_column(2, "classes", table["classes"].take(pa.array([1, 1, 1])))  # the row with an error
    with pytest.raises(UserError, match="row 0: expected classes and logits together"):
        label_arrays(lone, map_size=2, places=3)


def test_open(packed, tmp_path):
    dataset = Dataset.open(packed)
    maps = LabelMaps.open(write_labels(dataset, str(tmp_path / "l")))
    assert (maps.map_size, maps.places, maps.num_classes, maps.splits) == (3, 2, 2, ["train", "val"])
    assert (maps.view.kind, maps.view.image_size) == ("full", 24)
    assert maps.arrays("val", dataset.shards("val")[0]).classes.shape == (7, 9, 2)
    with pytest.raises(UserError, match="expected label maps of split 'test', found those of train, val"):
        maps.split_record("test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("places"), "fields of label maps, found no places"),
        (lambda record: record.update(format_version=2), "expected format version 1, found 2"),
    ],
)
def test_a_malformed_index_is_refused(packed, tmp_path, change, message):
    root = write_labels(Dataset.open(packed), str(tmp_path / "l"))
    path = Path(root, "labels.json")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=message):
        LabelMaps.open(root)


def test_no_index_is_refused(tickets, tmp_path):
    with pytest.raises(UserError, match=r"found no labels\.json in .*; run `vit-tickets labels` first"):
        LabelMaps.open(shutil.copytree(tickets, tmp_path / "m"))
