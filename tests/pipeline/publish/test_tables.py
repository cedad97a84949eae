"""Tables of many shards: the manifest's rows, of any view, in few files that other programs read."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.command import refused, run
from tests.helpers import contents
from vit_tickets.pipeline.manifests.manifest import Manifest

pytestmark = pytest.mark.process


def configs(folder) -> list[dict]:
    front = re.match(r"---\n(.*?)---\n", (folder / "README.md").read_text(), re.DOTALL)[1]
    return yaml.safe_load(front)["configs"]


def test_all_rows_and_columns_are_there_in_few_files(tickets, tmp_path):
    said = run("export", tickets, tmp_path / "t", "--tables").stdout
    assert said.splitlines()[0].endswith("/train: 23 images in 1 file")
    for split in ("train", "val"):
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t" / split), pd.read_parquet(f"{tickets}/{split}"))
    assert configs(tmp_path / "t")[0]["config_name"] == "default"
    assert json.loads((tmp_path / "t/about.json").read_text())["splits"].keys() == {"train", "val"}
    assert b"shard_sha256" not in pq.read_schema(tmp_path / "t/train/00000.parquet").metadata[b"vit_tickets"]


def test_files_hold_whole_shards_up_to_a_number_of_rows(tickets, tmp_path):
    from vit_tickets.pipeline.publish.tables import write_tables

    made = write_tables(str(tmp_path), Manifest.open(tickets), ["train"], rows=10)
    sizes = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "train").glob("*.parquet"))]
    assert (made, sizes) == ({"train": 2}, [16, 7])


def test_masks_are_the_tickets(tickets, tmp_path):
    run("export", tickets, tmp_path / "t", "--tables", "--masks")
    found, frame = pd.read_parquet(tmp_path / "t/train"), pd.read_parquet(f"{tickets}/train")
    assert list(found) == ["key", "label", "height", "width", "mask", "error"]
    for mask, ticket in zip(found["mask"], frame["lt"], strict=True):
        if ticket is None:
            assert mask is None
        else:
            bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=36, bitorder="little")
            assert np.flatnonzero(bits).tolist() == ticket.tolist()
    assert len(mask) == 5


def test_the_same_manifest_gives_the_same_bytes_and_leaves_nothing_of_before(tickets, tmp_path):
    for out in ("a", "b"):
        run("export", tickets, tmp_path / out, "--tables")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    (tmp_path / "b/train/00001.parquet").write_bytes(b"of more shards")
    run("export", tickets, tmp_path / "b", "--tables", "--overwrite")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_other_folders_are_left_alone(tickets, packed, tmp_path):
    run("export", tickets, tmp_path / "t", "--tables")
    assert "pass --overwrite or another name" in refused("export", tickets, tmp_path / "t", "--tables")
    for folder in (tickets, packed):
        assert "expected a new folder" in refused("export", tickets, folder, "--tables", "--overwrite")
