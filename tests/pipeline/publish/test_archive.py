"""Export: what is written, what pandas reads of it, and what a bad archive does."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.command import refused, run
from tests.helpers import write_manifest
from tests.pipeline.publish.conftest import rewritten, rows_of
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.publish.archive import ENTRY


def test_pandas_alone_reads_all_of_it(archive, tickets):
    frame = pd.read_parquet(archive)
    about = frame.attrs[ENTRY]
    record = json.loads(Path(tickets, "ticket.json").read_text())
    assert about["ticket"] == record
    for split in ("train", "val"):
        found, expected = frame[frame["split"] == split].set_index("key"), rows_of(tickets, split)
        assert found.index.tolist() == expected.index.tolist()
        for name in ("label", "height", "width", "error"):
            pd.testing.assert_series_equal(found[name], expected[name], check_dtype=False)
        for key, rank in expected["rank"].items():
            stored = found["rank"][key]
            assert (rank is None and stored is None) or np.array_equal(np.frombuffer(stored, np.uint8), rank)
        digest = hashlib.sha256()
        plain = ["key", "label", "height", "width", "error"]
        for values, rank in zip(found.reset_index()[plain].itertuples(index=False), found["rank"], strict=True):
            values = [None if pd.isna(v) else v if isinstance(v, str) else int(v) for v in values]
            digest.update(json.dumps(values, separators=(",", ":")).encode() + b"\n" + (rank or b""))
        assert digest.hexdigest() == about["sha256"][split]


def test_masks_are_bits(tickets, tmp_path):
    run("export", tickets, tmp_path / "m.parquet", "--masks", "--split", "val")
    frame = pd.read_parquet(tmp_path / "m.parquet").set_index("key")
    for key, ticket in rows_of(tickets, "val")["lt"].items():
        assert len(frame["lt"][key]) == 5  # 36 bits
        bits = np.unpackbits(np.frombuffer(frame["lt"][key], np.uint8), bitorder="little")
        assert np.flatnonzero(bits).tolist() == ticket.tolist()
    assert set(frame["split"]) == {"val"}


def test_equal_rows_give_equal_bytes_however_they_are_packed(archive, tickets, small_source, tmp_path):
    run("export", tickets, tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == archive.read_bytes()
    pack(str(small_source), str(tmp_path / "small"), shard_size=5, progress=False)
    other = write_manifest(Dataset.open(str(tmp_path / "small")), str(tmp_path / "other"))
    run("export", other, tmp_path / "other.parquet")
    assert (tmp_path / "other.parquet").read_bytes() == archive.read_bytes()


def with_rank(table, row, rank):
    ranks = table["rank"].to_pylist()
    ranks[row] = rank
    return table.set_column(5, "rank", pa.array(ranks, pa.binary()))


@pytest.mark.parametrize(
    ("about", "change", "said"),
    [
        (lambda a: a.update(format_version=9), None, "expected format version 1, found 9"),
        (lambda a: a.update(holds="score"), None, "expected columns of an archive"),
        (lambda a: a["ticket"].pop("counts"), None, "counts is missing"),
        (lambda a: a["ticket"].update(counts=[99, 99]), None, "counts: expected at most 36"),
        (lambda a: a["ticket"].update(num_patches=10**9), None, "num_patches: expected a count in 1..65536"),
        (lambda a: a["ticket"].update(splits=7), None, "expected an archive"),
        (lambda a: a["sha256"].update(train="00"), None, "expected rows of SHA-256 00..."),
        (None, lambda t: with_rank(t, 0, bytes(36)), "expected every rank to be a permutation of 0..35"),
        (None, lambda t: with_rank(t, 0, bytes(35)), "expected a ticket of 36 bytes or an error, found 35"),
        (None, lambda t: with_rank(t, 0, None), "expected a ticket of 36 bytes or an error, found none"),
        (None, lambda t: with_rank(t, 0, bytes(range(36))), "expected rows of SHA-256"),
        (None, lambda t: pa.concat_tables([t.slice(0, 1), t.slice(0, 22), t.slice(23)]), "expected each key once"),
        (None, lambda t: t.slice(1), "expected row groups of one split"),
        (None, lambda t: t.drop_columns("label"), "expected columns of an archive"),
    ],
)
def test_an_archive_that_was_tampered_with_is_refused(archive, packed, tmp_path, about, change, said):
    path = rewritten(archive, tmp_path / "bad.parquet", about, change)
    assert said in refused("join", path, packed, "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_archive_cut_anywhere_is_refused(archive, packed, tmp_path):
    whole = archive.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert "Parquet" in refused("join", tmp_path / "cut", packed, "--out", tmp_path / "m")
