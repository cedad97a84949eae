"""`generate --scores`: tickets of every format and view, read by all that reads tickets."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import refused, run, words
from tests.helpers import contents
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.images import UndecodableImage, decode

pytestmark = pytest.mark.process

SIZES = words("--image-size 24 --patch-size 4 --sparsity 0.5 --engine local")


@pytest.fixture(scope="module")
def images(oblong):
    """Key -> (height, width) of the images of `oblong` that can be decoded, by split."""
    dataset, found = Dataset.open(oblong), {}
    for split in dataset.splits:
        for shard in dataset.shards(split):
            for sample in read_shard(dataset.path_of(shard)):
                try:
                    width, height = decode(sample.data).size
                except UndecodableImage:
                    continue
                found.setdefault(split, {})[sample.key] = (height, width)
    return found


@pytest.fixture(scope="module")
def maps(images):
    """SPLIT/KEY (the splits share keys) -> a map of scores of the image's own size."""
    generator = np.random.default_rng(0)
    return {f"{split}/{key}": generator.random(images[split][key]) for split in images for key in images[split]}


@pytest.fixture(scope="module")
def folder(maps, tmp_path_factory):
    root = tmp_path_factory.mktemp("heat")
    for key, values in maps.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / f"{key}.npy", values)
    return root


@pytest.fixture(scope="module")
def made(oblong, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores") / "m"
    done = run("generate", oblong, "--scores", folder, *SIZES, "--out", out)
    assert "scores: " in done.stdout
    assert "maps of 11 images" in done.stdout
    assert "train: scores of 8 of 9 images\n" in done.stderr
    assert "train: none of 1 image, of which the row has an error: dog/broken" in done.stderr
    return out


def cells(values, box, grid=6, fine=64):
    """Mean over each cell, by points."""
    x0, y0, x1, y1 = box
    points = (np.arange(grid * fine) + 0.5) / (grid * fine)
    rows, columns = ((low + (high - low) * points).astype(int) for low, high in ((y0, y1), (x0, x1)))
    return values[np.ix_(rows, columns)].reshape(grid, fine, grid, fine).mean(axis=(1, 3)).ravel()


def test_every_row_is_the_map_of_its_image(made, oblong, maps):
    run("verify", made, "--dataset", oblong)
    record = json.loads((made / "ticket.json").read_text())
    assert (record["method"], record["given"], record["grid"], record["counts"][-1]) == ("scores", "maps", 6, 18)
    for split, side in (("train", None), ("val", 30)):
        rows = pd.read_parquet(made / split)
        for row in rows[rows["error"].isna()].itertuples():
            height, width = int(row.height), int(row.width)
            if side is None:
                box = (0, 0, width, height)
            else:  # 33 x 30 images, of which 0.9 of the shorter side is in view
                short = int(24 / 0.9)
                high = int(short * height / width)
                left, top = round((short - 24) / 2), round((high - 24) / 2)
                sx, sy = width / short, height / high
                box = (left * sx, top * sy, (left + 24) * sx, (top + 24) * sy)
            np.testing.assert_allclose(row.score, cells(maps[f"{split}/{row.key}"], box), atol=0.02)
            assert (np.diff(np.array(row.score)[np.argsort(row.rank)]) <= 0).all()
            assert sorted(row.lt) == sorted(np.argsort(row.rank)[:18])


def test_formats_of_the_same_maps_agree(made, oblong, maps, tmp_path, folder):
    rows = {"key": list(maps), "scores": [values.tolist() for values in maps.values()]}
    pq.write_table(pa.table(rows), tmp_path / "maps.parquet")
    np.savez(tmp_path / "maps.npz", **maps)
    expected = {split: pd.read_parquet(made / split) for split in ("train", "val")}
    for number, source in enumerate((tmp_path / "maps.parquet", tmp_path / "maps.npz")):
        run("generate", oblong, "--scores", source, *SIZES, "--out", tmp_path / str(number))
        for split, frame in expected.items():
            found = pd.read_parquet(tmp_path / str(number) / split)
            for column in ("key", "rank", "lt", "rc", "score"):
                assert list(map(str, found[column])) == list(map(str, frame[column])), column
    for key, values in maps.items():
        (tmp_path / "masks" / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values * 65535).astype(np.uint16)).save(tmp_path / f"masks/{key}.png")
    run("generate", oblong, "--scores", tmp_path / "masks", *SIZES, "--out", tmp_path / "2")
    found = pd.read_parquet(tmp_path / "2/val")
    np.testing.assert_allclose(np.stack(found["score"]), np.stack(expected["val"]["score"]), atol=1e-3)


