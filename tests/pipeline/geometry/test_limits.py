"""What decoding costs beyond pixels is seen before decoding: scans of JPEGs, also inside TIFFs, and tiles."""

import io
import struct

import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from tests.helpers import encode
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.images import UndecodableImage, decode


def with_scans(data: bytes, times: int) -> bytes:
    """A JPEG whose last scan is repeated `times` times."""
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * times + data[end:]


def progressive(width: int, height: int, **options) -> bytes:
    return encode(Image.new("RGB", (width, height), (200, 100, 50)), "JPEG", progressive=True, **options)


@pytest.fixture
def undecoded(monkeypatch):
    """Nothing is decoded."""
    monkeypatch.setattr(ImageFile, "load", lambda image: pytest.fail("decoded"))


@pytest.mark.parametrize("times", [100, 5000])
def test_a_small_file_of_many_scans_is_refused_before_decoding(undecoded, times):
    with pytest.raises(UndecodableImage, match=f"{times + 10} scans of 640 x 480 pixels are over the limit of 100"):
        decode(with_scans(progressive(640, 480), times))


def test_scans_count_with_the_pixels():
    data = with_scans(progressive(64, 64), 30)
    assert decode(data).size == (64, 64)
    with pytest.raises(UndecodableImage, match="40 scans of 64 x 64 pixels are over the limit of 16 scans"):
        decode(data, max_pixels=64 * 64)


def test_a_progressive_picture_of_the_largest_size_passes():
    assert decode(progressive(640, 480), max_pixels=640 * 480).size == (640, 480)
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = encode(Image.new("L", (640, 480)), "JPEG", progressive=True, exif=exif, icc_profile=b"\xff\xda" * 400)
    assert decode(grey, max_pixels=640 * 480).size == (480, 640)


def test_scans_inside_a_tiff_are_counted():
    whole = encode(Image.new("RGB", (64, 64), (9, 9, 9)), "TIFF", compression="jpeg")
    assert decode(whole).size == (64, 64)
    with Image.open(io.BytesIO(whole)) as opened:
        (offset,), (size,) = opened.tag_v2[273], opened.tag_v2[279]
    strip = with_scans(whole[offset : offset + size], 200)
    changed = bytearray(whole + strip)
    for tag, value in ((273, len(whole)), (279, len(strip))):
        place = whole.index(struct.pack("<H", tag), struct.unpack("<I", whole[4:8])[0])
        struct.pack_into("<HHII", changed, place, tag, 4, 1, value)
    with pytest.raises(UndecodableImage, match="scans of 64 x 64 pixels are over the limit"):
        decode(bytes(changed))


def test_tiles_larger_than_the_limit_are_refused():
    fields = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: 60000, 323: 60000, 324: 8, 325: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    whole = struct.pack("<2sHII", b"II", 42, 12, 0) + struct.pack("<H", len(fields)) + entries + bytes(4)
    with pytest.raises(UndecodableImage, match="tiles of 60000 x 60000 are over the limit"):
        decode(whole)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        OSError(24, "Too many open files"),
        OSError(28, "No space left on device"),
        OSError("out of memory when reading image file"),
    ],
    ids=["memory", "enomem", "emfile", "enospc", "decoder"],
)
def test_what_the_machine_lacks_is_no_error_of_the_image(monkeypatch, error):
    def load(image):
        raise error

    monkeypatch.setattr(images, "_orientation", load)
    caught = None
    try:
        decode(progressive(8, 8))
    except Exception as raised:
        caught = raised
    assert type(caught).__name__ == "WorkFailed"
    assert str(caught).endswith(" while decoding an image")
