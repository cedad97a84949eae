import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers import png
from vit_tickets.pipeline.datasets.shards import Dataset, Sample, read_shard, write_shard
from vit_tickets.pipeline.manifests.tables import METADATA_KEY
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.datasets import verify_dataset
from vit_tickets.pipeline.verification.manifests import verify_manifest


@pytest.fixture
def dataset(packed, tmp_path) -> Path:
    """A copy of the small dataset, to be spoilt."""
    return Path(shutil.copytree(packed, tmp_path / "small"))


@pytest.fixture
def manifest(tickets, tmp_path) -> Path:
    """A copy of the small manifest, to be spoilt."""
    return Path(shutil.copytree(tickets, tmp_path / "tickets"))


def edit_json(path: Path, change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def the_only(findings, *parts: str) -> None:
    """Assert that there is exactly one finding, in one line, that names all of `parts`."""
    findings = list(findings)
    assert len(findings) == 1, findings
    for part in parts:
        assert part in findings[0]
    assert "\n" not in findings[0]


def test_true_ones_have_no_findings(packed, tickets):
    assert list(verify_dataset(packed)) == []
    assert list(verify_manifest(tickets)) == []
    assert list(verify_manifest(tickets, packed)) == []


# --- datasets: what lies on disk against the index


def test_missing_tar(dataset):
    (dataset / "train" / "000001.tar").unlink()
    the_only(verify_dataset(str(dataset)), "train/000001.tar", "found no such file")


def test_surplus_tar(dataset):
    shutil.copy(dataset / "val" / "000000.tar", dataset / "val" / "000001.tar")
    the_only(verify_dataset(str(dataset)), "val/000001.tar: expected only tars that dataset.json lists")


def test_hidden_and_other_files_do_not_matter(dataset):
    (dataset / "train" / ".000001.tar.1234.part").write_bytes(b"left over")
    (dataset / "train" / "notes.txt").write_bytes(b"")
    assert list(verify_dataset(str(dataset))) == []


def test_another_content_of_the_same_length(dataset):
    path = dataset / "train" / "000000.tar"
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    the_only(verify_dataset(str(dataset)), "train/000000.tar: expected SHA-256", "found")


def test_a_cut_tar(dataset):
    path = dataset / "train" / "000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    found = list(verify_dataset(str(dataset)))
    assert len(found) == 2
    assert "train/000000.tar: expected" in found[0]
    assert "found 3000" in found[0]
    assert "expected a WebDataset shard" in found[1]


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("bytes", 1, "expected 1 bytes as in dataset.json, found"),
        ("sha256", "0" * 64, "expected SHA-256 000000000000..."),
        ("sha256", "short", "expected 64 hexadecimal digits, found 'short'"),
        ("samples", "8", "samples: expected a count, found '8'"),
        ("samples", -1, "samples: expected a count, found -1"),
        ("bytes", None, "bytes: expected a count, found None"),
        ("file", "../outside.tar", "expected a path below the dataset, found '../outside.tar'"),
        ("file", "/etc/passwd", "expected a path below the dataset, found '/etc/passwd'"),
        ("file", 7, "expected a path below the dataset, found 7"),
    ],
)
def test_a_wrong_index_entry(dataset, entry, value, message):
    def change(record):
        record["splits"]["train"]["shards"][0][entry] = value

    edit_json(dataset / "dataset.json", change)
    the_only(verify_dataset(str(dataset)), message)


def test_a_wrong_total(dataset):
    edit_json(dataset / "dataset.json", lambda record: record["splits"]["val"].update(samples=99))
    the_only(verify_dataset(str(dataset)), "val: expected 7 samples", "found 99")


