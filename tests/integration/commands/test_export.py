"""Export and join: what is written, what pandas reads of it, what comes back, and what a bad file does."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import holder, refused, run
from tests.helpers import write_crops, write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.publish.archive import ENTRY, METADATA_KEY
from vit_tickets.pipeline.verification.manifests import verify_manifest
from vit_tickets.train.data.split import SplitData

pytestmark = pytest.mark.process


def rows_of(root, split="train"):
    return pd.read_parquet(f"{root}/{split}").set_index("key").sort_index()


@pytest.fixture(scope="module")
def archive(tickets, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "tickets.parquet"
    said = run("export", tickets, path).stdout
    assert said.splitlines()[:2] == ["train: 23 images, 1 without a ticket", "val: 7 images, 0 without a ticket"]
    return path


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


def test_a_folder_in_use_is_left_alone(archive, packed, tmp_path):
    with holder(tmp_path / "m") as process:
        assert f"m is in use by process {process.pid}" in refused("join", archive, packed, "--out", tmp_path / "m")


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


def test_a_complete_copy_gets_the_same_tickets(archive, tickets, packed, tmp_path):
    out = tmp_path / "joined"
    said = run("join", archive, packed, "--out", out).stdout
    assert "train: 22 of 23 images have a ticket" in said
    assert "1 with an error in the archive: dog/broken" in said
    assert list(verify_manifest(str(out), packed)) == []
    for split in ("train", "val"):
        for path in sorted((out / split).glob("*.parquet")):
            ours, theirs = pq.read_table(path), pq.read_table(f"{tickets}/{split}/{path.name}")
            for name in ("key", "label", "height", "width", "rank", "lt", "rc", "error"):
                assert ours[name].equals(theirs[name]), name
    record = json.loads((out / "ticket.json").read_text())
    assert record["joined"]["dataset"] == record["dataset"] == "small"
    assert record["splits"]["train"]["errors"] == 1
    data = SplitData(Dataset.open(packed), "train", Manifest.open(str(out)))
    assert sum(data.counts) == 22
    for number, count in enumerate(data.counts):
        for row, _, stored in data.read(number, np.arange(count)):
            assert np.flatnonzero(stored.rank[row] < 18).tolist() == rows_of(tickets)["lt"][stored.keys[row]].tolist()
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    assert "holds a manifest; pass --overwrite" in refused("join", archive, packed, "--out", out)
    (out / "train" / "000007.parquet").write_bytes(b"of a larger copy")
    run("join", archive, packed, "--out", out, "--overwrite")
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


def test_missing_and_renamed_images_are_reported(archive, small_source, tmp_path):
    source = shutil.copytree(small_source, tmp_path / "source")
    for name in ("cat_00", "cat_01"):
        (source / f"train/cat/{name}.png").unlink()
    (source / "train/dog/dog_05.png").rename(source / "train/dog/other.png")
    pack(str(source), str(tmp_path / "mine"), shard_size=5, progress=False)
    out = tmp_path / "joined"
    said = run("join", archive, tmp_path / "mine", "--out", out, "--report", tmp_path / "r.json").stdout.splitlines()
    assert said[:3] == [
        "train: 19 of 21 images have a ticket",
        "  1 not in the archive: dog/other",
        "  3 only in the archive: cat/cat_00, cat/cat_01, dog/dog_05",
    ]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["splits"]["train"]["missing"] == ["cat/cat_00", "cat/cat_01", "dog/dog_05"]
    assert report["splits"]["train"]["without_ticket"] == ["dog/other"]
    assert list(verify_manifest(str(out), str(tmp_path / "mine"))) == []
    rows = rows_of(out)
    assert rows["error"]["dog/other"] == "no ticket in the archive"
    assert rows["rc"]["cat/cat_05"].tolist() == random_subset(3, "cat/cat_05", 36, 18).tolist()


@pytest.mark.parametrize("any_label", [False, True])
def test_labels_that_differ(archive, packed, tmp_path, any_label):
    root = shutil.copytree(packed, tmp_path / "mine")
    for path in root.glob("*/*.tar"):
        path.write_bytes(swapped(path.read_bytes()))
    options = ("--any-label",) if any_label else ()
    said = run("join", archive, root, "--out", tmp_path / "m", *options, code=0 if any_label else 2).output
    if not any_label:
        assert "found another label for 22 of 23; pass --any-label" in said
        assert not (tmp_path / "m").exists()
        return
    assert "22 with another label in the archive" in said
    rows = rows_of(tmp_path / "m")
    assert rows["error"].notna().sum() == 1
    assert rows["label"]["cat/cat_00"] == 1


def swapped(tar: bytes) -> bytes:
    """A tar of our two classes with labels 0 and 1 changed for each other (a block that begins so is a label)."""
    blocks = [tar[start : start + 512] for start in range(0, len(tar), 512)]
    other = {b"0".ljust(512, b"\0"): b"1".ljust(512, b"\0"), b"1".ljust(512, b"\0"): b"0".ljust(512, b"\0")}
    return b"".join(other.get(block, block) for block in blocks)


def test_what_cannot_be_joined_is_told_in_one_line(archive, tickets, packed, tmp_path):
    out = tmp_path / "m"
    run("export", tickets, tmp_path / "masks.parquet", "--masks")
    assert "expected ranks" in refused("join", tmp_path / "masks.parquet", packed, "--out", out)
    assert "exists; pass --overwrite" in refused("export", tickets, archive)
    crops = write_crops(str(tmp_path / "crops"))
    assert "found crops:3" in refused("export", crops, tmp_path / "c.parquet")
    (tmp_path / "text").write_text("no Parquet")
    assert "cannot be read as Parquet" in refused("join", tmp_path / "text", packed, "--out", out)
    assert "expected an archive" in refused("join", f"{tickets}/val/000000.parquet", packed, "--out", out)
    assert not out.exists()


def rewritten(archive, path, change_about=None, change=None):
    table = pq.read_table(archive)
    about = json.loads(table.schema.metadata[METADATA_KEY])
    if change_about:
        change_about(about[ENTRY])
    if change:
        table = change(table)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}), path, row_group_size=23)
    return path


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


def test_names_of_splits_never_become_paths(archive, packed, tmp_path):
    def escape(about):
        about["ticket"]["splits"]["../../up"] = about["ticket"]["splits"].pop("train")
        about["sha256"]["../../up"] = about["sha256"].pop("train")

    path = rewritten(archive, tmp_path / "bad.parquet", escape, lambda t: t.slice(23))
    said = run("join", path, packed, "--out", tmp_path / "below" / "m").stdout
    assert "../../up: not in the dataset, left out" in said
    assert "train: not in the archive, left out" in said
    assert sorted(p.name for p in (tmp_path / "below" / "m").iterdir()) == ["ticket.json", "val"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.parquet", "below"]


def test_an_archive_cut_anywhere_is_refused(archive, packed, tmp_path):
    whole = archive.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert "Parquet" in refused("join", tmp_path / "cut", packed, "--out", tmp_path / "m")
