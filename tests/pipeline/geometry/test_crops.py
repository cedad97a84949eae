"""Random crops: drawn from a name alone, with the geometry they say they have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vit_tickets.pipeline.geometry.crops import Crop, keyed_rng, random_resized_crop, stored_crops
from vit_tickets.pipeline.geometry.views import View


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    min_scale=st.floats(0.01, 1),
)
def test_a_crop_lies_in_the_image_and_is_not_empty(seed, height, width, min_scale):
    crop = random_resized_crop(np.random.default_rng(seed), height, width, min_scale, 0.5)
    x0, y0, x1, y1 = crop.box
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height


def test_area_and_aspect_are_distributed_as_in_torchvision():
    import torch
    from torchvision.transforms import RandomResizedCrop

    height, width, n = 200, 300, 4000
    ours = [random_resized_crop(np.random.default_rng(i), height, width, 0.08, 0.5).box for i in range(n)]
    torch.manual_seed(0)
    probe = torch.empty(3, height, width)
    theirs = [RandomResizedCrop.get_params(probe, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(n)]
    ours_area = np.array([(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in ours])
    theirs_area = np.array([float(h * w) for _, _, h, w in theirs])
    ours_aspect = np.array([np.log((x1 - x0) / (y1 - y0)) for x0, y0, x1, y1 in ours])
    theirs_aspect = np.array([np.log(float(w / h)) for _, _, h, w in theirs])
    for a, b in ((ours_area, theirs_area), (ours_aspect, theirs_aspect)):
        spread = np.sqrt(a.var() / n + b.var() / n)
        assert abs(a.mean() - b.mean()) < 4 * spread
        for q in (0.1, 0.5, 0.9):
            assert np.quantile(a, q) == pytest.approx(np.quantile(b, q), abs=0.1 * b.std())


def test_draws_depend_on_seed_epoch_and_key_alone():
    draws = {
        (seed, epoch, key): random_resized_crop(keyed_rng(seed, epoch, 0, key), 50, 70, 0.1, 0.5)
        for seed in (0, 1)
        for epoch in (0, 1)
        for key in ("a", "b")
    }
    assert len({crop.box for crop in draws.values()}) == len(draws)
    assert random_resized_crop(keyed_rng(0, 1, 0, "b"), 50, 70, 0.1, 0.5) == draws[0, 1, "b"]


@pytest.mark.parametrize("flip", [False, True])
def test_the_affine_says_where_the_pixels_are_from(flip):
    height, width, side = 120, 200, 40
    y, x = np.mgrid[:height, :width]
    picture = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    crop = Crop((30.0, 20.0, 130.0, 110.0), flip)
    pixels = np.asarray(crop.render(picture, side, "bilinear")).astype(float)
    for row, column in ((5, 5), (20, 30), (33, 8)):
        u, v = (column + 0.5) / side, (row + 0.5) / side
        source = crop.affine() @ [u, v, 1]
        assert pixels[row, column, 0] == pytest.approx(source[0] - 0.5, abs=1)
        assert pixels[row, column, 1] == pytest.approx(source[1] - 0.5, abs=1)


def test_stored_crops_follow_from_seed_key_and_number():
    view = View("crops:6", 24, crop_seed=2, crop_scale=0.3)
    crops = stored_crops(view, "cat/1", 50, 70)
    expected = [random_resized_crop(keyed_rng("crops", 2, "cat/1", number), 50, 70, 0.3, 0.5) for number in range(6)]
    assert crops == expected
    assert stored_crops(View("crops-mean:4", 24, crop_seed=2, crop_scale=0.3), "cat/1", 50, 70) == expected[:4]
    assert all(edge == int(edge) for crop in crops for edge in crop.box)
    assert stored_crops(View("full", 24), "cat/1", 50, 70) == []
