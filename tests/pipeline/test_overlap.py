"""Overlap of two manifests: against loops over sets, and numpy's correlation, and as `compare` says it."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.manifests import Manifest
from vit_tickets.pipeline.overlap import chance_distance, iou, keep_map_distance, overlap, rank_correlation
from vit_tickets.pipeline.summary import chance_iou


@given(st.data())
def test_iou_and_correlation_of_two_ranks(data):
    N = data.draw(st.integers(2, 12))
    a, b = (np.array([data.draw(st.permutations(range(N))) for _ in range(2)]) for _ in range(2))
    k, m = (data.draw(st.integers(1, N)) for _ in range(2))
    for row in range(2):
        ours, theirs = ({p for p in range(N) if rank[row][p] < kept} for rank, kept in ((a, k), (b, m)))
        assert iou(a, b, k, m)[row] == pytest.approx(len(ours & theirs) / len(ours | theirs))
        assert rank_correlation(a, b)[row] == pytest.approx(np.corrcoef(a[row], b[row])[0, 1])


def test_chance_iou_of_two_budgets():
    rng = np.random.default_rng(0)
    a, b = (np.array([rng.permutation(20) for _ in range(20_000)]) for _ in range(2))
    assert iou(a, b, 5, 12).mean() == pytest.approx(chance_iou(20, 5, 12), abs=0.003)


def test_keep_maps_of_disjoint_and_equal_tickets():
    half = np.array([1.0, 1, 0, 0])
    assert (keep_map_distance(half, half), keep_map_distance(half, half[::-1])) == (0, 1)


def test_chance_distance_is_the_mean_over_draws():
    rng = np.random.default_rng(0)
    keep_N = rng.uniform(0.2, 0.8, size=16)
    drawn = [[rng.binomial(n, keep_N) / n for n in (300, 100)] for _ in range(400)]
    distances = [keep_map_distance(*pair) for pair in drawn]
    assert np.mean(distances) == pytest.approx(chance_distance(keep_N, 300, 100), rel=0.05)


@pytest.fixture
def other(tickets, tmp_path) -> str:
    """The same manifest, but for the ranks of train, which are reversed."""
    root = tmp_path / "other"
    shutil.copytree(tickets, root)
    for path in (root / "train").glob("*.parquet"):
        table = pq.read_table(path)
        ranks = [None if rank is None else [35 - place for place in rank] for rank in table["rank"].to_pylist()]
        number = table.schema.get_field_index("rank")
        field = table.schema.field(number)
        pq.write_table(table.set_column(number, field, pa.array(ranks, field.type)), path)
    return str(root)


def test_overlap_goes_through_all_files(tickets, other):
    found = overlap(Manifest.open(tickets), Manifest.open(other), "train")
    rows = pd.read_parquet(f"{tickets}/train").dropna(subset=["lt"])
    assert found.images == len(rows) == 22
    assert np.allclose(found.iou_R, 0)
    assert np.allclose(found.rank_R, -1)
    kept = np.array([[patch in set(lt) for patch in range(36)] for lt in rows["lt"]])
    assert np.allclose(found.keep_2N, [kept.mean(axis=0), 1 - kept.mean(axis=0)])


def test_compare_says_so(tickets, other):
    done = CliRunner().invoke(main, ["compare", tickets, other])
    assert done.exit_code == 0, done.output
    lines = [line.strip() for line in done.output.splitlines()]
    assert lines[2] == "train: 22 images with a ticket in both"
    assert lines[3].startswith("overlap    IoU 0.000 (5% 0.000, median 0.000, 95% 0.000), by chance 0.33")
    assert lines[4] == "ranks      Spearman's correlation -1.000"
    assert "val:" in done.output
    val = lines[lines.index("train against val:") :]
    assert val[3].split()[:2] == ["overlap", "-1.0000"]
    assert val[4].split()[:2] == ["ranks", "-2.0000"]
    only = CliRunner().invoke(main, ["compare", tickets, other, "--split", "train"])
    assert "train against val" not in only.output


def test_compare_refuses_what_is_not_alike(tickets, other):
    path = f"{other}/train/000000.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    done = CliRunner().invoke(main, ["compare", tickets, other])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "expected the same keys in" in done.stderr
    assert CliRunner().invoke(main, ["compare", tickets, other, "--split", "test"]).exit_code == 2
