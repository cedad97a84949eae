"""Views beyond one square per image: full@2, crops:V, crops-mean:V, against slow and obvious references."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from timm.models.vision_transformer import checkpoint_filter_fn

from tests.helpers import png, write_folder
from tests.reference import reference_ranking
from vit_tickets.pipeline import vit
from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.crops import keyed_rng, random_resized_crop
from vit_tickets.pipeline.gallery import GAP, write_gallery
from vit_tickets.pipeline.images import decode, render, to_array
from vit_tickets.pipeline.manifests import Manifest, read_metadata, unpack_masks
from vit_tickets.pipeline.names import manifest_name
from vit_tickets.pipeline.pack import pack
from vit_tickets.pipeline.patches import Budget, random_subset
from vit_tickets.pipeline.shards import Dataset, read_shard
from vit_tickets.pipeline.summary import describe_split, summarise_split
from vit_tickets.ticketgen.selector import Selector, open_selector

STAGES = (2, 4)
V = 5
# Of random weights many attentions are nearly equal; one pass over a batch and one over an image may round otherwise.
CLOSE = 1e-6


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Nine oblong pictures in three shards of train, one of them broken, and three in val."""
    root = tmp_path_factory.mktemp("oblong")
    write_folder(root / "source/train", {"cat": 4, "dog": 4}, height=40, width=61)
    (root / "source/train/dog/broken.png").write_bytes(png(0)[:100])
    write_folder(root / "source/val", {"cat": 2, "dog": 1}, first=50, height=33, width=30)
    pack(str(root / "source"), str(root / "data"), shard_size=3, progress=False)
    return str(root / "data")


@pytest.fixture(scope="module")
def generate(data, selector_run, tmp_path_factory):
    """The command in this process, into a folder of its own unless `out` is given; returns the folder."""

    def run(*options, out=None, engine="local", code=0):
        out = out or tmp_path_factory.mktemp("made") / "m"
        fixed = ("--selector", selector_run, "--stages", "2,4", "--batch-size", 4, "--engine", engine, "--out", out)
        sparsity = () if "--sparsity" in options else ("--sparsity", 0.5)
        done = CliRunner().invoke(main, ["generate", data, *map(str, (*fixed, *sparsity, *options))])
        assert done.exit_code == code, done.output
        return out if code == 0 else done.stderr

    return run


@pytest.fixture(scope="module")
def crops(generate):
    return generate("--view", f"crops:{V}", "--crop-ranks", "--crop-seed", 7, "--crop-scale", 0.2)


@pytest.fixture(scope="module")
def mean(generate):
    return generate("--view", f"crops-mean:{V}", "--crop-seed", 7, "--crop-scale", 0.2)


@pytest.fixture(scope="module")
def doubled(generate):
    return generate("--view", "full@2")


@pytest.fixture(scope="module")
def selector(selector_run):
    return Selector(open_selector(selector_run, stages=STAGES))


