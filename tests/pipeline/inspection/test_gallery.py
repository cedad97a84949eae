import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.images import decode
from vit_tickets.pipeline.inspection.gallery import (
    CAPTION,
    DROPPED,
    GAP,
    dim,
    draw,
    dropped_at,
    heat,
    pick,
    stages,
    write_gallery,
)
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError


@pytest.fixture
def opened(tickets, packed):
    return Manifest.open(tickets), Dataset.open(packed)


def test_sheet_on_disk(opened, tmp_path):
    assert write_gallery(str(tmp_path / "sheet.png"), *opened, "train", 4) == 4
    sheet = Image.open(tmp_path / "sheet.png")
    panel = 168  # 24 pixels, seven times
    assert sheet.size == (5 * panel + 6 * GAP, CAPTION + GAP + 4 * (CAPTION + panel + GAP))
    write_gallery(str(tmp_path / "again.png"), *opened, "train", 4)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()


def test_first_panel_is_the_image_enlarged(opened, packed):
    manifest, dataset = opened
    picked = pick(manifest, dataset, "val", 2)
    originals = {s.key: np.asarray(decode(s.data)) for s in read_shard(dataset.path_of(dataset.shards("val")[0]))}
    sheet = np.asarray(draw(picked, 36))
    for row, item in enumerate(picked):
        top = CAPTION + GAP + row * (CAPTION + 168 + GAP) + CAPTION
        panel = sheet[top : top + 168, GAP : GAP + 168]
        assert np.array_equal(panel[3::7, 3::7], originals[item.key])


def test_pick_spreads_and_passes_over_errors(opened, tickets):
    manifest, dataset = opened
    picked = pick(manifest, dataset, "train", 23)
    table = pd.read_parquet(f"{tickets}/train")
    errors = set(table["key"][table["error"].notna()])
    keys = [item.key for item in picked]
    assert len(set(keys)) == len(keys) == 22
    assert not errors & set(keys)
    few = [item.key for item in pick(manifest, dataset, "train", 3)]
    files = [key for key in few for shard in range(3) if key in set(table["key"][8 * shard : 8 * shard + 8])]
    assert len(few) == len(files) == 3


def test_pick_reads_only_the_shards_it_needs(opened, packed, tmp_path):
    manifest, _ = opened
    root = tmp_path / "small"
    shutil.copytree(packed, root)
    (root / "train" / "000000.tar").unlink()
    assert len(pick(manifest, Dataset.open(str(root)), "train", 1)) == 1


def test_pick_carries_the_rows_values(opened, tickets):
    manifest, dataset = opened
    table = pd.read_parquet(f"{tickets}/val").set_index("key")
    for item in pick(manifest, dataset, "val", 3):
        assert item.ticket_k.tolist() == table.loc[item.key, "lt"].tolist()
        assert item.random_k.tolist() == table.loc[item.key, "rc"].tolist()
        name = dataset.classes[table.loc[item.key, "label"]]
        assert item.caption == f"{item.key}: {name}, selector says cat"


def test_dim_fades_the_dropped_patches_alone():
    pixels = np.full((12, 12, 3), 200, dtype=np.uint8)
    faded = dim(pixels, np.array([0, 3]), side=2)
    assert (faded[:6, :6] == 200).all()
    assert (faded[6:, 6:] == 200).all()
    for dropped in (faded[:6, 6:], faded[6:, :6]):
        assert len(np.unique(dropped.reshape(-1, 3), axis=0)) == 1
        assert np.abs(dropped[0, 0] - DROPPED).max() < np.abs(200 - DROPPED).max() / 2
    black = dim(np.zeros((12, 12, 3), dtype=np.uint8), np.array([0]), side=2)
    assert black[0, 0].max() == 0 < black[0, 11].min(), "dropped black patches differ from kept ones"


def test_a_patch_falls_in_the_first_stage_that_leaves_it_out(opened, tickets):
    manifest, dataset = opened
    ranks = pd.read_parquet(f"{tickets}/val").set_index("key")["rank"]
    counts = manifest.record["counts"]
    assert len(counts) > 1
    for item in pick(manifest, dataset, "val", 3):
        for rank, stage in zip(ranks[item.key], item.dropped_at_N, strict=True):
            assert stage == next((number for number, count in enumerate(counts) if rank >= count), -1)
        assert np.flatnonzero(item.dropped_at_N < 0).tolist() == sorted(item.ticket_k)
    assert dropped_at(np.array([3, 0, 1, 2]), [3, 1]).tolist() == [0, -1, 1, 1]


def test_what_fell_first_is_darkest_and_what_is_kept_is_as_it_was():
    shown = stages(np.full((12, 12, 3), 200, dtype=np.uint8), np.array([0, 1, 7, -1]))
    first, second, last, kept = (shown[y, x].astype(int) for y in (2, 8) for x in (2, 8))
    assert first.sum() < second.sum() < last.sum()
    assert (kept == 200).all()
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 4


def test_heat_is_lightest_where_the_score_is_highest():
    score = np.zeros(36, dtype=np.float16)
    score[14] = 0.5  # row 2, column 2
    coloured = heat(np.full((60, 60, 3), 128, dtype=np.uint8), score).astype(int).sum(axis=-1)
    assert coloured.shape == (60, 60)
    assert coloured[25, 25] == coloured.max()
    assert coloured[25, 25] > coloured[55, 55] + 100
    assert coloured[55, 55] == coloured.min()


def test_heat_of_equal_scores():
    coloured = heat(np.zeros((12, 12, 3), dtype=np.uint8), np.full(4, 0.25, dtype=np.float16))
    assert len(np.unique(coloured.reshape(-1, 3), axis=0)) == 1


def test_long_and_foreign_captions(opened):
    (item,) = pick(*opened, "val", 1)
    long = type(item)("k", "猫" + "x" * 500, item.pixels, item.ticket_k, item.random_k, item.score_N)
    assert draw([long], 36).size[0] == 4 * 168 + 5 * GAP, "no stages were given"


def test_a_manifest_of_other_shards(opened, packed, tmp_path):
    manifest, dataset = opened
    first, *others = dataset.splits["val"]
    dataset.splits["val"] = [type(first)(first.file, first.samples, first.bytes, "0" * 64), *others]
    with pytest.raises(UserError, match="was made from another shard"):
        pick(manifest, dataset, "val", 1)


def test_a_split_without_tickets(opened):
    with pytest.raises(UserError, match="expected tickets of split 'test'"):
        pick(*opened, "test", 1)