def test_a_wrong_count(dataset):
    def change(record):
        record["splits"]["val"]["shards"][0]["samples"] = record["splits"]["val"]["samples"] = 6

    edit_json(dataset / "dataset.json", change)
    the_only(verify_dataset(str(dataset)), "val/000000.tar: expected 6 samples as in dataset.json, found 7")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("cat/new", 2, png(0), "png"), "cat/new.cls: expected a class index in 0..1, found 2"),
        (Sample("cat/new", -1, png(0), "png"), "expected a class index in 0..1, found -1"),
        (Sample("cat/new", "cat", png(0), "png"), "expected a class index in 0..1, found cat"),
        (Sample("cat/new", 0, b"about", "txt"), "cat/new: expected one image member, found cls, txt"),
        (None, "expected a key once in the split, found it a second time"),
    ],
)
def test_a_wrong_sample(dataset, sample, message):
    opened = Dataset.open(str(dataset))
    samples = list(read_shard(opened.path_of(opened.splits["val"][0])))
    if sample is None:
        first, second = (list(read_shard(opened.path_of(shard))) for shard in opened.splits["train"][:2])
        opened.splits["train"][1] = write_shard(str(dataset), "train/000001.tar", [first[0], *second])
    else:
        opened.splits["val"][0] = write_shard(str(dataset), "val/000000.tar", [sample, *samples])
    opened.save()
    the_only(verify_dataset(str(dataset)), message)


def test_findings_of_one_kind_are_counted(dataset):
    opened = Dataset.open(str(dataset))
    samples = [Sample(str(number), 5, png(number), "png") for number in range(9)]
    opened.splits["val"][0] = write_shard(str(dataset), "val/000000.tar", samples)
    opened.save()
    the_only(verify_dataset(str(dataset)), "0.cls: expected a class index", "(and 8 more like it)")


# --- manifests: ticket.json


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("num_patches", "36", "num_patches: expected a count in 1..65536, found '36'"),
        ("counts", [], "counts: expected a list of counts, found []"),
        ("counts", [18, 25], "counts: expected at most 36, not increasing, found [18, 25]"),
        ("counts", [26, 17], "counts: expected the last to be 18 at sparsity 0.5, found 17"),
        ("mask_seed", "a", "mask_seed: expected an integer, found 'a'"),
        ("sparsity", 2, "sparsity: expected a number in [0, 1), found 2"),
        ("splits", [], "splits: expected entries by name, found []"),
        ("splits", {"train": {}}, "splits: train: expected an entry samples, found none"),
        ("splits", {"train": 7}, "splits: train: expected an entry samples, found none"),
    ],
)
def test_a_wrong_record(manifest, entry, value, message):
    edit_json(manifest / "ticket.json", lambda record: record.update({entry: value}))
    the_only(verify_manifest(str(manifest)), "ticket.json", message)


def test_a_record_that_is_not_json(manifest):
    (manifest / "ticket.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        list(verify_manifest(str(manifest)))


@pytest.mark.parametrize(("name", "true"), [("samples", 23), ("errors", 1)])
def test_wrong_sums(manifest, name, true):
    edit_json(manifest / "ticket.json", lambda record: record["splits"]["train"].update({name: 5}))
    the_only(verify_manifest(str(manifest)), f"ticket.json: train: {name}: expected {true} as in its files, found 5")


def test_provenance_that_differs(manifest):
    edit_json(manifest / "ticket.json", lambda record: record.update(weights_sha256="cd" * 32))
    findings = list(verify_manifest(str(manifest)))
    assert len(findings) == 4, "one for each file"
    assert all("metadata differs from ticket.json: weights_sha256: expected " in finding for finding in findings)


def test_a_view_that_differs(manifest):
    edit_json(manifest / "ticket.json", lambda record: record["splits"]["val"].update(view="full"))
    the_only(verify_manifest(str(manifest)), "val/000000.parquet", 'view: expected "full", found "center"')


# --- manifests: files


def test_a_missing_file(manifest):
    (manifest / "train" / "000001.parquet").unlink()
    the_only(verify_manifest(str(manifest)), "train/000001.parquet: expected tickets of a shard, found no such file")


def test_the_last_file_is_missing(manifest, packed):
    (manifest / "train" / "000002.parquet").unlink()
    findings = list(verify_manifest(str(manifest)))
    assert findings[0] == "ticket.json: train: samples: expected 16 as in its files, found 23"
    the_only(verify_manifest(str(manifest), packed), "train/000002.parquet: expected tickets of a shard")


def test_a_stray_file(manifest):
    (manifest / "train" / "notes.txt").write_bytes(b"")
    (manifest / "train" / ".hidden").write_bytes(b"")
    the_only(verify_manifest(str(manifest)), "train/notes.txt: expected Parquet files only")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + 100 * b"\0" + b"PAR1"])
