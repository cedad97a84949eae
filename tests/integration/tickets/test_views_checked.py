"""What verify, inspect and the gallery say of crops and of finer grids."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import run
from tests.helpers import change_column, edited
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.inspection.gallery import GAP, write_gallery
from vit_tickets.pipeline.inspection.tickets import describe_manifest, describe_split, summarise_split
from vit_tickets.pipeline.manifests.columns import unpack_masks
from vit_tickets.pipeline.manifests.manifest import Manifest

pytestmark = pytest.mark.process


@pytest.mark.parametrize("name", ["crops", "mean", "doubled"])
def test_a_true_one_passes_verify(name, request, oblong):
    run("verify", request.getfixturevalue(name), "--dataset", oblong)


def spoil(folder, column, row, change):
    def changed(values):
        return [change(value) if number == row else value for number, value in enumerate(values)]

    change_column(folder / "train/000000.parquet", column, changed)


def one_bit_more(masks):
    return [*masks[:2], bytes([masks[2][0] ^ 1, *masks[2][1:]]), *masks[3:]]


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("box", lambda v: [*v[:2], [v[2][0] + 1, *v[2][1:]], *v[3:]], "box: expected the draw of crop seed 7, found ("),
        ("box", lambda v: [*v[:2], v[2][:3], *v[3:]], "box: expected the draw of crop seed 7, found ("),
        ("box", lambda v: v[:-1], "box: expected a list of 5, found 4"),
        ("box", lambda v: [None, *v[1:]], "box: expected no null inside a list, found one"),
        ("box", lambda v: [[None, *v[0][1:]], *v[1:]], "box: expected no null inside a list, found one"),
        ("box", lambda v: None, "box: expected a value where there is no error, found null"),
        ("flip", lambda v: [not v[0], *v[1:]], "flip: expected the draw of crop seed 7, found"),
        ("lt", one_bit_more, "lt: expected 18 of 36 bits set in every mask, found 1"),
        ("lt", lambda v: [v[0][:-1], *v[1:]], "lt: expected masks of 5 bytes, found one of 4"),
        (
            "lt",
            lambda v: [v[0][:-1] + b"\xff", *v[1:]],
            "lt: expected 18 of 36 bits set in every mask, found a bit bey",
        ),
        ("lt", lambda v: [v[1], v[0], *v[2:]], "lt: expected the patches with rank < 18, found others at place 0"),
        ("rank", lambda v: [v[0], [v[1][1], *v[1][1:]], *v[2:]], "rank: expected permutations of 0..35, found another"),
        ("height", lambda v: v + 40, "box: expected the draw of crop seed 7, found ("),
    ],
)
def test_verify_finds_a_tampered_crop(crops, oblong, tmp_path, column, change, message):
    copy = Path(shutil.copytree(crops, tmp_path / "m"))
    row = pq.read_table(copy / "train/000000.parquet")["error"].to_pylist().index(None)
    spoil(copy, column, row, change)
    done = run("verify", copy, "--dataset", oblong, code=1)
    assert f"train/000000.parquet row {row} (" in done.stdout
    assert message in done.stdout


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"crop_seed": 8}, "metadata differs from ticket.json: preprocessing.crop_seed: expected 8, found 7"),
        ({"crop_flip": "x"}, "view, preprocessing: expected what can be drawn again"),
        ({"crop_ratio": [1, 1]}, "preprocessing: crop_ratio: expected [0.75"),
        ({"crop_scale": 0}, "expected a crop scale in (0, 1], found 0"),
        ({"odd": 0}, "view, preprocessing: expected what can be drawn again"),
    ],
)
def test_verify_finds_another_draw(crops, tmp_path, entry, message):
    copy = Path(shutil.copytree(crops, tmp_path / "m"))
    with edited(copy / "ticket.json") as record:
        record["splits"]["train"]["preprocessing"] |= entry
    assert message in run("verify", copy, code=1).stdout


def test_verify_finds_a_tampered_mean(mean, oblong, tmp_path):
    copy = Path(shutil.copytree(mean, tmp_path / "m"))
    row = pq.read_table(copy / "train/000000.parquet")["error"].to_pylist().index(None)
    spoil(copy, "score", row, lambda scores: [1 - score for score in scores])
    assert "score: expected no increase along rank" in run("verify", copy, "--dataset", oblong, code=1).stdout
    spoil(copy, "rc", row, lambda patches: [*patches[:-1], 0])
    assert "rc: expected the subset of mask seed 0" in run("verify", copy, "--dataset", oblong, code=1).stdout


@pytest.mark.parametrize(
    ("name", "parts", "panels"),
    [
        (
            "crops",
            [
                "view       train: crops:5 (random crops from 0.2 of its area on, flip 0.5, crop seed 7",
                "5 per image",
                "in the first crop",
            ],
            3,
        ),
        (
            "mean",
            [
                "crops-mean:5 (whole image, mean over random crops from 0.2 of its area on, flip 0.5",
                "; grid 12 x 12, 72 of 144 cells",
            ],
            4,
        ),
        ("doubled", ["full@2 (whole image, bicubic, 48 px); grid 12 x 12, 72 of 144 cells"], 5),
    ],
)
def test_inspect_and_gallery(name, parts, panels, request, oblong, tmp_path):
    manifest = Manifest.open(str(request.getfixturevalue(name)))
    summary = summarise_split(manifest, "train")
    text = "\n".join([*describe_manifest(manifest, ["train"]), *describe_split("train", summary)])
    for part in ("9 images, 1 without a ticket", *parts):
        assert part in text
    assert summary.keep_map.mean() == pytest.approx(0.5)
    frame = pd.read_parquet(f"{manifest.root}/train").dropna(subset=["lt"])
    if name == "crops":
        masks = np.concatenate([unpack_masks(masks, 36) for masks in frame["lt"]])
        assert np.allclose(summary.keep_map.ravel(), masks.mean(axis=0))
    else:
        assert np.allclose(summary.keep_map.ravel(), np.mean([rank < 72 for rank in frame["rank"]], axis=0))
    assert write_gallery(str(tmp_path / "sheet.png"), manifest, Dataset.open(oblong), "train", 3) == 3
    side = 192 if name == "doubled" else 168
    assert Image.open(tmp_path / "sheet.png").width == panels * side + (panels + 1) * GAP
