"""A number of patches as the budget, from `generate` to all that reads what it writes."""

import json

import pandas as pd
import pytest

from tests.command import run
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_metadata

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def half(make):
    """18 of 36 patches."""
    return make("--tokens", 18)


def test_the_rows_are_those_of_the_same_sparsity(half, make):
    other = make("--sparsity", 0.5)
    for split in ("train", "val"):
        pd.testing.assert_frame_equal(pd.read_parquet(half / split), pd.read_parquet(other / split))


def test_the_budget_is_recorded_as_it_was_given(half, oblong):
    for record in (json.loads((half / "ticket.json").read_text()), read_metadata(str(half / "val/000000.parquet"))):
        assert record["tokens"] == 18
        assert not {"sparsity", "keep_rate"} & set(record)
    assert Manifest.open(str(half)).budget == Budget(tokens=18)
    run("verify", half, "--dataset", oblong)
    assert "budget     18 tokens: 18 of 36 patches (50.0%)" in run("inspect", half).stdout


def test_as_many_tokens_on_a_finer_grid(make):
    manifest = Manifest.open(str(make("--tokens", 18, "--view", "full@2")))
    assert (manifest.num_patches_of("train"), manifest.kept_of("train"), manifest.kept_of("val")) == (144, 18, 18)


def test_several_numbers_are_several_folders(make, tmp_path):
    make("--tokens", "18,9", out=tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["k18", "k9"]


def test_an_archive_keeps_it(half, oblong, tmp_path):
    run("export", half, tmp_path / "archive.parquet")
    run("join", tmp_path / "archive.parquet", oblong, "--out", tmp_path / "joined")
    joined = Manifest.open(str(tmp_path / "joined"))
    assert (joined.budget, joined.kept) == (Budget(tokens=18), 18)
    run("verify", tmp_path / "joined", "--dataset", oblong)


def test_more_than_there_are_is_refused_before_anything_is_written(make, tmp_path):
    told = make("--tokens", 37, out=tmp_path / "m", code=2)
    assert "expected at most 36 tokens, the patches of a 6 x 6 grid, found 37" in told
    assert not (tmp_path / "m").exists()