def contents(folder):
    paths = sorted(path for path in Path(folder).rglob("*.*") if path.suffix in (".parquet", ".tar"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def verified(manifest, data):
    return CliRunner().invoke(main, ["verify", str(manifest), "--dataset", data])


def originals(data):
    dataset = Dataset.open(data)
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


def test_every_crop_has_the_ticket_of_its_own_pixels(crops, data, selector):
    counts = Budget(0.5).stage_counts(36, 2)
    pictures = originals(data)
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


def test_columns_and_provenance_of_crops(crops, generate):
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


def test_without_ranks_the_masks_are_the_same(crops, generate):
    plain = generate("--view", f"crops:{V}", "--crop-seed", 7, "--crop-scale", 0.2)
    assert "rank" not in pd.read_parquet(plain / "train").columns
    for name in ("box", "flip", "lt"):
        ours, theirs = (pq.read_table(folder / "train")[name].to_pylist() for folder in (plain, crops))
        assert ours == theirs


def test_other_seeds_draw_other_crops_and_more_crops_begin_with_the_fewer(generate, crops):
    boxes = good(crops)["box"].map(lambda boxes: [tuple(box) for box in boxes]).tolist()
    other = good(generate("--view", "crops:2", "--crop-scale", 0.2))["box"].map(lambda boxes: tuple(boxes[0]))
    more = good(generate("--view", f"crops:{V + 3}", "--crop-seed", 7, "--crop-scale", 0.2))["box"]
    assert other.tolist() != [row[0] for row in boxes]
    assert more.map(lambda boxes: [tuple(box) for box in boxes[:V]]).tolist() == boxes


# --- crops-mean:V


def test_the_mean_is_that_of_a_loop_over_cells(mean, crops, data, selector):
    """From the ranks that crops:V stores for the same draw: a cell at a time, a patch at a time, an area at a time."""
    spec = selector.spec
    counts = Budget(0.5).stage_counts(36, 2)
    rows = good(crops).set_index("key")
    pictures = originals(data)
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


def test_full_2_is_what_timms_own_model_of_the_doubled_size_says(doubled, data, selector, selector_run):
    network = vit.create_model("deit_micro", img_size=48, patch_size=4, num_classes=2).eval()
    state = vit.read_weights(f"{selector_run}/final.safetensors")
    network.load_state_dict(checkpoint_filter_fn(state, network))
    counts = Budget(0.5).stage_counts(144, 2)
    pictures = originals(data)
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
        assert (*found, manifest.view(split).fineness) == expected
    assert manifest.view("train").box(40, 61) == (0, 0, 61, 40)
    assert manifest.view("train").num_views is None
    assert {len(rank) for rank in good(folder)["rank"]} == {144}


# --- promises


VIEWS = ["full@2", f"crops:{V}", "crops-mean:3"]


@pytest.mark.parametrize("view", VIEWS)
def test_several_sparsities_equal_each_alone_and_threads_do_not_matter(generate, view):
    several = generate("--view", view, "--sparsity", "0.5,0.75", "--workers", 3)
    for sparsity in ("0.5", "0.75"):
        alone = generate("--view", view, "--sparsity", sparsity, "--workers", 1)
        assert contents(several / f"s{sparsity}") == contents(alone)


def test_ray_writes_the_same_bytes(crops, mean, generate):
    again = ("--crop-seed", 7, "--crop-scale", 0.2)
    by_ray = generate("--view", f"crops:{V}", "--crop-ranks", *again, engine="ray")
    assert contents(by_ray) == contents(crops)


@pytest.mark.parametrize("name", ["crops", "mean", "doubled"])
def test_what_is_missing_is_made_again_with_the_same_bytes(name, generate, request, tmp_path):
    made = request.getfixturevalue(name)
    copy = Path(shutil.copytree(made, tmp_path / "m"))
    (copy / "train/000001.parquet").unlink()
    (copy / "train/.000001.parquet.dead.part").write_bytes(b"left by a killed writer")
    (copy / "ticket.json").unlink()
    view = {"crops": f"crops:{V}", "mean": f"crops-mean:{V}", "doubled": "full@2"}[name]
    draw = () if name == "doubled" else ("--crop-seed", 7, "--crop-scale", 0.2)
    ranks = ("--crop-ranks",) if name == "crops" else ()
    generate("--view", view, *draw, *ranks, out=copy)
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
def test_another_draw_into_the_same_folder_is_refused(crops, generate, tmp_path, options, message):
    copy = shutil.copytree(crops, tmp_path / "m")
    said = generate(*options, out=copy, code=2)
    assert message in said
    assert len(said.strip().splitlines()) == 1


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
def test_what_is_wrong_is_told_in_one_line(generate, options, message):
    said = generate(*options, code=2)
    assert message in said
    assert len(said.strip().splitlines()) == 1, said


def test_folders_are_named_after_the_view_without_a_colon():
    names = [manifest_name("d", "deit_micro", Budget(0.5), view) for view in ("full@2", "crops:8", "crops-mean:16")]
    assert [name.rpartition("s0.5-")[2] for name in names] == ["full@2", "crops8", "crops-mean16"]


def test_ticket_shards_of_a_finer_grid(generate):
    made = generate("--view", "full@2", "--format", "parquet,webdataset")
    sample = next(read_members_of(made / "webdataset/train/000000.tar"))
    frame = good(made).set_index("key")
    assert sample["lt"].tolist() == frame.loc[sample["key"], "lt"].tolist()


def read_members_of(path):
    import io

    import webdataset as wds

    for sample in wds.WebDataset(str(path), shardshuffle=False):
        yield {"key": sample["__key__"], "lt": np.load(io.BytesIO(sample["lt.npy"]), allow_pickle=False)}


# --- verify and inspect


@pytest.mark.parametrize("name", ["crops", "mean", "doubled"])
def test_a_true_one_passes_verify(name, request, data):
    done = verified(request.getfixturevalue(name), data)
    assert done.exit_code == 0, done.output


def spoil(folder, column, row, change):
    path = folder / "train/000000.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[row] = change(values[row])
    place = table.column_names.index(column)
    table = table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    pq.write_table(table.replace_schema_metadata(pq.read_schema(path).metadata), path)


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
def test_verify_finds_a_tampered_crop(crops, data, tmp_path, column, change, message):
    copy = Path(shutil.copytree(crops, tmp_path / "m"))
    row = pq.read_table(copy / "train/000000.parquet")["error"].to_pylist().index(None)
    spoil(copy, column, row, change)
    done = verified(copy, data)
    assert done.exit_code == 1
    assert f"train/000000.parquet row {row} (" in done.stdout
    assert message in done.stdout
    assert "Traceback" not in done.output


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
    record = json.loads((copy / "ticket.json").read_text())
    record["splits"]["train"]["preprocessing"] |= entry
    (copy / "ticket.json").write_text(json.dumps(record))
    done = CliRunner().invoke(main, ["verify", str(copy)])
    assert done.exit_code == 1, done.output
    assert message in done.stdout


def test_verify_finds_a_tampered_mean(mean, data, tmp_path):
    copy = Path(shutil.copytree(mean, tmp_path / "m"))
    row = pq.read_table(copy / "train/000000.parquet")["error"].to_pylist().index(None)
    spoil(copy, "score", row, lambda scores: [1 - score for score in scores])
    assert "score: expected no increase along rank" in verified(copy, data).stdout
    spoil(copy, "rc", row, lambda patches: [*patches[:-1], 0])
    assert "rc: expected the subset of mask seed 0" in verified(copy, data).stdout


@pytest.mark.parametrize(
    ("name", "parts", "panels"),
    [
        (
            "crops",
            ["crops:5 (random crops from 0.2 of its area on, crop seed 7", "5 per image", "in the first crop"],
            3,
        ),
        ("mean", ["crops-mean:5 (whole image, mean over random crops", "12 x 12, 72 of 144 cells"], 4),
        ("doubled", ["full@2 (whole image, bicubic, 48 px)", "12 x 12, 72 of 144 cells"], 4),
    ],
)
def test_inspect_and_gallery(name, parts, panels, request, data, tmp_path):
    manifest = Manifest.open(str(request.getfixturevalue(name)))
    summary = summarise_split(manifest, "train")
    text = "\n".join(describe_split(manifest, "train", summary))
    for part in ("9 images, 1 without a ticket", *parts):
        assert part in text
    assert summary.keep_map.mean() == pytest.approx(0.5)
    frame = good(Path(manifest.root))
    if name == "crops":
        masks = np.concatenate([unpack_masks(masks, 36) for masks in frame["lt"]])
        assert np.allclose(summary.keep_map.ravel(), masks.mean(axis=0))
    else:
        assert np.allclose(summary.keep_map.ravel(), np.mean([rank < 72 for rank in frame["rank"]], axis=0))
    assert write_gallery(str(tmp_path / "sheet.png"), manifest, Dataset.open(data), "train", 3) == 3
    side = 192 if name == "doubled" else 168
    assert Image.open(tmp_path / "sheet.png").width == panels * side + (panels + 1) * GAP
