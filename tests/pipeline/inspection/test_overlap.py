"""Overlap of manifests: against loops over sets, and numpy's correlation, and as `compare` says it."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import refused, run
from tests.helpers import change_column, edited, write_crops, write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.regrid import axis_weights, rerank
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.inspection.overlap import chance_distance, iou, keep_map_distance, overlap, rank_correlation
from vit_tickets.pipeline.inspection.overlap_report import record_of
from vit_tickets.pipeline.inspection.tickets import chance_iou
from vit_tickets.pipeline.manifests.manifest import Manifest


@settings(deadline=None)
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
        change_column(path, "rank", lambda ranks: [rank and [35 - place for place in rank] for rank in ranks])
    return str(root)


def test_overlap_goes_through_all_files(tickets, other):
    found = overlap([Manifest.open(tickets), Manifest.open(other)], "train")
    rows = pd.read_parquet(f"{tickets}/train").dropna(subset=["lt"])
    assert found.images == len(rows) == 22
    assert np.allclose(found.iou_PR, 0)
    assert np.allclose(found.rank_PR, -1)
    kept = np.array([[patch in set(lt) for patch in range(36)] for lt in rows["lt"]])
    assert np.allclose(found.keep_MN, [kept.mean(axis=0), 1 - kept.mean(axis=0)])


@pytest.fixture(scope="module")
def repacked(small_source, tmp_path_factory) -> str:
    """A manifest of the images of `tickets` but for one cat, and with a new one, in shards of five."""
    root = tmp_path_factory.mktemp("repacked")
    shutil.copytree(small_source, root / "source")
    (root / "source/train/cat/cat_03.png").rename(root / "source/train/cat/renamed.png")
    pack(str(root / "source"), str(root / "data"), shard_size=5, progress=False)
    return write_manifest(Dataset.open(str(root / "data")), str(root / "tickets"))


def test_images_are_matched_by_key(tickets, repacked):
    found = overlap([Manifest.open(tickets), Manifest.open(repacked)], "train")
    assert (found.images, found.common, found.others_M) == (21, 22, [1, 1])
    assert (found.iou_PR == 1).all()
    assert (found.rank_PR == 1).all()
    assert sorted(found.label_R.tolist()) == [0] * 11 + [1] * 10


def shuffled(root, to, seed):
    """A copy of the manifest at `root` with random ranks; `lt` follows them."""
    shutil.copytree(root, to)
    rng = np.random.default_rng(seed)
    for path in to.glob("*/*.parquet"):
        change_column(path, "rank", lambda ranks: [rank and rng.permutation(36) for rank in ranks])
    return str(to)


def test_three_manifests_in_one_matrix(tickets, repacked, tmp_path):
    roots = [tickets, repacked, shuffled(tickets, tmp_path / "m", 0)]
    done = run("compare", *roots, "--json", tmp_path / "x.json", "--maps")
    lines = done.output.splitlines()
    start = lines.index("  IoU above the diagonal, Spearman's correlation of the ranks below:") + 2
    record = json.loads((tmp_path / "x.json").read_text())
    train = record["splits"]["train"]
    assert train["other_keys"] == {"A": 1, "B": 1, "C": 1}
    tables = [pd.read_parquet(f"{root}/train").dropna(subset="rank").set_index("key") for root in roots]
    common = tables[0].index.intersection(tables[1].index)
    tickets_of = [{key: set(np.flatnonzero(table["rank"][key] < 18)) for key in common} for table in tables]
    for i, j, pair in ((0, 1, "AB"), (0, 2, "AC"), (1, 2, "BC")):
        expected = [len(tickets_of[i][k] & tickets_of[j][k]) / len(tickets_of[i][k] | tickets_of[j][k]) for k in common]
        ranks = [np.corrcoef(tables[i]["rank"][k], tables[j]["rank"][k])[0, 1] for k in common]
        found = train["pairs"][pair]
        assert found["iou"] == pytest.approx(np.mean(expected))
        assert found["rank_correlation"] == pytest.approx(np.mean(ranks), abs=1e-6)
        assert found["iou_quantiles"]["0.25"] == pytest.approx(np.quantile(expected, 0.25), abs=1e-6)
        assert sum(found["iou_histogram"]) == len(common)
        assert float(lines[start + i].split()[1 + j]) == pytest.approx(np.mean(expected), abs=5.1e-4)
        assert float(lines[start + j].split()[1 + i]) == pytest.approx(np.mean(ranks), abs=5.1e-4)
    assert np.array(train["keep_maps"]["C"]).sum() == pytest.approx(18)
    assert "  C less A (points):" in lines


def test_overlap_by_class(tickets, packed, tmp_path):
    other = shuffled(tickets, tmp_path / "m", 1)
    found = overlap([Manifest.open(tickets), Manifest.open(other)], "train")
    record = record_of([Manifest.open(tickets), Manifest.open(other)], {"train": found}, ["cat", "dog"])
    entries = record["splits"]["train"]["classes"]
    assert {entry["name"]: entry["images"] for entry in entries} == {"cat": 12, "dog": 10}
    for entry in entries:
        assert entry["iou"] == pytest.approx(found.iou_PR[0][found.label_R == entry["label"]].mean())
    assert entries[0]["iou"] > entries[1]["iou"]
    said = run("compare", tickets, other, "--dataset", packed).output
    shown = [f"{entry['name']} {entry['iou']:.3f} ({entry['images']} images)" for entry in entries]
    assert f"  classes    highest mean IoU: {shown[0]}" in said
    assert f"             lowest mean IoU:  {shown[1]}" in said


def test_other_grids_are_compared_on_the_coarsest(packed, tickets, tmp_path):
    finer = write_manifest(Dataset.open(packed), str(tmp_path / "finer"), grid=12)
    found = overlap([Manifest.open(finer), Manifest.open(tickets)], "train")
    assert (found.grid, found.kept_M, found.resampled_M) == (6, [18, 18], [True, False])
    assert found.iou_PR.mean() > 0.9  # bright quarters of a patch, and bright patches
    done = run("compare", finer, tickets)
    assert "  compared   on 6 x 6 cells of view full; A resampled to it, as train would" in done.output


def test_the_narrowest_view_is_common_ground(packed, tickets, tmp_path):
    root = shutil.copytree(tickets, tmp_path / "m")
    view = View("center", 24, 0.5)
    with edited(root / "ticket.json") as record:
        record["splits"]["train"] |= {"view": view.kind, "preprocessing": view.preprocessing()}
    found = overlap([Manifest.open(tickets), Manifest.open(str(root))], "train")
    assert (found.view, found.resampled_M) == ("center", [True, False])
    ranks = pd.read_parquet(f"{tickets}/train").dropna(subset="rank").set_index("key").sort_index()["rank"]
    half = axis_weights(np.full(len(ranks), 0.5), np.full(len(ranks), 0.25), 6, 6)  # all images are square
    moved = rerank(np.stack(list(ranks)), half, half)
    assert np.allclose(found.keep_MN[0], (moved < 18).mean(axis=0))


def test_compare_says_so(tickets, other):
    done = run("compare", tickets, other)
    lines = [line.strip() for line in done.output.splitlines()]
    assert lines[2] == "train: 22 images with a ticket in both"
    assert lines[4].split()[:5] == ["AB", "0.000", "0.338", "1.000", "-1.000"]
    assert lines[4].split()[6:9] == ["0.000", "0.000", "0.000"]
    assert lines[4].endswith("|" + "@" + " " * 19 + "|")
    assert "val:" in done.output
    val = lines[lines.index("train against val:") :]
    assert val[3].split()[:3] == ["overlap", "AB", "-1.0000"]
    assert val[4].split()[:3] == ["ranks", "AB", "-2.0000"]
    only = run("compare", tickets, other, "--split", "train")
    assert "train against val" not in only.output


def test_compare_refuses_what_is_not_alike(tickets, other, tmp_path):
    assert "expected 2 to 26 manifests" in refused("compare", tickets)
    assert "expected tickets of split 'test'" in refused("compare", tickets, other, "--split", "test")
    crops = write_crops(str(tmp_path / "crops"))
    assert "expected tickets of a fixed view, found crops:3" in refused("compare", tickets, crops)
    path = f"{other}/train/000000.parquet"
    change_column(path, "label", lambda labels: [1 - label for label in labels])
    assert "found another label for 8 of 22" in refused("compare", tickets, other)
    pq.write_table(pq.read_table(path).slice(1), path)
    assert "expected 23 rows as in ticket.json, found 22" in refused("compare", tickets, other)
