"""Join: what comes back from an archive, to a copy of the dataset that may differ."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.command import holder, refused, run
from tests.helpers import write_crops
from tests.pipeline.publish.conftest import rewritten, rows_of
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.verification.manifests import verify_manifest
from vit_tickets.train.data.split import SplitData

pytestmark = pytest.mark.process


def test_a_folder_in_use_is_left_alone(archive, packed, tmp_path):
    with holder(tmp_path / "m") as process:
        assert f"m is in use by process {process.pid}" in refused("join", archive, packed, "--out", tmp_path / "m")


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


def test_names_of_splits_never_become_paths(archive, packed, tmp_path):
    def escape(about):
        about["ticket"]["splits"]["../../up"] = about["ticket"]["splits"].pop("train")
        about["sha256"]["../../up"] = about["sha256"].pop("train")

    path = rewritten(archive, tmp_path / "bad.parquet", escape, lambda t: t.slice(23))
    said = run("join", path, packed, "--out", tmp_path / "below" / "m").stdout
    assert "../../up: not in the dataset, left out" in said
    assert "train: not in the archive, left out" in said
    assert sorted(p.name for p in (tmp_path / "below" / "m").iterdir()) == ["README.md", "ticket.json", "val"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.parquet", "below"]
