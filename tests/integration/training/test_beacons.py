"""Maps follow pixels: a map of values is painted into an image, and must be found again where the view shows it.

The reference is the pixels themselves: the values as a picture, cropped, flipped, sheared, moved and turned by the very
functions that the training view is made with. What our maps say of a cell must be what the picture shows at its centre.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import Mixup
from timm.data.auto_augment import NAME_TO_OP, AugmentOp
from timm.data.mixup import cutmix_bbox_and_lam, mixup_target
from timm.data.random_erasing import RandomErasing

from tests.helpers import augmenting
from vit_tickets.pipeline.geometry.crops import Crop, keyed_rng
from vit_tickets.pipeline.geometry.views import View, box_affine, view_to_view
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.views import alignment, augment, erasing, mixing, randaugment
from vit_tickets.train.views.alignment import keep_best, kept_cells, resample, value_map
from vit_tickets.train.views.augment import Augment
from vit_tickets.train.views.randaugment import Drawn, trace_back

pytestmark = pytest.mark.process

HEIGHT, WIDTH, SIDE, GRID, CELLS = 96, 150, 96, 6, 8
GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "TranslateXRel", "TranslateYRel")
CLOSE = 0.06
FINE = 32


def beacon_rank(seed: int) -> np.ndarray:
    """Patches ranked by their distance to a place that differs from image to image: values that vary smoothly."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:GRID, :GRID]
    distance = np.hypot(row - rng.uniform(0, GRID - 1), column - rng.uniform(0, GRID - 1))
    rank = np.empty(GRID * GRID, dtype=np.int64)
    rank[np.argsort(distance.ravel(), kind="stable")] = np.arange(GRID * GRID)
    return rank


def painted(rank: np.ndarray, view: View) -> Image.Image:
    """The source image whose pixels are the values, interpolated between patch centres, those of the outermost patches
    up to the border of the view, black beyond it."""
    values = np.pad(1 - rank.reshape(GRID, GRID) / rank.size, 1, mode="edge")
    x0, y0, x1, y1 = view.box(HEIGHT, WIDTH)
    cell_x, cell_y = (x1 - x0) / GRID, (y1 - y0) / GRID
    fine = Image.fromarray((255 * values).astype(np.float32)).resize(
        (FINE * (GRID + 2), FINE * (GRID + 2)), Image.BILINEAR
    )
    where = np.asarray(fine)
    # of every source pixel's centre, its place among the padded patches
    column = ((np.arange(WIDTH) + 0.5 - x0) / cell_x + 1) * FINE - 0.5
    row = ((np.arange(HEIGHT) + 0.5 - y0) / cell_y + 1) * FINE - 0.5
    limit = where.shape[0] - 1
    at_y, at_x = np.arange(HEIGHT) + 0.5, np.arange(WIDTH) + 0.5
    inside_y, inside_x = (y0 <= at_y) & (at_y <= y1), (x0 <= at_x) & (at_x <= x1)
    index_y, index_x = (np.clip(np.rint(at), 0, limit).astype(int) for at in (row, column))
    picture = where[np.ix_(index_y, index_x)] * np.outer(inside_y, inside_x)
    return Image.fromarray(np.stack([picture] * 3, axis=-1).round().astype(np.uint8))