def test_boxes_keep_what_they_hold(oblong, images, tmp_path):
    lines = ["key,x0,y0,x1,y1"]
    for split, of_split in images.items():
        lines += [f"{split}/{key},0,0,{width / 2},{height}" for key, (height, width) in of_split.items()]
    lines[1] = lines[1].replace(",0,0,", ",-40,0,")
    (tmp_path / "boxes.csv").write_text("\n".join([*lines, "nothing,0,0,1,1"]))
    done = run("generate", oblong, "--scores", tmp_path / "boxes.csv", *SIZES, "--out", tmp_path / "m")
    assert "boxes.csv: 1 name of no image of train and val: nothing" in done.stderr
    assert "train: 1 image with scores but an error: " in done.stderr
    assert "expected boxes in the image of 40 x 61, found (-40, 0, 30.5, 40)" in done.stderr
    rows = pd.read_parquet(tmp_path / "m/train")
    assert rows["error"].notna().sum() == 2
    for row in rows[rows["error"].isna()].itertuples():
        assert sorted(row.lt) == [6 * y + x for y in range(6) for x in range(3)]


def test_crops_have_tickets_of_their_own(oblong, folder, maps, tmp_path):
    options = words("--view crops:3 --crop-ranks --crop-seed 3")
    run("generate", oblong, "--scores", folder, *SIZES, *options, "--out", tmp_path / "m")
    run("verify", tmp_path / "m", "--dataset", oblong)
    rows = pd.read_parquet(tmp_path / "m/train")
    mirrored = 0
    for row in rows[rows["error"].isna()].itertuples():
        for box, flip, rank in zip(row.box, row.flip, row.rank, strict=True):
            expected = cells(maps[f"train/{row.key}"], box).reshape(6, 6)
            order = np.argsort(-(expected[:, ::-1] if flip else expected).ravel())
            assert np.corrcoef(np.argsort(order), rank)[0, 1] > 0.98  # points are not exact areas
            mirrored += flip
    assert 0 < mirrored < 24
    run("generate", oblong, "--scores", folder, *SIZES, "--view", "full@2", "--out", tmp_path / "fine")
    assert len(pd.read_parquet(tmp_path / "fine/train")["rank"].dropna().iloc[0]) == 144


def test_shards_resume_and_engines_agree(made, oblong, folder, tmp_path):
    out = tmp_path / "m"
    run("generate", oblong, "--scores", folder, *SIZES, "--out", out)
    (out / "ticket.json").unlink()
    (out / "train/000001.parquet").unlink()
    run("generate", oblong, "--scores", folder, *SIZES, "--out", out)
    assert contents(out) == contents(made)


def test_scores_without_a_difference_are_counted(oblong, images, tmp_path):
    keys = [f"{split}/{key}" for split, of_split in images.items() for key in of_split]
    np.savez(
        tmp_path / "flat.npz", **{key: np.full(4, number % 2 == 0) * np.arange(4.0) for number, key in enumerate(keys)}
    )
    done = run("generate", oblong, "--scores", tmp_path / "flat.npz", *SIZES, "--out", tmp_path / "m")
    assert "train: the scores of 4 images are equal in the whole view; their tickets are its centre" in done.stderr
    rows = pd.read_parquet(tmp_path / "m/train")
    whole = rows[rows["error"].isna()]
    centre = next(row for row in whole.itertuples() if set(row.score) == {0})
    assert {14, 15, 20, 21} == set(np.argsort(centre.rank)[:4])


@pytest.mark.slow
def test_ray_writes_the_same_bytes(made, oblong, folder, tmp_path):
    run("generate", oblong, "--scores", folder, *SIZES, "--engine", "ray", "--workers", 2, "--out", tmp_path / "m")
    assert contents(tmp_path / "m") == contents(made)


