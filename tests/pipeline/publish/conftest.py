"""An archive of the small manifest, and what one reads or changes of it."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.command import run
from vit_tickets.pipeline.publish.archive import ENTRY, METADATA_KEY


def rows_of(root, split="train"):
    return pd.read_parquet(f"{root}/{split}").set_index("key").sort_index()


@pytest.fixture(scope="module")
def archive(tickets, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "tickets.parquet"
    said = run("export", tickets, path).stdout
    assert said.splitlines()[:2] == ["train: 23 images, 1 without a ticket", "val: 7 images, 0 without a ticket"]
    return path


def rewritten(archive, path, change_about=None, change=None):
    table = pq.read_table(archive)
    about = json.loads(table.schema.metadata[METADATA_KEY])
    if change_about:
        change_about(about[ENTRY])
    if change:
        table = change(table)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}), path, row_group_size=23)
    return path
