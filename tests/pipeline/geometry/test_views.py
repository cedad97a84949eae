import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vit_tickets.pipeline.geometry.images import crop_resize
from vit_tickets.pipeline.geometry.views import View, box_affine, center_box, view_to_view
from vit_tickets.pipeline.system.errors import UserError

sides = st.integers(10, 600)
boxes = st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(1, 100)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def timm_transform(size: int, crop_pct: float):
    from torchvision import transforms

    bicubic = transforms.InterpolationMode.BICUBIC
    resize = transforms.Resize(math.floor(size / crop_pct), interpolation=bicubic)
    return transforms.Compose([resize, transforms.CenterCrop(size)])


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (256, 256), (333, 500), (500, 257), (224, 1000)])
@pytest.mark.parametrize(("size", "crop_pct"), [(224, 0.875), (224, 0.9), (48, 1.0)])
def test_center_is_torchvisions_resize_and_center_crop(height, width, size, crop_pct):
    y, x = np.mgrid[:height, :width]
    for coordinate in (y / height, x / width):
        image = Image.fromarray((10 + 200 * coordinate).astype(np.float32))
        expected = np.asarray(timm_transform(size, crop_pct)(image))
        box = center_box(height, width, size, crop_pct)
        found = np.asarray(crop_resize(image, box, size))
        step = 200 / min(height, width)  # one source pixel, as grey value
        assert np.abs(found - expected).max() < 0.1 * step


@given(sides, sides, st.sampled_from([32, 48, 224]), st.floats(0.5, 1))
def test_center_box_is_a_centred_square_inside_the_image(height, width, size, crop_pct):
    x0, y0, x1, y1 = center_box(height, width, size, crop_pct)
    resized_pixel = max(height, width) / size  # torchvision rounds to whole pixels of the resized image
    assert -1e-6 <= x0 < x1 <= width + 1e-6
    assert -1e-6 <= y0 < y1 <= height + 1e-6
    assert abs((x0 + x1) / 2 - width / 2) <= resized_pixel
    assert abs((y0 + y1) / 2 - height / 2) <= resized_pixel


def test_full_shows_everything():
    assert View("full", 224).box(300, 400) == (0, 0, 400, 300)


@given(boxes, st.booleans())
def test_box_affine_sends_the_corners_to_the_corners(box, flip):
    x0, y0, x1, y1 = box
    affine = box_affine(box, flip)
    left, right = (x1, x0) if flip else (x0, x1)
    assert np.allclose(affine @ [0, 0, 1], [left, y0, 1])
    assert np.allclose(affine @ [1, 1, 1], [right, y1, 1])
    assert np.allclose(affine @ [1, 0, 1], [right, y0, 1])


@given(boxes, boxes, st.booleans(), st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_view_to_view_shows_the_same_source_pixel(box_a, box_b, flip_a, flip_b, u, v):
    a, b = box_affine(box_a, flip_a), box_affine(box_b, flip_b)
    there = view_to_view(a, b)
    assert there.shape == (2, 3)
    in_b = there @ [u, v, 1]
    assert np.allclose(b @ [*in_b, 1], a @ [u, v, 1], atol=1e-6)
    assert np.allclose(view_to_view(b, a) @ [*in_b, 1], [u, v], atol=1e-6)


@given(boxes, st.booleans())
def test_a_view_onto_itself_is_the_identity(box, flip):
    affine = box_affine(box, flip)
    assert np.allclose(view_to_view(affine, affine), [[1, 0, 0], [0, 1, 0]], atol=1e-9)


@given(boxes)
def test_flipping_twice_is_nothing(box):
    mirror = view_to_view(box_affine(box, flip=True), box_affine(box))
    assert np.allclose(mirror, [[-1, 0, 1], [0, 1, 0]], atol=1e-9)


@pytest.mark.parametrize(
    "view",
    [
        View("full", 48, mean=(0.5,) * 3),
        View("center", 224, 0.875, "bilinear"),
        View("full@2", 448),
        View("crops:12", 224, crop_seed=5, crop_scale=0.25),
        View("crops-mean:3", 224, crop_flip=0.0),
    ],
)
def test_record_round_trip(view):
    record = view.preprocessing()
    again = View.from_record(view.kind, record)
    assert again.preprocessing() == record
    assert again.box(300, 400) == view.box(300, 400)
    assert record["mean"] == list(view.mean)


@pytest.mark.parametrize(
    ("kind", "grid_scale", "num_crops", "num_views"),
    [
        ("center", 1, None, None),
        ("full", 1, None, None),
        ("full@2", 2, None, None),
        ("crops:300", 1, 300, 300),
        ("crops-mean:16", 2, 16, None),
    ],
)
def test_what_a_kind_stands_for(kind, grid_scale, num_crops, num_views):
    view = View(kind, 48)
    assert (view.grid_scale, view.num_crops, view.num_views) == (grid_scale, num_crops, num_views)
    assert kind == "center" or view.box(30, 50) == (0, 0, 50, 30)


def test_only_random_crops_record_how_they_are_drawn():
    for kind in ("center", "full", "full@2"):
        drawn = [name for name in View(kind, 48).preprocessing() if name.startswith("crop_")]
        assert set(drawn) <= {"crop_pct"}
    assert View("crops:1", 48, crop_seed=3).preprocessing()["crop_seed"] == 3


def test_center_records_the_resize():
    assert View("center", 224, 0.875).preprocessing()["resize"] == 256
    assert "resize" not in View("full", 224).preprocessing()


@pytest.mark.parametrize(
    "kind", ["sideways", "crops", "crops:0", "crops:08", "crops:x", "crops-mean:", "full@3", "full:2"]
)
def test_unknown_view(kind):
    with pytest.raises(UserError, match="expected a view among center, full, full@2, crops:V, crops-mean:V, found"):
        View(kind, 224)
