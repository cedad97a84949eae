"""Findings about a manifest's index and files, alone and against its dataset."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fixtures.findings import edit_json, rewrite, set_value, swapped, the_only
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard, write_shard
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.manifests import verify_manifest


def test_a_true_one_has_no_findings(packed, tickets):
    assert list(verify_manifest(tickets)) == []
    assert list(verify_manifest(tickets, packed)) == []


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
