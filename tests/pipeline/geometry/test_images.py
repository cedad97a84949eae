import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from tests.helpers import encode, png
from vit_tickets.pipeline.geometry.images import (
    UndecodableImage,
    crop_resize,
    decode,
    render,
    resampling,
    shrink,
    to_array,
)
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.system.errors import UserError

# left half red, right half blue, 6 high and 8 wide
HALVES = Image.fromarray(np.repeat([[[255, 0, 0]] * 4 + [[0, 0, 255]] * 4], 6, axis=0).astype(np.uint8))


def pixels(data: bytes, **options) -> np.ndarray:
    image = decode(data, **options)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "JPEG2000"])
def test_every_kind_gives_the_same_pixels(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels(encode(HALVES, kind, **options)), np.asarray(HALVES))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    # what a camera stores for each orientation, so that the picture stands upright when it is applied
    stored = {
        1: HALVES,
        2: HALVES.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: HALVES.transpose(Image.Transpose.ROTATE_180),
        4: HALVES.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: HALVES.transpose(Image.Transpose.TRANSPOSE),
        6: HALVES.transpose(Image.Transpose.ROTATE_90),
        7: HALVES.transpose(Image.Transpose.TRANSVERSE),
        8: HALVES.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(encode(stored, "PNG", exif=exif)), np.asarray(HALVES))


def test_16_bit_is_scaled_to_8():
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    found = pixels(encode(Image.fromarray(values), "PNG"))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (found == found[..., :1]).all()


def test_alpha_is_laid_over_black():
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], dtype=np.uint8)
    found = pixels(encode(Image.fromarray(rgba), "PNG"))
    assert found[0, 0].tolist() == [200, 100, 50]
    assert found[0, 1].tolist() == [0, 0, 0]
    assert np.abs(found[0, 2].astype(int) - [100, 50, 25]).max() <= 1


def test_grey_with_alpha_and_transparent_palette():
    assert pixels(encode(Image.new("LA", (2, 2), (90, 0)), "PNG")).max() == 0
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    assert pixels(encode(palette, "PNG"))[0, 0].tolist() == [200, 100, 50]
    assert pixels(encode(palette, "PNG", transparency=1)).max() == 0


def test_grey_bilevel_and_cmyk_become_rgb():
    assert pixels(encode(Image.new("L", (2, 2), 77), "PNG"))[0, 0].tolist() == [77, 77, 77]
    assert pixels(encode(Image.new("1", (2, 2), 1), "PNG"))[0, 0].tolist() == [255, 255, 255]
    red = pixels(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))[4, 4]
    assert red[0] > 200
    assert red[1:].max() < 60


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]


def test_one_pixel():
    image = decode(encode(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"))
    assert np.asarray(crop_resize(image, (0, 0, 1, 1), 24)).reshape(-1, 3).tolist() == [[1, 2, 3]] * 576


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text",
        png(0)[:-40],
        encode(HALVES.resize((64, 64)), "JPEG")[:-60],
        png(0)[:30],
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x04\0\0\0WEBP",
        b"\xff\xd8\xff",
        encode(HALVES, "EPS"),
        b"\x80\x04\x95",
    ],
    ids=["empty", "text", "cut png", "cut jpeg", "header", "magic", "webp magic", "jpeg magic", "eps", "pickle"],
)
def test_what_is_no_image_has_a_reason_in_one_line(data):
    with pytest.raises(UndecodableImage) as caught:
        decode(data)
    reason = str(caught.value)
    assert reason
    assert "\n" not in reason
    assert "0x" not in reason, "addresses differ from run to run"
    with pytest.raises(UndecodableImage) as again:
        decode(data)
    assert str(again.value) == reason


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims to be `width` x `height` and holds almost no data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_is_seen_before_decoding(monkeypatch):
    def explode(*args):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", explode)
    with pytest.raises(UndecodableImage, match="60000 x 60000 is over the limit of 100000000 pixels"):
        decode(png_of_size(60_000, 60_000))