def test_what_reads_tickets_reads_these(made, oblong, tmp_path):
    told = run("inspect", made, "--dataset", oblong, "--gallery", tmp_path / "g.png").stdout
    assert "method     scores" in told
    assert re.search(r"^selector   .*, scores [0-9a-f]{12}$", told, re.MULTILINE)  # no weights, no precision
    run("compare", made, made)
    run("export", made, tmp_path / "archive.parquet")
    run("join", tmp_path / "archive.parquet", oblong, "--out", tmp_path / "joined")
    run("verify", tmp_path / "joined", "--dataset", oblong)
    columns = ["key", "rank", "lt", "rc"]
    joined, own = (pd.read_parquet(root / "train", columns=columns) for root in (tmp_path / "joined", made))
    assert joined.astype(str).equals(own.astype(str))
    options = words("--model deit_micro --image-size 24 --patch-size 4 --epochs 1 --batch-size 4 --workers 0")
    run("train", oblong, "--path", "lt", "--tickets", made, *options, "--out", tmp_path / "run", "--device", "cpu")
    record = json.loads((tmp_path / "run/config.json").read_text())["tickets"]
    assert (record["method"], record["given"]) == ("scores", "maps")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--selector deit_tiny", "--scores: expected no selector, found --selector deit_tiny"),
        ("--predictions", "--scores: expected no selector, found --predictions"),
        ("--method rollout", "--scores: expected no selector, found --method rollout"),
        ("--precision bf16", "--scores: expected no selector, found --precision bf16"),
        ("--view crops-mean:3", "--scores cover the whole image: expected --view full or full@2, found crops-mean:3"),
        ("--patch-size 5", "--image-size: expected a multiple of the 5 px of a patch, found 24"),
    ],
)
def test_what_does_not_go_together_is_refused(oblong, folder, tmp_path, options, why):
    asked = ("generate", oblong, "--scores", folder, *SIZES, *words(options), "--out", tmp_path / "m")
    assert why in refused(*asked)


def test_scores_of_other_images_are_refused(oblong, tmp_path, selector_run):
    (tmp_path / "b.csv").write_text("key,x0,y0,x1,y1\nnothing,0,0,1,1\n")
    why = refused("generate", oblong, "--scores", tmp_path / "b.csv", *SIZES, "--out", tmp_path / "m")
    assert "train: expected names in b.csv that are keys of the dataset, found none; a name is 'nothing', a key" in why
    why = refused("generate", oblong, "--selector", selector_run, "--patch-size", 4, "--out", tmp_path / "m")
    assert "--patch-size: expected --scores" in why


def test_a_selector_at_another_size(oblong, selector_run, tmp_path):
    run(
        "generate",
        oblong,
        "--selector",
        selector_run,
        *words("--image-size 32 --engine local"),
        "--out",
        tmp_path / "m",
    )
    record = json.loads((tmp_path / "m/ticket.json").read_text())
    assert (record["image_size"], record["patch_size"], record["grid"]) == (32, 4, 8)
    run("verify", tmp_path / "m", "--dataset", oblong)
    why = refused("generate", oblong, "--selector", selector_run, "--image-size", 30, "--out", tmp_path / "n")
    assert "--image-size: expected a multiple of 4" in why


def test_boxes_of_images_that_pack_shrank_have_to_say_their_size(tmp_path):
    for split in ("train", "val"):
        (tmp_path / "photos" / split / "a").mkdir(parents=True)
        Image.new("RGB", (120, 80)).save(tmp_path / "photos" / split / "a" / f"{split}.png")
    run("pack", tmp_path / "photos", tmp_path / "whole")
    run("pack", tmp_path / "photos", tmp_path / "small", "--shorter-side", "40")
    records = [json.loads((tmp_path / name / "dataset.json").read_text())["splits"] for name in ("whole", "small")]
    assert [[entry.get("shorter_side") for entry in record.values()] for record in records] == [[None] * 2, [40] * 2]
    bare, sized = tmp_path / "bare.csv", tmp_path / "sized.csv"
    bare.write_text("key,x0,y0,x1,y1\na/train,0,0,30,40\na/val,0,0,30,40\n")
    sized.write_text("key,x0,y0,x1,y1,image_height,image_width\na/train,0,0,60,80,80,120\na/val,0,0,30,40,40,60\n")
    found = refused("generate", tmp_path / "small", "--scores", bare, *SIZES, "--out", tmp_path / "m")
    assert "expected columns image_height,image_width (or the <size> of VOC) of the images that the boxes in" in found
    assert "pack shrank those of train to a shorter side of 40 px, found none of a/train" in found
    for dataset, scores in (("small", sized), ("whole", bare)):
        run("generate", tmp_path / dataset, "--scores", scores, *SIZES, "--out", tmp_path / f"of-{dataset}")
    for split in ("train", "val"):
        (row,) = pd.read_parquet(tmp_path / "of-small" / split).itertuples()
        assert sorted(row.lt) == [6 * y + x for y in range(6) for x in range(3)], "the left half, whatever its pixels"
    run("pack", tmp_path / "photos", tmp_path / "small", "--split", "val", "--overwrite")
    again = json.loads((tmp_path / "small/dataset.json").read_text())["splits"]
    assert [again[split].get("shorter_side") for split in ("train", "val")] == [40, None]
