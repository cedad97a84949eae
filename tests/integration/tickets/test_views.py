"""Views beyond one square per image: full@2, crops:V, crops-mean:V, against slow and obvious references."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import checkpoint_filter_fn

from tests.helpers import contents, read_weights
from tests.reference import reference_ranking
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.crops import keyed_rng, random_resized_crop
from vit_tickets.pipeline.geometry.images import decode, render, to_array
from vit_tickets.pipeline.geometry.patches import Budget, random_subset
from vit_tickets.pipeline.manifests.columns import unpack_masks
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.selection.selector import Selector, open_selector

pytestmark = pytest.mark.process
STAGES = (2, 4)
V = 5
# Of random weights many attentions are nearly equal; one pass over a batch and one over an image may round otherwise.
CLOSE = 1e-6


@pytest.fixture(scope="module")
def selector(selector_run):
    return Selector(open_selector(selector_run, stages=STAGES))


def originals(oblong):
    dataset = Dataset.open(oblong)
    return {s.key: s.data for shard in dataset.shards("train") for s in read_shard(dataset.path_of(shard))}


def good(manifest):
    frame = pd.read_parquet(manifest / "train")
    assert len(frame) == 9
    assert frame["error"].notna().sum() == 1
    return frame[frame["error"].isna()]


def is_the_order_of(network, selector, square, counts, rank):
    """Whether `rank` is what the definition gives for the pixels of `square`, but for attentions nearly equal."""
    image = selector.normalise(torch.from_numpy(to_array(square))[None])[0]
    expected, score = reference_ranking(network, image, STAGES, counts)
    by_expected, by_found = np.argsort(expected), np.argsort(rank)
    score = np.array(score)
    return np.allclose(score[by_expected], score[by_found], rtol=0, atol=CLOSE)


# --- crops:V


def test_every_crop_has_the_ticket_of_its_own_pixels(crops, oblong, selector):
    counts = Budget(0.5).stage_counts(36, 2)
    pictures = originals(oblong)
    for _, row in good(crops).head(4).iterrows():
        image = decode(pictures[row["key"]])
        mask_VN = unpack_masks(row["lt"], 36)
        assert mask_VN.shape == (V, 36)
        assert mask_VN.dtype == bool
        for view in range(V):
            drawn = random_resized_crop(keyed_rng("crops", 7, row["key"], view), image.height, image.width, 0.2, 0.5)
            assert tuple(row["box"][view]) == drawn.box
            assert row["flip"][view] == drawn.flip
            x0, y0, x1, y1 = row["box"][view]
            square = image.resize((24, 24), Image.Resampling.BICUBIC, box=(x0, y0, x1, y1))
            if row["flip"][view]:
                square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            assert is_the_order_of(selector.network, selector, square, counts, row["rank"][view])
            assert np.array_equal(mask_VN[view], np.asarray(row["rank"][view]) < 18)
    flips = [flip for flips in good(crops)["flip"] for flip in flips]
    assert 0 < sum(flips) < len(flips)


def test_columns_and_provenance_of_crops(crops, make):
    frame = pd.read_parquet(crops / "train")
    assert list(frame.columns) == ["key", "label", "height", "width", "box", "flip", "lt", "rank", "error"]
    broken = frame[frame["error"].notna()].iloc[0]
    assert all(broken[name] is None for name in ("box", "flip", "lt", "rank"))
    metadata = read_metadata(str(crops / "train/000000.parquet"))
    assert metadata["view"] == f"crops:{V}"
    drawn = {"crop_seed": 7, "crop_scale": 0.2, "crop_flip": 0.5, "crop_ratio": [3 / 4, 4 / 3]}
    assert metadata["preprocessing"].items() >= drawn.items()
    assert metadata["crop_ranks"] is True
    assert metadata["num_patches"] == 36
    val = pd.read_parquet(crops / "val")
    assert list(val.columns) == ["key", "label", "height", "width", "rank", "lt", "rc", "score", "error"]
    assert "crop_seed" not in read_metadata(str(crops / "val/000000.parquet"))["preprocessing"]
    manifest = Manifest.open(str(crops))
    assert manifest.view("train").num_views == V
    assert manifest.view("val").kind == "center"
    assert manifest.view("train").box(40, 61) == (0, 0, 61, 40)
    assert (manifest.num_patches_of("train"), manifest.grid_of("train"), manifest.kept_of("train")) == (36, 6, 18)


def test_without_ranks_the_masks_are_the_same(crops, make):
    plain = make("--view", f"crops:{V}", "--crop-seed", 7, "--crop-scale", 0.2)
    assert "rank" not in pd.read_parquet(plain / "train").columns
    for name in ("box", "flip", "lt"):
        ours, theirs = (pq.read_table(folder / "train")[name].to_pylist() for folder in (plain, crops))
        assert ours == theirs


def test_other_seeds_draw_other_crops_and_more_crops_begin_with_the_fewer(make, crops):
    boxes = good(crops)["box"].map(lambda boxes: [tuple(box) for box in boxes]).tolist()
    other = good(make("--view", "crops:2", "--crop-scale", 0.2))["box"].map(lambda boxes: tuple(boxes[0]))
    more = good(make("--view", f"crops:{V + 3}", "--crop-seed", 7, "--crop-scale", 0.2))["box"]
    assert other.tolist() != [row[0] for row in boxes]
    assert more.map(lambda boxes: [tuple(box) for box in boxes[:V]]).tolist() == boxes


# --- crops-mean:V


def test_the_mean_is_that_of_a_loop_over_cells(mean, crops, oblong, selector):
    """From the ranks that crops:V stores for the same draw: a cell at a time, a patch at a time, an area at a time."""
    spec = selector.spec
    counts = Budget(0.5).stage_counts(36, 2)
    rows = good(crops).set_index("key")
    pictures = originals(oblong)
    holes = 0
    for _, row in good(mean).head(5).iterrows():
        stored, height, width = rows.loc[row["key"]], row["height"], row["width"]
        square = to_array(render(decode(pictures[row["key"]]), spec.view("full")))
        whole = selector.rank(square[None], [counts], False)[0].rank_BN[0]
        expected = []
        for cell in range(144):
            cy, cx = divmod(cell, 12)
            cell_box = (cx * width / 12, cy * height / 12, (cx + 1) * width / 12, (cy + 1) * height / 12)
            total = weight = 0.0
            for view in range(V):
                x0, y0, x1, y1 = stored["box"][view]
                for patch in range(36):
                    py, px = divmod(patch, 6)
                    px = 5 - px if stored["flip"][view] else px
                    left, right = x0 + px * (x1 - x0) / 6, x0 + (px + 1) * (x1 - x0) / 6
                    top, bottom = y0 + py * (y1 - y0) / 6, y0 + (py + 1) * (y1 - y0) / 6
                    wide = max(0, min(right, cell_box[2]) - max(left, cell_box[0]))
                    high = max(0, min(bottom, cell_box[3]) - max(top, cell_box[1]))
                    total += wide * high * (1 - stored["rank"][view][patch] / 36)
                    weight += wide * high
            holes += weight == 0
            expected.append(total / weight if weight else 1 - whole[6 * (cy // 2) + cx // 2].item() / 36)
        order = sorted(range(144), key=lambda cell: (-round(expected[cell], 9), cell))
        assert np.argsort(row["rank"]).tolist() == order
        assert row["lt"].tolist() == sorted(order[:72])
        assert np.allclose(row["score"].astype(float), expected, atol=1e-3)
        assert row["rc"].tolist() == random_subset(0, row["key"], 144, 72).tolist()
    assert holes, "some cell is seen by no crop"


# --- full@2


def test_full_2_is_what_timms_own_model_of_the_doubled_size_says(doubled, oblong, selector, selector_run):
    network = registry.create_model("deit_micro", img_size=48, patch_size=4, num_classes=2).eval()
    state = read_weights(f"{selector_run}/final.safetensors")
    network.load_state_dict(checkpoint_filter_fn(state, network))
    counts = Budget(0.5).stage_counts(144, 2)
    pictures = originals(oblong)
    for _, row in good(doubled).head(3).iterrows():
        square = decode(pictures[row["key"]]).resize((48, 48), Image.Resampling.BICUBIC)
        assert is_the_order_of(network, selector, square, counts, row["rank"])
        assert row["lt"].tolist() == np.flatnonzero(row["rank"] < 72).tolist()
        assert row["rc"].tolist() == random_subset(0, row["key"], 144, 72).tolist()


@pytest.mark.parametrize(("name", "image_size"), [("doubled", 48), ("mean", 24)])
def test_a_finer_split_says_what_is_true_of_it(name, image_size, request):
    folder = request.getfixturevalue(name)
    manifest = Manifest.open(str(folder))
    record = json.loads((folder / "ticket.json").read_text())
    assert (record["num_patches"], record["grid"], record["image_size"], record["counts"]) == (36, 6, 24, [26, 18])
    of_train, of_val = (read_metadata(str(folder / split / "000000.parquet")) for split in ("train", "val"))
    assert [of_train[entry] for entry in ("num_patches", "grid", "counts")] == [144, 12, [102, 72]]
    assert of_train["image_size"] == image_size == of_train["preprocessing"]["image_size"]
    assert [of_val[entry] for entry in ("num_patches", "grid", "image_size", "counts")] == [36, 6, 24, [26, 18]]
    assert (manifest.num_patches, manifest.kept) == (36, 18)
    for split, expected in (("train", (144, 12, 72, 2)), ("val", (36, 6, 18, 1))):
        found = manifest.num_patches_of(split), manifest.grid_of(split), manifest.kept_of(split)
        assert (*found, manifest.view(split).grid_scale) == expected
    assert manifest.view("train").box(40, 61) == (0, 0, 61, 40)
    assert manifest.view("train").num_views is None
    assert {len(rank) for rank in good(folder)["rank"]} == {144}


# --- promises


VIEWS = ["full@2", f"crops:{V}", "crops-mean:3"]


@pytest.mark.parametrize("view", VIEWS)
def test_several_sparsities_equal_each_alone_and_threads_do_not_matter(make, view):
    several = make("--view", view, "--sparsity", "0.5,0.75", "--workers", 3)
    for sparsity in ("0.5", "0.75"):
        alone = make("--view", view, "--sparsity", sparsity, "--workers", 1)
        assert contents(several / f"s{sparsity}") == contents(alone)


@pytest.mark.slow
def test_ray_writes_the_same_bytes(crops, mean, make):
    again = ("--crop-seed", 7, "--crop-scale", 0.2)
    by_ray = make("--view", f"crops:{V}", "--crop-ranks", *again, engine="ray")
    assert contents(by_ray) == contents(crops)


@pytest.mark.parametrize("name", ["crops", "mean", "doubled"])
def test_what_is_missing_is_made_again_with_the_same_bytes(name, make, request, tmp_path):
    made = request.getfixturevalue(name)
    copy = Path(shutil.copytree(made, tmp_path / "m"))
    (copy / "train/000001.parquet").unlink()
    (copy / "train/.000001.parquet.dead.part").write_bytes(b"left by a killed writer")
    (copy / "ticket.json").unlink()
    view = {"crops": f"crops:{V}", "mean": f"crops-mean:{V}", "doubled": "full@2"}[name]
    draw = () if name == "doubled" else ("--crop-seed", 7, "--crop-scale", 0.2)
    ranks = ("--crop-ranks",) if name == "crops" else ()
    make("--view", view, *draw, *ranks, out=copy)
    assert contents(copy) == contents(made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--view", "crops:5"), "preprocessing.crop_seed: expected 0, found 7"),
        (("--view", "crops:5", "--crop-seed", 7), "preprocessing.crop_scale: expected 0.08, found 0.2"),
        (("--view", "crops:5", "--crop-seed", 7, "--crop-scale", 0.2), "crop_ranks: expected false, found true"),
        (("--view", "crops:4", "--crop-ranks"), 'view: expected "crops:4", found "crops:5"'),
        (("--view", "full@2"), "expected"),
    ],
)
def test_another_draw_into_the_same_folder_is_refused(crops, make, tmp_path, options, message):
    copy = shutil.copytree(crops, tmp_path / "m")
    assert message in make(*options, out=copy, code=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--view", "crops:0"), "expected a view among center, full, full@2, crops:V, crops-mean:V, found 'crops:0'"),
        (("--view", "crops:2", "--crop-scale", 1.5), "expected a crop scale in (0, 1], found 1.5"),
        (("--view", "crops:2", "--predictions"), "--predictions: expected a view that shows each image once"),
        (("--view", "crops-mean:2", "--predictions"), "--predictions: expected a view that shows each image once"),
        (("--view", "crops:2", "--format", "parquet,webdataset"), "--format webdataset holds one ticket per image"),
        (("--view", "crops-mean:2", "--crop-ranks"), "--crop-ranks: expected --view crops:V, found crops-mean:2"),
        (("--crop-seed", 1), "--crop-seed: expected --view crops:V or crops-mean:V, found auto"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(make, options, message):
    assert message in make(*options, code=2)


def test_ticket_shards_of_a_finer_grid(make):
    made = make("--view", "full@2", "--format", "parquet,webdataset")
    sample = next(read_members_of(made / "webdataset/train/000000.tar"))
    frame = good(made).set_index("key")
    assert sample["lt"].tolist() == frame.loc[sample["key"], "lt"].tolist()


def read_members_of(path):
    import io

    import webdataset as wds

    for sample in wds.WebDataset(str(path), shardshuffle=False):
        yield {"key": sample["__key__"], "lt": np.load(io.BytesIO(sample["lt.npy"]), allow_pickle=False)}