def test_max_pixels_is_a_limit_on_the_product():
    data = encode(HALVES, "PNG")
    assert decode(data, max_pixels=48).size == (8, 6)
    with pytest.raises(UndecodableImage, match="8 x 6 is over the limit of 47 pixels"):
        decode(data, max_pixels=47)


def test_crop_resize_takes_the_box():
    right = np.asarray(crop_resize(HALVES, (4, 0, 8, 6), 10))
    assert right.shape == (10, 10, 3)
    assert (right[:, 4:] == [0, 0, 255]).all()  # the filter reaches beyond the box, as Resize before CenterCrop does


def test_crop_resize_of_what_fits_is_the_image_itself():
    image = decode(png(1, 24, 24))
    assert np.array_equal(np.asarray(crop_resize(image, (0, 0, 24, 24), 24)), np.asarray(image))


def test_crop_resize_stays_inside_the_image():
    assert crop_resize(HALVES, (-1e-9, 0, 8 + 1e-9, 6), 5).size == (5, 5)


def test_to_array_is_channels_first():
    array = to_array(HALVES)
    assert array.shape == (3, 6, 8)
    assert array.dtype == np.uint8
    assert array[0, 0].tolist() == [255] * 4 + [0] * 4


def test_unknown_interpolation():
    with pytest.raises(UserError, match=r"expected an interpolation among .*, found 'magic'"):
        resampling("magic")


@pytest.mark.parametrize(("size", "shrunk"), [((40, 80), (16, 32)), ((80, 40), (32, 16)), ((33, 50), (16, 24))])
def test_shrink_keeps_the_aspect(size, shrunk):
    width, height = size
    image = Image.open(io.BytesIO(shrink(png(0, height, width), 16, quality=90)))
    assert image.format == "JPEG"
    assert image.size == shrunk


def test_shrink_leaves_small_images_alone():
    assert shrink(png(0, 16, 40), 16, quality=90) is None
    with pytest.raises(UndecodableImage):
        shrink(b"no image", 16, quality=90)


@pytest.mark.parametrize("size", [(341, 256), (256, 384), (248, 248), (900, 300), (300, 900)])
def test_the_center_view_is_torchvisions_resize_and_crop(size):
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    bicubic = transforms.InterpolationMode.BICUBIC
    theirs = transforms.Compose([transforms.Resize(248, bicubic), transforms.CenterCrop(224)])(image)
    np.testing.assert_array_equal(np.asarray(render(image, View("center", 224, 0.9))), np.asarray(theirs))


@pytest.mark.parametrize("size", [(30, 60), (30_000, 10), (1, 1)])
def test_the_center_of_a_small_image_materialises_the_view_alone(size):
    image = Image.new("RGB", size, (10, 200, 30))
    shown = render(image, View("center", 224, 0.9))
    assert shown.size == (224, 224)
    assert shown.getcolors() == [(224 * 224, (10, 200, 30))]


RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)


@pytest.mark.parametrize(
    "values",
    [RAMP, 255 * RAMP, (255 * RAMP).astype(np.int32), (255 * RAMP).astype(np.uint16), (65535 * RAMP).astype(np.int32)],
    ids=["float 0..1", "float 0..255", "int32 0..255", "uint16 0..255", "int32 0..65535"],
)
def test_a_tiff_of_wide_values_is_scaled_by_their_range(values):
    found = pixels(encode(Image.fromarray(values), "TIFF"))[..., 0].astype(float)
    assert np.abs(found - 255 * RAMP).max() <= 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (10000 * RAMP, r"expected floating-point pixels in 0\.\.1, or in 0\.\.255 .*, found 0\.\.10000"),
        (1.02 * RAMP, r"found 0\.\.1\.02"),
        (RAMP - 0.5, r"found -0\.5\.\.0\.5"),
        ((1e6 * RAMP).astype(np.int32), r"expected whole pixels in 0\.\.255 or 0\.\.65535, found 0\.\.1000000"),
        ((-1000 * RAMP).astype(np.int32), r"found -1000\.\.0"),
    ],
)
def test_values_of_an_unknown_range_are_an_error(values, said):
    with pytest.raises(UndecodableImage, match=said):
        decode(encode(Image.fromarray(values.astype(values.dtype)), "TIFF"))
