"""The pixels of a training view, against Pillow's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vit_tickets.pipeline.geometry.crops import Crop, keyed_rng
from vit_tickets.pipeline.geometry.images import FILTERS, to_array
from vit_tickets.train.recipes.presets import DEIT, LVVIT
from vit_tickets.train.views import augment
from vit_tickets.train.views.augment import Augment, as_image, resized


def picture(height: int, width: int) -> Image.Image:
    """Noise, magnified: edges in all directions, and no two places alike."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def by_pillow(image: Image.Image, crop: Crop, side: int, interpolation: str) -> np.ndarray:
    shown = image.crop(tuple(map(int, crop.box))).resize((side, side), FILTERS[interpolation])
    return np.asarray(shown.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.flip else shown)


@settings(max_examples=40)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(1, 64),
    st.booleans(),
    st.sampled_from(sorted(FILTERS)),
)
def test_a_crop_is_what_pillow_cuts_and_resizes(height, width, top, left, side, flip, interpolation):
    crop = Crop((float(left), float(top), float(left + width), float(top + height)), flip)
    image = picture(top + height + 5, left + width + 7)
    ours = resized(image, crop, side, interpolation)
    assert ours.shape == (3, side, side)
    assert ours.dtype == np.uint8
    if interpolation in ("nearest", "lanczos"):
        np.testing.assert_array_equal(ours.transpose(1, 2, 0), np.asarray(crop.render(image, side, interpolation)))
    else:
        ours = ours.transpose(1, 2, 0)
        differences = np.abs(ours.astype(int) - by_pillow(image, crop, side, interpolation))
        assert differences.max() <= 3
        assert differences.mean() <= (0.3 if side >= 16 else 1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_of_the_right_size_is_only_cut(interpolation):
    image = picture(40, 50)
    ours = resized(image, Crop((7.0, 5.0, 31.0, 29.0)), 24, interpolation)
    np.testing.assert_array_equal(ours.transpose(1, 2, 0), np.asarray(image)[5:29, 7:31])


def test_pixels_become_an_image_and_pixels_again():
    image = picture(21, 34)
    assert np.array_equal(to_array(as_image(to_array(image))), to_array(image))


def test_randaugment_changes_the_whole_image_in_lvvits_recipe_and_the_view_in_deits(monkeypatch):
    """REFERENCE.md section 5: flip, RandAugment, then the random crop, last."""
    sizes = []
    monkeypatch.setattr(augment, "apply", lambda drawn, image, rng: sizes.append(image.size) or image)
    for recipe in (LVVIT, DEIT):
        Augment(recipe, 32).view(Image.new("RGB", (60, 40)), keyed_rng(0))
    assert sizes == [(60, 40), (32, 32)]