def test_a_file_that_is_not_parquet(manifest, content):
    (manifest / "val" / "000000.parquet").write_bytes(content)
    the_only(verify_manifest(str(manifest)), "val/000000.parquet cannot be checked")


def test_a_cut_file(manifest):
    path = manifest / "val" / "000000.parquet"
    path.write_bytes(path.read_bytes()[:-500])
    the_only(verify_manifest(str(manifest)), "val/000000.parquet cannot be checked")


def test_any_flipped_byte_is_told_without_a_traceback(manifest):
    path = manifest / "val" / "000000.parquet"
    data = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 60):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        assert all("\n" not in finding for finding in verify_manifest(str(manifest)))


def rewrite(manifest: Path, change, name: str = "train/000000.parquet", metadata=None) -> None:
    """Rewrite one file with `change` applied to its rows, as a dict of columns of plain values."""
    path = manifest / name
    table = pq.read_table(path)
    columns = {column: table[column].to_pylist() for column in table.column_names}
    change(columns)
    fields = table.schema
    if metadata is not None:
        record = json.loads(fields.metadata[METADATA_KEY]) | metadata
        fields = fields.with_metadata({METADATA_KEY: json.dumps(record)})
    pq.write_table(pa.table([pa.array(columns[f.name], f.type) for f in fields], schema=fields), path)


def set_value(column: str, row: int, value):
    def change(columns):
        columns[column][row] = value(columns[column][row]) if callable(value) else value

    return change


def swapped(values: list) -> list:
    return [values[1], values[0], *values[2:]]


# Each spoils one aspect of row 2 of train/000000.parquet, which is sound; its counterpart with an error is below.
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", None, "label: expected a value where there is no error, found null"),
        ("label", -1, "label: expected 0 or more, found -1"),
        ("height", None, "height: expected a value where there is no error, found null"),
        ("width", 0, "width: expected 1 or more, found 0"),
        ("prediction", None, "prediction: expected a value where there is no error, found null"),
        ("prediction", -3, "prediction: expected 0 or more, found -3"),
        ("confidence", 1.5, "confidence: expected a probability, found 1.5"),
        ("confidence", float("nan"), "confidence: expected a probability, found nan"),
        ("rank", lambda v: v[:-1], "rank: expected a list of 36, found one of 35"),
        ("lt", lambda v: v[:-1], "lt: expected a list of 18, found one of 17"),
        ("rc", lambda v: [*v, 0], "rc: expected a list of 18, found one of 19"),
        ("score", [], "score: expected a list of 36, found one of 0"),
        ("rank", lambda v: [None, *v[1:]], "rank: expected no null inside a list"),
        ("rank", None, "rank: expected a value where there is no error, found null"),
        ("rank", lambda v: [v[1], *v[1:]], "rank: expected a permutation of 0..35, found"),
        ("lt", None, "lt: expected a value where there is no error, found null"),
        ("lt", swapped, "lt: expected the patches with rank < 18, ascending, found patch"),
        ("rc", swapped, "rc: expected the subset of mask seed 3, found patch"),
        ("rc", lambda v: [p for p in range(36) if p not in v], "rc: expected the subset of mask seed 3, found patch"),
        ("score", lambda v: [float("nan"), *v[1:]], "score: expected finite numbers, found others"),
        ("score", lambda v: [1 - x for x in v], "score: expected no increase along rank among patches of one stage"),
    ],
)
def test_a_wrong_value(manifest, column, value, message):
    rewrite(manifest, set_value(column, 2, value))
    key = pq.read_table(manifest / "train/000000.parquet")["key"][2].as_py()
    the_only(verify_manifest(str(manifest)), f"train/000000.parquet row 2 ({key}): {message}")


def row_with_error(manifest: Path) -> tuple[str, int]:
    for path in sorted((manifest / "train").iterdir()):
        errors = pq.read_table(path)["error"].to_pylist()
        if any(errors):
            return f"train/{path.name}", next(row for row, error in enumerate(errors) if error)
    raise AssertionError


@pytest.mark.parametrize(
    ("column", "value"), [("lt", list(range(18))), ("score", [0.0] * 36), ("prediction", 0), ("confidence", 0.5)]
)
def test_an_error_with_a_value(manifest, column, value):
    name, row = row_with_error(manifest)
    rewrite(manifest, set_value(column, row, value), name)
    findings = list(verify_manifest(str(manifest)))
    assert f"{column}: expected null where there is an error, found a value" in findings[0]


