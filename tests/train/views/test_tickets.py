"""Tickets in somebody else's loader: the rows of the manifest, and the trainer's patches for the same draws."""

import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import Mixup, create_dataset, create_loader
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.utils.data import DataLoader
from torchvision import transforms

from tests.helpers import augmenting, encode, write_crops, write_folder, write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry.crops import keyed_rng, random_resized_crop
from vit_tickets.pipeline.geometry.images import decode
from vit_tickets.pipeline.geometry.patches import random_rank
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.manifest import Manifest, read_table
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.batches import TrainBatch
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import Stored, TrainStream, TrainStreamConfig
from vit_tickets.train.views.alignment import keep_best, kept_cells, resample, value_map
from vit_tickets.train.views.mixing import Mix
from vit_tickets.train.views.randaugment import RandAugment, padded, trace_back
from vit_tickets.train.views.recorded import RecordedCrop, RecordedMixup, with_rows
from vit_tickets.train.views.tickets import Tickets, align, crop_affine, key_of, stored_box

OWN_LOADER = (Path(__file__).resolve().parents[3] / "docs" / "own-loader.md").read_text()
FULL = View("full", 24)


@pytest.fixture(scope="module")
def rows(tickets):
    return Tickets.open(tickets)


@pytest.fixture
def dataset(small_source, rows):
    return with_rows(create_dataset("", str(small_source), split="train", transform=RecordedCrop(24)), rows)


# --- rows and keys


@pytest.mark.parametrize("split", ["train", "val"])
def test_lookup_gives_the_rows_of_the_manifest(tickets, split):
    ours, seen = Tickets.open(tickets, split), 0
    for path in sorted(Path(tickets, split).glob("*.parquet")):
        for theirs in read_table(str(path))[0].to_pylist():
            row = ours.lookup(theirs["key"])
            for name in ("key", "label", "height", "width", "error"):
                assert getattr(row, name) == theirs[name]
            for name in ("rank", "lt", "rc"):
                found = getattr(row, name)
                assert (None if found is None else found.tolist()) == theirs[name]
            seen += 1
    assert seen == len(ours) == Manifest.open(tickets).split_record(split).samples
    assert (split == "train") == (not ours.valid.all())


def test_many_rows_at_once_are_those_of_lookup(rows):
    keys = ["dog/dog_03", "cat/cat_11", "dog/dog_03"]
    assert rows.ranks(rows.rows(keys)).tolist() == [rows.lookup(key).rank.tolist() for key in keys]
    assert rows.random(rows.rows(keys), 6).tolist() == [rows.lookup(key).rc.tolist() for key in keys]
    finer = keep_best(-torch.from_numpy(random_rank(3, keys[1], 144))[None].float(), 72)
    assert rows.kept_on(12) == 72
    assert torch.equal(rows.random(rows.rows(keys[1:2]), 12), finer)


def test_random_subsets_leave_erased_cells_out(rows):
    row, box = rows.rows(["dog/dog_03", "cat/cat_11"]), torch.tensor([[0, 0, 24, 12], [0, 0, 0, 0]])
    first, second = rows.random(row, 6, erased=box, image_size=24)
    assert first.tolist() == [cell for cell in range(36) if cell % 6 >= 3]
    assert torch.equal(second, rows.random(row, 6)[1])
    with pytest.raises(UserError, match="expected the image_size"):
        rows.random(row, 6, erased=box)


@pytest.mark.parametrize("key", ["", "cat", "cat/cat_12", "zebra/1"])
def test_a_key_without_row_is_refused(rows, key):
    with pytest.raises(KeyError, match="no train image of key") as unknown:
        rows.lookup(key)
    assert isinstance(unknown.value, UserError)
    assert len(str(unknown.value).splitlines()) == 1
    with pytest.raises(UserError, match=r"found 1 missing, such as .*; it is for dataset 'small', with keys like"):
        rows.rows(["cat/cat_00", key])


