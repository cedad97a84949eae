"""Findings about label maps: each spoils one aspect of true ones (M = 3, P = C = 2)."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.fixtures.findings import FILE, edit_json, rewrite, the_only
from tests.helpers import write_labels
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.verification.labels import verify_labels


@pytest.fixture(scope="module")
def true_ones(packed, tmp_path_factory) -> str:
    return write_labels(Dataset.open(packed), str(tmp_path_factory.mktemp("true") / "labels"))


@pytest.fixture
def maps(true_ones, tmp_path) -> Path:
    """A copy of the small label maps, to be spoilt."""
    return Path(shutil.copytree(true_ones, tmp_path / "labels"))


def row_with(maps: Path, error: bool) -> tuple[str, int]:
    """A file of train and a row in it that has an error, or has none."""
    for path in sorted((maps / "train").iterdir()):
        for row, found in enumerate(pq.read_table(path)["error"].to_pylist()):
            if (found is not None) == error:
                return f"train/{path.name}", row
    raise AssertionError


def test_true_ones_have_no_findings(true_ones, packed):
    assert list(verify_labels(true_ones)) == []
    assert list(verify_labels(true_ones, packed)) == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("map_size", 4, "map_size: expected 3, found 4"),
        ("map_size", None, "map_size: expected a value where there is no error, found null"),
        ("classes", None, "classes: expected a value where there is no error, found null"),
        ("classes", [0, 1] * 8, "classes: expected a list of 18, found one of 16"),
        ("classes", [0, 1] * 8 + [0, None], "classes: expected no null inside a list, found one"),
        ("classes", [0, 1] * 8 + [2, 1], "classes: expected classes in 0..1, found 2"),
        ("classes", [0, 1] * 4 + [1, 1] + [0, 1] * 4, "classes: expected every class once in a cell, found one twice"),
        ("logits", None, "logits: expected a value where there is no error, found null"),
        ("logits", [1.0, 0.0] * 10, "logits: expected a list of 18, found one of 20"),
        ("logits", [1.0, 0.0] * 8 + [float("inf"), 0.0], "logits: expected finite numbers, found others in cell 8"),
        ("logits", [1.0, 0.0] * 8 + [1.0, float("nan")], "logits: expected finite numbers, found others in cell 8"),
        (
            "logits",
            [1.0, 0.0] * 2 + [0.0, 1.0] + [1.0, 0.0] * 6,
            "no increase along the places of a cell, found one",
        ),
    ],
)
def test_a_wrong_value(maps, column, value, message):
    name, row = row_with(maps, error=False)
    rewrite(maps, lambda columns: columns[column].__setitem__(row, value), name)
    key = pq.read_table(maps / name)["key"][row].as_py()
    the_only(verify_labels(str(maps)), f"{name} row {row} ({key}): {column}: expected ", message)


def test_ties_are_no_finding(maps):
    name, row = row_with(maps, error=False)
    rewrite(maps, lambda columns: columns["logits"].__setitem__(row, [0.5] * 18), name)
    assert list(verify_labels(str(maps))) == []


@pytest.mark.parametrize(("column", "value"), [("map_size", 3), ("classes", [0, 1] * 9), ("logits", [1.0, 0.0] * 9)])
def test_an_error_with_a_value(maps, column, value):
    name, row = row_with(maps, error=True)
    rewrite(maps, lambda columns: columns[column].__setitem__(row, value), name)
    the_only(verify_labels(str(maps)), f"{column}: expected null where there is an error, found a value")


def test_keys(maps, packed):
    other = pq.read_table(maps / "train/000001.parquet")["key"][0].as_py()
    rewrite(maps, lambda columns: columns["key"].__setitem__(2, other))
    the_only(verify_labels(str(maps)), f"train/000001.parquet row 0 ({other}): key: expected a key once in the split")
    findings = list(verify_labels(str(maps), packed))
    assert f"{FILE} row 2: key: expected " in findings[0]
    assert f"as in train/000000.tar, found {other}" in findings[0]


def test_columns_and_types(maps):
    table = pq.read_table(maps / FILE)
    pq.write_table(table.drop_columns(["logits"]), maps / FILE)
    the_only(verify_labels(str(maps)), f"{FILE} expected columns key, map_size, classes, logits, error")
    pq.write_table(table.set_column(2, "classes", table["classes"].cast(pa.list_(pa.int64()))), maps / FILE)
    the_only(verify_labels(str(maps)), "classes: expected type list", "uint16", "int64")


def test_a_missing_file(maps, packed):
    (maps / "train/000001.parquet").unlink()
    the_only(verify_labels(str(maps)), "train/000001.parquet: expected label maps of a shard, found no such file")


def test_provenance(maps, packed):
    rewrite(maps, lambda columns: None, metadata={"precision": "bf16"})
    the_only(verify_labels(str(maps)), FILE, 'metadata differs from labels.json: precision: expected "fp32"')
    rewrite(maps, lambda columns: None, metadata={"precision": "fp32", "shard_sha256": "0" * 64})
    assert list(verify_labels(str(maps))) == []
    the_only(verify_labels(str(maps), packed), "shard_sha256: expected", "found 000000000000...")


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("map_size", 0, "map_size: expected a count in 1..4096, found 0"),
        ("num_classes", 1 << 17, "num_classes: expected a count in 1..65536, found 131072"),
        ("places", 5, "places: expected 2 of 2 classes, found 5"),
        ("image_size", 32, "image_size: expected 24 as in preprocessing, found 32"),
        ("preprocessing", {"side": 3}, "preprocessing: expected a view of the whole image"),
        ("splits", {"train": {"samples": 1}}, "splits: train: expected an entry errors, found none"),
    ],
)
def test_a_wrong_record(maps, entry, value, message):
    edit_json(maps / "labels.json", lambda record: record.update({entry: value}))
    the_only(verify_labels(str(maps)), "labels.json", message)


@pytest.mark.parametrize(("name", "true"), [("samples", 23), ("errors", 1)])
def test_wrong_sums(maps, name, true):
    edit_json(maps / "labels.json", lambda record: record["splits"]["train"].update({name: 5}))
    the_only(verify_labels(str(maps)), f"labels.json: train: {name}: expected {true} as in its files, found 5")


def test_a_dataset_of_other_classes(maps, packed, tmp_path):
    data = Path(shutil.copytree(packed, tmp_path / "data"))
    record = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(record | {"classes": ["cat", "dog", "eel"]}))
    the_only(verify_labels(str(maps), str(data)), "labels.json: num_classes: expected 3 as in", "found 2")


def test_the_command(maps, packed):
    done = CliRunner().invoke(main, ["verify", str(maps), "--dataset", packed])
    assert done.exit_code == 0, done.output
    assert "train 23 images, val 7 images: columns, provenance, classes, logits, sums" in done.output
    (maps / FILE).unlink()
    done = CliRunner().invoke(main, ["verify", str(maps), "--dataset", packed])
    assert done.exit_code == 1
    assert f"{FILE}: expected label maps of a shard, found no such file" in done.stdout