def test_an_error_more_than_counted(manifest):
    def change(columns):
        columns["error"][2] = "broken"
        for column in ("rank", "lt", "rc", "score", "prediction", "confidence", "height", "width"):
            columns[column][2] = None

    rewrite(manifest, change)
    findings = list(verify_manifest(str(manifest)))
    assert findings[-1].startswith("ticket.json: train: errors: expected ")


def test_keys(manifest):
    other = pq.read_table(manifest / "train/000001.parquet")["key"][0].as_py()
    rewrite(manifest, set_value("key", 2, None))
    the_only(verify_manifest(str(manifest)), "row 2 (None): key: expected a key, found null")
    rewrite(manifest, set_value("key", 2, other))
    findings = list(verify_manifest(str(manifest)))
    assert f"train/000000.parquet row 2 ({other}): rc: expected the subset of mask seed 3" in findings[0]
    assert f"train/000001.parquet row 0 ({other}): key: expected a key once in the split" in findings[1]


def test_the_ties_of_rounded_scores_are_no_finding(manifest):
    rewrite(manifest, set_value("score", 2, [0.5] * 36))
    assert list(verify_manifest(str(manifest))) == []


@pytest.mark.parametrize(("first", "last", "sound"), [(26, 36, True), (18, 26, False), (30, 36, False), (0, 18, True)])
def test_stages_have_scales_of_their_own(manifest, first, last, sound):
    """The stages keep 26 and 18 of 36: ranks 0..25 have the second stage's scores, 26..35 the first's."""

    def change(columns):
        raised = [first <= rank < last for rank in columns["rank"][2]]
        columns["score"][2] = [x + 10 * up for x, up in zip(columns["score"][2], raised, strict=True)]

    rewrite(manifest, change)
    findings = list(verify_manifest(str(manifest)))
    assert [("score: expected no increase" in finding) for finding in findings] == ([] if sound else [True])


def test_columns_and_types(manifest):
    path = manifest / "val/000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("extra", pa.array([1] * len(table))), path)
    the_only(verify_manifest(str(manifest)), "val/000000.parquet expected columns key, label", "found", "extra")
    pq.write_table(table.drop_columns(["rc"]), path)
    the_only(verify_manifest(str(manifest)), "expected columns")
    wide = table.set_column(4, "rank", table["rank"].cast(pa.list_(pa.int64())))
    pq.write_table(wide, path)
    the_only(verify_manifest(str(manifest)), "rank: expected type list", "uint8", "int64")


# --- a manifest against its dataset


def test_another_dataset(manifest, tickets, packed, dataset):
    opened = Dataset.open(str(dataset))
    samples = list(read_shard(opened.path_of(opened.splits["val"][0])))
    opened.splits["val"][0] = write_shard(str(dataset), "val/000000.tar", swapped(samples))
    opened.save()
    findings = list(verify_manifest(str(manifest), str(dataset)))
    assert findings[0].startswith("val/000000.parquet metadata: shard_sha256: expected ")
    assert f"row 0: key: expected {samples[1].key} as in val/000000.tar, found {samples[0].key}" in findings[1]


def test_a_label_of_the_dataset(manifest, packed):
    rewrite(manifest, set_value("label", 2, lambda label: 1 - label))
    assert list(verify_manifest(str(manifest))) == []
    the_only(verify_manifest(str(manifest), packed), "train/000000.parquet row 2: label: expected")


def test_a_shard_hash(manifest, packed):
    rewrite(manifest, lambda columns: None, metadata={"shard_sha256": "0" * 64})
    assert list(verify_manifest(str(manifest))) == []
    the_only(verify_manifest(str(manifest), packed), "shard_sha256: expected", "found 000000000000...")


def test_a_split_that_the_dataset_lacks(manifest, dataset):
    edit_json(dataset / "dataset.json", lambda record: record["splits"].pop("val"))
    the_only(verify_manifest(str(manifest), str(dataset)), "val: expected a split of", "which has train")


def test_a_file_without_a_shard(manifest, dataset):
    edit_json(dataset / "dataset.json", lambda record: record["splits"]["train"]["shards"].pop())
    the_only(verify_manifest(str(manifest), str(dataset)), "train/000002.parquet: expected a shard of that name")