def test_keys_of_files_are_packs(tmp_path):
    root = write_folder(tmp_path / "source" / "train", {"b": 2, "a.1": 2})
    (root / "b" / "b_00.JPG").write_bytes((root / "b" / "b_00.png").read_bytes())
    (root / "b" / "x.y.png").write_bytes((root / "b" / "b_01.png").read_bytes())
    pack(str(root), str(tmp_path / "packed"), progress=False)
    packed = Dataset.open(str(tmp_path / "packed"))
    expected = {
        (sample.key, sample.data)
        for shards in packed.splits.values()
        for shard in shards
        for sample in read_shard(packed.path_of(shard))
    }
    images = [path for path in root.rglob("*") if path.is_file()]
    assert {(key_of(str(path), str(root)), path.read_bytes()) for path in images} == expected
    with pytest.raises(UserError, match=r"expected an image as class/image, found b/none\.png"):
        key_of(str(root / "b" / "none.png"), str(root))


def test_tickets_of_stored_crops_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected one ticket per image, found view crops:3"):
        Tickets.open(write_crops(str(tmp_path / "crops")))
    with pytest.raises(UserError, match=r"expected one ticket per image, found view crops:3"):
        align(*geometry([(0, 0, 4, 4)]), view=View("crops:3", 24), grid=6, kept=9)


def test_what_is_wrong_is_told(tickets, tmp_path):
    with pytest.raises(UserError, match="expected tickets of split 'test'"):
        Tickets.open(tickets, "test")
    arguments = geometry([(0, 0, 24, 24)] * 2)
    with pytest.raises(UserError, match=r"expected 1 \.\. 36 patches to keep, found 37"):
        align(*arguments, view=FULL, grid=6, kept=37)
    for drawn in ({"mix": Mix(0.5, (0, 12, 0, 12))}, {"erased": torch.zeros(2, 4)}):
        with pytest.raises(UserError, match="expected the image_size"):
            align(*arguments, view=FULL, grid=6, kept=9, **drawn)
    with pytest.raises(UserError, match="expected a Mixup of mode 'batch', found 'elem'"):
        RecordedMixup(mode="elem")


# --- alignment


def geometry(boxes, flips=None, size=(24, 24), seed=0):
    """Random ranks of 6 x 6 patches, and what `align` wants beside them."""
    rng = np.random.default_rng(seed)
    rank = torch.from_numpy(np.stack([rng.permutation(36) for _ in boxes]).astype(np.uint8))
    flip = torch.zeros(len(boxes), dtype=torch.bool) if flips is None else torch.tensor(flips)
    return rank, torch.tensor(boxes), flip, torch.tensor([size] * len(boxes))


@pytest.mark.parametrize("view", [View("center", 224, 0.875), View("center", 24), View("full@2", 24), FULL])
def test_stored_boxes_are_the_views(view):
    size = np.random.default_rng(0).integers(1, 700, (500, 2))
    expected = [view.box(height, width) for height, width in size.tolist()]
    assert stored_box(torch.from_numpy(size), view).tolist() == [list(box) for box in expected]


@pytest.mark.parametrize("kind", ["center", "full", "full@2", "crops-mean:3"])
@pytest.mark.parametrize("operations", [None, "rand-m9-mstd0.5-inc1"])
def test_the_patches_are_the_trainers(packed, tickets, kind, operations):
    """From the same crops, flips and operations as in the trainer's stream."""
    view = View(kind, 24, 0.8) if kind == "center" else View(kind, 24)
    data = SplitData(Dataset.open(packed), "train", Manifest.open(tickets))
    data.__dict__["stored_view"] = view
    drawing = augmenting(32, 0.2, rand_augment=operations)
    config = TrainStreamConfig(data, "lt", drawing, 8, 1, 0, 8, 0)
    samples = [s for shard in data.shards[:2] for s in read_shard(data.dataset.path_of(shard)) if "broken" not in s.key]
    images = [decode(sample.data).resize((30 + 7 * number, 60)) for number, sample in enumerate(samples[:8])]
    side = 6 * view.grid_scale
    rank = np.stack([np.random.default_rng(n).permutation(side**2) for n in range(8)]).astype(np.uint8)
    for seed in range(5):
        stream = TrainStream(replace(config, seed=seed))
        drawn = zip(samples[:8], rank, images, strict=False)
        batch = TrainBatch.of([stream._view(0, 0, sample, Stored(ranks), image) for sample, ranks, image in drawn])
        crops, through = [], []
        for sample, image in zip(samples[:8], images, strict=False):
            rng = keyed_rng(seed, 0, 0, sample.key)
            crops.append(random_resized_crop(rng, image.height, image.width, 0.2, 0.5))
            if operations:
                made = RandAugment(operations, 32, drawing.mean, "bicubic").draw(rng)
                through.append(padded(trace_back(made, 32)[1], 2))
        found = align(
            torch.from_numpy(rank),
            torch.tensor([crop.box for crop in crops]),
            torch.tensor([crop.flip for crop in crops]),
            torch.tensor([(image.height, image.width) for image in images]),
            view=view,
            grid=8,
            kept=20,
            through=torch.from_numpy(np.stack(through)) if operations else None,
        )
        assert found.dtype == torch.int64
        assert torch.equal(found, kept_cells(batch.rank, batch.affine, 8, 20, through_BL23=batch.through))