def shown_at_centres(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per cell of the training grid the value at its centre, and whether it is even there (no border of the fill)."""
    cell = SIDE // CELLS
    blocks = picture.astype(float).reshape(CELLS, cell, CELLS, cell).transpose(0, 2, 1, 3) / 255
    middle = blocks[:, :, cell // 2 - 3 : cell // 2 + 3, cell // 2 - 3 : cell // 2 + 3].reshape(CELLS * CELLS, -1)
    return blocks[:, :, cell // 2 - 1 : cell // 2 + 1, cell // 2 - 1 : cell // 2 + 1].mean((2, 3)).ravel(), (
        np.ptp(middle, axis=1) < CLOSE
    )


def augmentation(names, layers: int, **order) -> Augment:
    """Crops, flips and, in every view, `layers` of timm's operations `names`; fill is black."""
    operations = f"rand-m9-n{layers}-mstd0.5-p1.0" if names else None
    drawing = augmenting(SIDE, 0.3, (0.0, 0.0, 0.0), interpolation="bilinear", rand_augment=operations, **order)
    if names:
        timm_s = drawing._operations._timm
        timm_s.ops = [AugmentOp(name, 1.0, 9, timm_s.ops[0].hparams) for name in names]
    return drawing


def compare(seed: int, names=(), kind: str = "full", layers: int = 2, **order) -> tuple[np.ndarray, np.ndarray]:
    """Per even cell: what the picture shows, and what the map says."""
    view, rank = View(kind, SIDE), beacon_rank(seed)
    drawn = augmentation(names, layers, **order).view(painted(rank, view), keyed_rng("beacon", seed))
    affine = view_to_view(drawn.affine, box_affine(view.box(HEIGHT, WIDTH)))
    ours = resample(
        value_map(torch.from_numpy(rank)[None]),
        torch.from_numpy(affine[None]).float(),
        CELLS,
        torch.from_numpy(drawn.through[None]),
    )[0].numpy()
    shown, even = shown_at_centres(drawn.pixels[0])
    return shown[even], ours[even]


def error(seeds, **options) -> float:
    """The largest difference between what is shown and what the map says."""
    return max(np.abs(np.subtract(*compare(seed, **options))).max() for seed in seeds)


@pytest.mark.parametrize("kind", ["full", "center"])
def test_crops_and_flips(kind):
    assert error(range(50), kind=kind) < CLOSE


@pytest.mark.parametrize("kind", ["full", "center"])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_every_operation_alone(name, kind):
    assert error(range(30), names=(name,), kind=kind, layers=1) < CLOSE


def test_a_thousand_random_compositions():
    assert error(range(1000), names=GEOMETRIC) < CLOSE


@pytest.mark.parametrize("kind", ["full", "center"])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_every_operation_on_the_whole_image_before_the_crop(name, kind):
    """The image is not square: turns and shears of it are none of its unit square."""
    assert error(range(30), names=(name,), kind=kind, layers=1, rand_augment_first=True) < CLOSE


def test_random_compositions_before_the_crop():
    assert error(range(300), names=GEOMETRIC, rand_augment_first=True) < CLOSE


def test_the_cells_that_are_kept_hold_what_is_marked():
    """Away from ties: what the picture shows clearly above the k-th cell is kept, clearly below it is not."""
    for seed in range(200):
        shown, ours = compare(seed, names=GEOMETRIC)
        k = len(shown) // 3
        kept = set(keep_best(torch.from_numpy(ours)[None], k)[0].tolist())
        border = np.sort(shown)[::-1][k - 1]
        assert set(np.flatnonzero(shown > border + 2 * CLOSE)) <= kept
        assert not set(np.flatnonzero(shown < border - 2 * CLOSE)) & kept


def wrong_sign(name):
    def mutated(op, arguments, side, aspect):
        return right(op, tuple(-a for a in arguments) if op == name else arguments, side, aspect)

    right = randaugment.affine_of
    return mutated


@pytest.mark.parametrize("name", GEOMETRIC)
def test_a_wrong_sign_is_noticed(monkeypatch, name):
    monkeypatch.setattr(randaugment, "affine_of", wrong_sign(name))
    assert error(range(30), names=(name,), layers=1) > 3 * CLOSE


@pytest.mark.parametrize(
    "mutate",
    [
        lambda crop: box_affine((crop.box[1], crop.box[0], crop.box[3], crop.box[2]), crop.flip),  # transposed box
        lambda crop: box_affine(crop.box, not crop.flip),
        lambda crop: box_affine(crop.box, crop.flip)[[1, 0, 2]],  # transposed map
    ],
)
def test_a_wrong_crop_is_noticed(monkeypatch, mutate):
    monkeypatch.setattr(Crop, "affine", mutate)
    assert error(range(30)) > 3 * CLOSE


def in_the_wrong_order(drawn, side):
    return trace_back(drawn[::-1], side)


def without_fill(drawn, side):
    return trace_back(drawn, side)[0], np.zeros((0, 3, 3))


def without_the_fill_of_one(which):
    def mutated(drawn, side):
        before, through = trace_back(drawn, side)
        return before, np.delete(through, which, axis=0) if len(through) else through

    return mutated


@pytest.mark.parametrize(
    "mutant", [in_the_wrong_order, without_fill, without_the_fill_of_one(0), without_the_fill_of_one(-1)]
)
def test_a_wrong_order_and_a_forgotten_fill_are_noticed(monkeypatch, mutant):
    monkeypatch.setattr(augment, "trace_back", mutant)
    assert error(range(300), names=GEOMETRIC) > 3 * CLOSE


def test_the_fill_ends_where_the_pixels_end(monkeypatch):
    """A fill that is off by a tenth of the view is noticed."""
    monkeypatch.setattr(augment, "trace_back", lambda drawn, side: (trace_back(drawn, side)[0], _shifted(drawn, side)))
    assert error(range(300), names=GEOMETRIC) > 3 * CLOSE


def _shifted(drawn, side):
    through = trace_back(drawn, side)[1].copy()
    through[:, :2, 2] += 0.1
    return through


def test_an_operation_without_geometry_moves_nothing():
    drawing = augmenting(SIDE, rand_augment="rand-m9-n4-mstd0.5-inc1-p1.0")
    moved = {op.name for op in drawing._operations._timm.ops if Drawn(op, (0.5,)).affine(SIDE) is not None}
    assert moved == {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}


@pytest.mark.parametrize("name", sorted(NAME_TO_OP))
def test_pixels_are_timms_own(name):
    """The same draws in the same order give timm's pixels."""
    picture = painted(beacon_rank(1), View("full", SIDE))
    op = AugmentOp(name, 0.7, 7, {"magnitude_std": 0.5, "translate_const": 40, "img_mean": (9, 9, 9)})
    for seed in range(10):
        random.seed(seed)
        theirs = op(picture)
        random.seed(seed)
        drawn = randaugment._draw(op)
        ours = picture if drawn is None else drawn.apply(picture)
        assert np.array_equal(np.asarray(theirs), np.asarray(ours))


def test_a_posterization_to_no_bits_is_black():
    """timm draws it at magnitude 10, and Pillow has refused it since version 12."""
    op = AugmentOp("PosterizeIncreasing", 1.0, 10, {})
    assert randaugment._draw(op).arguments == (0,)
    assert not np.asarray(randaugment._draw(op).apply(Image.new("RGB", (8, 8), (255, 255, 255)))).any()


def test_draws_leave_pythons_random_alone_and_are_the_names_own():
    picture = painted(beacon_rank(1), View("full", SIDE))
    drawing = augmenting(SIDE, rand_augment="rand-m9-mstd0.5-inc1", erasing=0.5)
    random.seed(5)
    state = random.getstate()
    first, second = (drawing.view(picture, keyed_rng("a", 3)) for _ in range(2))
    assert random.getstate() == state
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(first.affine, second.affine)


def test_a_config_that_timm_cannot_read_is_refused():
    with pytest.raises(UserError, match=r"expected a RandAugment like .*, found 'augmix-m5'"):
        augmenting(SIDE, rand_augment="augmix-m5").view(Image.new("RGB", (32, 32)), keyed_rng(0))


def test_the_identity_returns_the_stored_ticket_and_a_flip_twice_too():
    for seed in range(50):
        rank = torch.from_numpy(np.random.default_rng(seed).permutation(GRID * GRID))[None]
        stored = (rank[0] < 13).nonzero()[:, 0].tolist()
        identity, flip = torch.eye(3)[None], torch.tensor([[[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]])
        assert kept_cells(rank, identity[:, :2], GRID, 13)[0].tolist() == stored
        assert kept_cells(rank, (flip @ flip)[:, :2], GRID, 13)[0].tolist() == stored
        once = kept_cells(rank, flip[:, :2], GRID, 13)[0].tolist()
        assert sorted(p // GRID * GRID + GRID - 1 - p % GRID for p in once) == stored


# --- erasing


def test_erased_cells_are_those_whose_centre_is_erased():
    boxes = [erasing.draw_box(np.random.default_rng(seed), 1.0, SIDE) for seed in range(300)]
    images = torch.zeros(300, 3, SIDE, SIDE)
    erasing.erase(images, torch.tensor(boxes))
    cell = SIDE // CELLS
    covered = erasing.erased_cells(torch.tensor(boxes), SIDE, CELLS).view(300, CELLS, CELLS)
    # the centre lies between pixels: it is covered with the pixel to its right and below
    assert torch.equal(covered, (images != 0).any(1)[:, cell // 2 :: cell, cell // 2 :: cell])


def test_boxes_are_drawn_as_timm_draws_them():
    theirs, ours = [], [erasing.draw_box(np.random.default_rng(seed), 0.25, 64) for seed in range(4000)]
    random.seed(0)
    for _ in range(4000):
        image = torch.zeros(1, 64, 64)
        RandomErasing(0.25, mode="pixel", device="cpu")(image)
        rows, columns = (image[0] != 0).any(1), (image[0] != 0).any(0)
        theirs.append((int(rows.int().argmax()), int(columns.int().argmax()), int(rows.sum()), int(columns.sum())))
    for part in range(4):
        a, b = (np.array([box[part] for box in boxes if box[2]]) for boxes in (ours, theirs))
        assert abs(len(a) / 4000 - 0.25) < 0.03
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.std() - b.std()) < 0.1 * b.std()


# --- mixing


@pytest.mark.parametrize("seed", range(20))
def test_maps_and_targets_follow_mixup_and_cutmix(seed):
    """A map as an image of one channel, each cell painted: mixed by the images' own code, it is the mixed map."""
    mix = mixing.draw(np.random.default_rng(seed), 0.8, 1.0, 1.0, 0.5, SIDE)
    values = torch.rand(6, CELLS * CELLS, generator=torch.Generator().manual_seed(seed))
    cell = SIDE // CELLS
    painted_maps = values.view(6, 1, CELLS, CELLS).repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    expected = mix.images(painted_maps)[:, 0, cell // 2 :: cell, cell // 2 :: cell].flatten(1)
    torch.testing.assert_close(mix.maps(values, SIDE), expected)
    labels = torch.tensor([0, 1, 2, 2, 1, 1])
    torch.testing.assert_close(mix.targets(labels, 3, 0.1), mixup_target(labels, 3, mix.lam, 0.1))
    white = torch.zeros(2, 3, SIDE, SIDE)
    white[0] = 1
    assert mix.images(white)[0].mean().item() == pytest.approx(mix.lam, abs=1e-5)


def test_mixes_are_drawn_as_timm_draws_them():
    np.random.seed(0)
    timm_s = Mixup(0.8, 1.0, prob=0.9, switch_prob=0.3, num_classes=2)
    theirs, ours = [], [mixing.draw(np.random.default_rng(n), 0.8, 1.0, 0.9, 0.3, 64) for n in range(4000)]
    for _ in range(4000):
        lam, cut = timm_s._params_per_batch()
        theirs.append((cutmix_bbox_and_lam((64, 64), lam)[1] if cut else lam, cut))
    kinds = [[float(m is not None and (m.box is not None) == cut) for m in ours] for cut in (False, True)]
    assert np.mean(kinds[1]) == pytest.approx(0.27, abs=0.03)
    for cut in (False, True):
        a = np.array([m.lam for m in ours if m is not None and (m.box is not None) == cut])
        b = np.array([lam for lam, was_cut in theirs if lam < 1 and was_cut == cut])
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt(a.var() / len(a) + b.var() / len(b))
        for q in (0.1, 0.5, 0.9):
            assert np.quantile(a, q) == pytest.approx(np.quantile(b, q), abs=0.05)


@pytest.mark.parametrize("shift", [1, -1])
def test_a_transposed_box_is_noticed(shift):
    mix = mixing.Mix(0.7, (0, SIDE // 2, SIDE // 4, SIDE))
    values = torch.rand(2, CELLS * CELLS)
    turned = replace(mix, box=(mix.box[2], mix.box[3], mix.box[0], mix.box[1]))
    assert not torch.equal(mix.maps(values, SIDE), turned.maps(values, SIDE))


def test_clumping_is_the_share_for_independent_cells_and_more_for_blobs():
    rng = np.random.default_rng(0)
    scattered = torch.from_numpy(np.stack([np.sort(rng.permutation(196)[:143]) for _ in range(500)]))
    assert alignment.clumping(scattered, 14).item() == pytest.approx(53 / 196, abs=0.01)
    blob = torch.tensor([[p for p in range(196) if p // 14 >= 7 or p % 14 >= 7]])
    assert alignment.clumping(blob, 14).item() == pytest.approx((6 * 7 * 2) / (7 * 7 * 2), abs=1e-6)
    assert alignment.clumping(torch.arange(196)[None], 14).item() == 0
