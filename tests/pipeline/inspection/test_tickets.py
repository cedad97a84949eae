import itertools
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.inspection.tickets import (
    centre_and_border,
    chance_iou,
    describe_manifest,
    describe_split,
    draw_map,
    summarise_split,
)
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError


@pytest.fixture(scope="module")
def summary(tickets):
    return summarise_split(Manifest.open(tickets), "train")


@pytest.fixture(scope="module")
def good(tickets) -> pd.DataFrame:
    table = pd.read_parquet(f"{tickets}/train")
    return table[table["error"].isna()]


def test_counts(summary):
    assert summary.samples == 23
    assert summary.errors == 1
    (reason,) = summary.reasons
    assert "truncated" in reason or "identify" in reason


def test_keep_map_is_how_often_each_patch_is_in_lt(summary, good):
    expected = [sum(patch in set(lt) for lt in good["lt"]) / len(good) for patch in range(36)]
    assert np.allclose(summary.keep_map.ravel(), expected)
    assert summary.keep_map.mean() == pytest.approx(18 / 36)


def test_mean_iou(summary, good):
    ious = [len({*lt} & {*rc}) / len({*lt} | {*rc}) for lt, rc in zip(good["lt"], good["rc"], strict=True)]
    assert summary.mean_iou == pytest.approx(np.mean(ious))


def test_predictions(summary, good):
    assert summary.predicted == len(good) == 22
    assert summary.agreeing == (good["prediction"] == good["label"]).sum()
    assert summary.confidence_sum / summary.predicted == pytest.approx(0.75)


def test_chance_iou_of_all_pairs():
    subsets = [set(subset) for subset in itertools.combinations(range(6), 2)]
    ious = [len(a & b) / len(a | b) for a in subsets for b in subsets]
    assert chance_iou(6, 2) == pytest.approx(np.mean(ious))
    assert chance_iou(196, 196) == 1


def test_random_subsets_overlap_by_chance():
    pairs = [[set(random_subset(seed, str(i), 196, 101).tolist()) for seed in (0, 1)] for i in range(300)]
    assert np.mean([len(a & b) / len(a | b) for a, b in pairs]) == pytest.approx(chance_iou(196, 101), abs=0.01)


def test_centre_and_border():
    keep_map = np.zeros((6, 6))
    keep_map[2:4, 2:4] = 1
    assert centre_and_border(keep_map) == (1, 0)
    keep_map = np.ones((6, 6))
    keep_map[1:5, 1:5] = 0
    assert centre_and_border(keep_map) == (0, 1)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_centre_and_border_of_tiny_grids(side):
    centre, border = centre_and_border(np.full((side, side), 0.5))
    assert border == 0.5
    assert centre == 0.5 or math.isnan(centre)


def test_draw_map():
    assert draw_map(np.array([[0.0, 0.254], [0.5, 1.0]])) == ["   0  25", "  50 100"]
    shades = draw_map(np.linspace(0, 0.4, 400).reshape(20, 20))
    assert len(shades) == 20
    assert {len(line) for line in shades} == {40}
    assert shades[0].startswith("  ")
    assert shades[-1].endswith("@@")
    assert draw_map(np.zeros((20, 20)))[0] == " " * 40


def test_description(tickets, summary):
    manifest = Manifest.open(tickets)
    text = "\n".join([*describe_manifest(manifest, manifest.splits), *describe_split("train", summary)])
    for part in (
        "bright, weights abababababab",
        "18 of 36 patches (50.0%)",
        "6 x 6 at 24 px",
        "mask seed 3",
        "23 images, 1 without a ticket",
        "1 x ",
        "view       train: full (whole image, bicubic, 24 px)\n",
        "view       val: center (shorter side to",
        f"{summary.mean_iou:.3f}",
        f"by chance {chance_iou(36, 18):.3f}",
        "mean confidence 75.0%",
    ):
        assert part in text
    grid = re.findall(r"^  ((?: +\d+){6})$", text, flags=re.MULTILINE)
    assert len(grid) == 6


def test_missing_rows_are_told(tickets, tmp_path):
    shutil.copytree(tickets, tmp_path / "t")
    (tmp_path / "t/train/000001.parquet").unlink()
    with pytest.raises(UserError, match=r"train: expected 23 rows as in ticket\.json, found 15"):
        summarise_split(Manifest.open(str(tmp_path / "t")), "train")


def test_description_of_errors_alone(tickets):
    manifest = Manifest.open(tickets)
    empty = summarise_split(manifest, "val")
    empty.samples, empty.reasons = 2, empty.reasons + type(empty.reasons)({"broken": 2})
    lines = list(describe_split("val", empty))
    assert lines[0] == "val: 2 images, 2 without a ticket"
    assert "2 x broken" in lines[1]
    assert not any("nan" in line for line in lines)