def test_a_flip_mirrors_the_patches():
    rank, box, _, size = geometry([(3, 2, 19, 22), (0, 0, 24, 24)])
    plain, mirrored = (
        align(rank, box, torch.tensor([flip] * 2), size, view=FULL, grid=6, kept=12) for flip in (False, True)
    )
    assert plain[1].tolist() == np.flatnonzero(rank[1] < 12).tolist()
    for here, there in zip(plain.tolist(), mirrored.tolist(), strict=True):
        assert sorted(p // 6 * 6 + 5 - p % 6 for p in here) == there


@pytest.mark.parametrize("factor", [2, 5])
def test_another_resolution_of_the_image_is_the_same(factor):
    rank, box, flip, size = geometry([(3, 2, 19, 22), (0, 6, 24, 20)])
    for view in (FULL, View("center", 24, 0.75)):
        once = align(rank, box, flip, size, view=view, grid=6, kept=12)
        assert torch.equal(once, align(rank, box * factor, flip, size * factor, view=view, grid=6, kept=12))


# --- timm's own loader


class Pictures:
    """Images of 48 x 36 whose cells of 6 x 6 show their value in their own grey, and their tickets."""

    def __init__(self, count):
        self.rank = np.stack([np.random.default_rng(seed).permutation(36) for seed in range(count)])
        values = np.round(255 * (1 - self.rank / 36)).astype(np.uint8).reshape(count, 6, 6)
        self.images = [Image.fromarray(v.repeat(6, 0).repeat(8, 1)).convert("RGB") for v in values]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_the_patches_follow_what_timm_mixes(kind):
    """Whole images in their own cells: after timm's Mixup the kept patches are those that the mixed pixels show."""
    pictures = Pictures(8)
    pixels = torch.stack([transforms.functional.to_tensor(image.resize((24, 24), 0)) for image in pictures.images])
    ranks, box, flip, size = geometry([(0, 0, 48, 36)] * 8, size=(36, 48))
    ranks = torch.from_numpy(pictures.rank)
    alphas = (0.8, 0.0) if kind == "mixup" else (0.0, 1.0)
    differ = 0
    for seed in range(30):
        np.random.seed(seed)
        mixup = RecordedMixup(*alphas, num_classes=2)
        mixed, _ = mixup(pixels.clone(), torch.zeros(8, dtype=torch.int64))
        shown = mixed[:, 0, 2::4, 2::4].flatten(1)
        kept = align(ranks, box, flip, size, view=FULL, grid=6, kept=12, mix=mixup.mix, image_size=24)
        border = shown.sort(dim=1, descending=True).values[:, 11:12]
        inside = torch.zeros(8, 36, dtype=torch.bool).scatter_(1, kept, True)
        assert inside[shown > border + 0.01].all()
        assert not inside[shown < border - 0.01].any()
        plain = align(ranks, box, flip, size, view=FULL, grid=6, kept=12)
        differ += not torch.equal(kept, plain)
    assert differ > 20


def test_the_patches_follow_what_timm_crops():
    """What a crop of a smooth picture shows at a cell's centre is what its rank says there."""
    column, row = np.meshgrid(np.arange(6), np.arange(6))
    place = np.argsort(np.argsort((1.3 * column + row).ravel(), kind="stable"))
    values = Image.fromarray((1 - place.reshape(6, 6) / 36).astype(np.float32))
    picture = Image.fromarray(np.round(255 * np.asarray(values.resize((240, 180), Image.BILINEAR))).astype(np.uint8))
    drawing = RecordedCrop(64, (0.1, 0.6), interpolation="bilinear", then=transforms.ToTensor())
    random.seed(1), torch.manual_seed(1)
    views, crops = zip(*(drawing(picture.convert("RGB")) for _ in range(40)), strict=True)
    box, flip, size = (torch.stack([crop[part] for crop in crops]) for part in range(3))
    assert 5 < flip.sum() < 35
    shown = torch.stack(views)[:, 0].unfold(1, 2, 1).unfold(2, 2, 1).mean((3, 4))[:, 3::8, 3::8].flatten(1)
    rank = torch.from_numpy(place)[None].expand(40, 36)
    said = resample(value_map(rank), crop_affine(box, flip, size, View("full", 24)).float(), 8)
    whole = (box[:, 0] > 24) & (box[:, 1] > 18) & (box[:, 2] < 216) & (box[:, 3] < 162)  # no patch of the border
    assert whole.sum() > 3
    torch.testing.assert_close(said[whole], shown[whole], rtol=0, atol=0.05)


@pytest.mark.parametrize("interpolation", ["bilinear", "random"])
def test_crops_and_flips_are_timms_own(interpolation):
    image = Pictures(1).images[0]
    theirs = transforms.Compose(
        [RandomResizedCropAndInterpolation(24, interpolation=interpolation), transforms.RandomHorizontalFlip()]
    )
    ours = RecordedCrop(24, interpolation=interpolation, then=lambda view: view)
    for seed in range(40):
        random.seed(seed), torch.manual_seed(seed)
        expected = theirs(image)
        random.seed(seed), torch.manual_seed(seed)
        shown, crop = ours(image)
        assert np.array_equal(np.asarray(shown), np.asarray(expected))
        left, top, right, bottom = crop.box.tolist()
        again = transforms.functional.resized_crop(image, top, left, bottom - top, right - left, [24, 24])
        if interpolation == "bilinear":
            assert np.array_equal(
                np.asarray(shown), np.asarray(transforms.functional.hflip(again) if crop.flip else again)
            )


def test_operations_are_recorded_in_a_fixed_shape():
    drawing = RecordedCrop(24, rand_augment="rand-m9-mstd0.5-inc1")
    random.seed(0)
    crops = [drawing(Pictures(1).images[0])[1] for _ in range(30)]
    through = torch.stack([crop.through for crop in crops])
    assert through.shape == (30, 2, 2, 3)
    moved = (through[:, -1] != torch.eye(3)[:2]).any(2).any(1)
    assert 3 < moved.sum() < 30


def test_one_function_gives_views_of_few_operations_the_shape_of_those_of_many():
    first, last = np.arange(9.0).reshape(3, 3), np.arange(9.0, 18.0).reshape(3, 3)
    through = np.stack([first, last])
    assert padded(through, 4).tolist() == np.stack([first, last, last, last])[:, :2].tolist()
    assert padded(through[:0], 2).tolist() == [np.eye(3)[:2].tolist()] * 2
    assert padded(through[:0], 0).shape == (0, 2, 3)
    image, operations = Pictures(1).images[0], "rand-m9-n3-p0.3-mstd0.5"
    streamed = augmenting(24, rand_augment=operations)
    recorded = RecordedCrop(24, rand_augment=operations)
    for seed in range(20):
        shape = streamed.view(image, np.random.default_rng(seed)).through.shape
        assert shape == tuple(recorded(image)[1].through.shape) == (3, 2, 3)


def test_an_image_is_cropped_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    (tmp_path / "a.jpg").write_bytes(encode(Pictures(1).images[0], "JPEG", exif=exif))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.size == (48, 36)
        _, crop = RecordedCrop(24)(image.convert("RGB"))
    assert crop.size.tolist() == [48, 36]


def test_timms_mixup_does_to_pixels_what_it_did():
    pixels, label = torch.rand(6, 3, 24, 24), torch.tensor([0, 1, 1, 0, 0, 1])
    kinds = set()
    for seed in range(40):
        options = {"prob": 0.8, "num_classes": 2, "cutmix_minmax": (0.2, 0.8) if seed % 2 else None}
        np.random.seed(seed)
        expected = Mixup(0.8, 1.0, **options)(pixels.clone(), label)
        np.random.seed(seed)
        mixup = RecordedMixup(0.8, 1.0, **options)
        found = mixup(pixels.clone(), label)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        kinds.add(None if mixup.mix is None else mixup.mix.box is None)
        if mixup.mix is None:
            assert torch.equal(found[0], pixels)
        else:
            torch.testing.assert_close(mixup.mix.images(pixels), found[0])
            torch.testing.assert_close(mixup.mix.targets(label, 2, 0.1), found[1])
    assert kinds == {None, True, False}


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_know_their_row(dataset, rows, small_source, workers):
    assert len(dataset) == 22  # all but the broken one
    dataset.transform = lambda image: transforms.functional.pil_to_tensor(image)
    seen = []
    for pixels, label, row in DataLoader(dataset, batch_size=8, shuffle=True, num_workers=workers):
        for image, target, number in zip(pixels, label.tolist(), row.tolist(), strict=True):
            key = rows.columns["key"][number].as_py()
            expected = Image.open(small_source / "train" / f"{key}.png").convert("RGB")
            assert torch.equal(image, transforms.functional.pil_to_tensor(expected))
            assert target == rows.lookup(key).label == ("cat", "dog").index(key[:3])
            seen.append(key)
    assert len(set(seen)) == 22
    names = {name.removesuffix(".png") for name in dataset.filenames()}
    assert names == set(seen)


def test_timms_create_loader_serves_them_with_workers(dataset, rows):
    loader = create_loader(
        dataset, (3, 24, 24), 8, is_training=True, num_workers=2, use_prefetcher=False, persistent_workers=False
    )
    dataset.transform = RecordedCrop(24, rand_augment="rand-m9-mstd0.5-inc1")  # create_loader puts timm's own there
    batches = list(loader)
    assert len(batches) == 2
    for (images, crop), _, row in batches:
        assert images.shape == (8, 3, 24, 24)
        assert (crop.box.shape, crop.flip.shape, crop.through.shape) == ((8, 4), (8,), (8, 2, 2, 3))
        patches = align(rows.ranks(row), *crop[:3], view=rows.view, grid=6, kept=9, through=crop.through)
        assert patches.shape == (8, 9)


def test_tickets_of_another_dataset_are_told_apart(small_source, tmp_path):
    write_folder(tmp_path / "other", {"cat": 2, "dog": 2})
    pack(str(tmp_path / "other"), str(tmp_path / "packed"), progress=False)
    folder = create_dataset("", str(small_source), split="train")
    manifest = write_manifest(Dataset.open(str(tmp_path / "packed")), str(tmp_path / "m"))
    with pytest.raises(UserError, match=r"expected all 23 images among .*, found 19 missing, such as 'cat/"):
        with_rows(folder, Tickets.open(manifest))
    folder.reader = SimpleNamespace(
        online=None,
    )
    with pytest.raises(UserError, match="expected a dataset of timm's over an image folder, found one over Simple"):
        with_rows(folder, Tickets.open(manifest))


def test_the_lines_of_the_page_run_as_printed(small_source, tickets):
    block = re.findall(r"```python\n(.*?)```", OWN_LOADER, flags=re.S)[0]
    small = {
        "224": "24",
        "batch_size=256": "batch_size=8",
        "num_workers=8": "num_workers=2",
        "1000": "2",
        "deit_small": "deit_micro",
        "patch_size=16": "patch_size=4",
        "14": "6",
        # last, as such numbers may stand in their paths
        '"manifests/imagenet/s0.27"': repr(tickets),
        '"imagenet"': repr(str(small_source)),
    }
    for printed, ours in small.items():
        assert printed in block
        block = block.replace(printed, ours)
    names = {}
    exec(block, names)  # noqa: S102 (our own page)
    assert names["patches"].shape == (8, 18)
    assert names["logits"].shape == (8, 2)
    assert len(OWN_LOADER.split("```python\n")[1].split("```")[0].splitlines()) <= 17
