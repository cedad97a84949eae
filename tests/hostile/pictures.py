"""Pictures as the world has them: damaged, disguised, in unusual modes, or made to exhaust whoever opens them.

`PICTURES` lists the kinds. A kind that decodes says which pixel it shows in its upper left corner, the others which
words its error has.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from tests.helpers import encode, png

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
ORIENTATION = 0x0112
HUGE = 60_000
# left half red, right half blue, 8 high and 16 wide
HALVES = Image.fromarray(np.repeat([[RED] * 8 + [BLUE] * 8], 8, axis=0).astype(np.uint8))
STORED = {  # what a camera stores for each orientation, so that the picture stands upright when it is applied
    1: HALVES,
    2: HALVES.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: HALVES.transpose(Image.Transpose.ROTATE_180),
    4: HALVES.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: HALVES.transpose(Image.Transpose.TRANSPOSE),
    6: HALVES.transpose(Image.Transpose.ROTATE_90),
    7: HALVES.transpose(Image.Transpose.TRANSVERSE),
    8: HALVES.transpose(Image.Transpose.ROTATE_270),
}


@dataclass(frozen=True)
class Picture:
    """kind: the row of the table. corner: the pixel at (0, 0), RGB, None for any. error: a part of why it has none."""

    kind: str
    data: bytes
    corner: tuple[int, int, int] | None = None
    size: tuple[int, int] | None = None
    error: str | None = None
    suffix: str = "jpg"


def photo(kind: str, **options) -> bytes:
    """A picture of some kilobytes."""
    return encode(Image.open(io.BytesIO(png(0, 64, 64))), kind, **options)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(width: int, height: int, *more: bytes, depth: int = 8, colour: int = 2, rows: bytes = b"") -> bytes:
    """A PNG that claims to be `width` x `height`, with the chunks `more` after its header."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + data + png_chunk(b"IEND", b"")


def png_rgb16() -> bytes:
    """One row of two pixels of 16 bits per channel: red, blue."""
    return png_of(2, 1, depth=16, rows=b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 0, 65535))


def red_dot(*chunks: bytes) -> bytes:
    """A PNG of one red pixel, with the chunks `chunks`."""
    return png_of(1, 1, *chunks, rows=b"\0\xff\0\0")


def text_bomb(name: bytes, megabytes: int = 100) -> bytes:
    """A PNG text chunk that unpacks to so many megabytes."""
    packed = zlib.compress(bytes(megabytes << 20), 9)
    return png_chunk(name, b"k\0" + (b"\0" if name == b"zTXt" else b"\x01\0\0\0") + packed)


def tiff_of(width: int, height: int, **tags: int) -> bytes:
    """A TIFF that claims to be `width` x `height` RGB; `tags` by number, as `t322`."""
    directory = ImageFileDirectory_v2()
    fields = {256: width, 257: height, 258: (8, 8, 8), 259: 8, 262: 2, 273: 8, 277: 3, 278: height, 279: 8}
    for tag, value in (fields | {int(name[1:]): value for name, value in tags.items()}).items():
        directory[tag] = value
    out = io.BytesIO()
    out.write(b"II*\0" + struct.pack("<I", 16) + bytes(8))
    directory.save(out)
    return out.getvalue()


def float_tiff(values: list[float]) -> bytes:
    return encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")


def jpeg_claiming(width: int, height: int) -> bytes:
    """A JPEG of 64 x 64 whose frame header says otherwise."""
    data = bytearray(photo("JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_claiming(width: int, height: int) -> bytes:
    """An animated WebP whose canvas is `width` x `height`, with a small frame."""
    data = bytearray(animation("WEBP", lossless=True))
    place = data.index(b"VP8X") + 12
    data[place : place + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


def gif_claiming(width: int, height: int) -> bytes:
    """A GIF whose screen is small and whose only frame is `width` x `height`."""
    data = bytearray(encode(Image.new("P", (4, 4)), "GIF"))
    place = data.index(b"\x2c\0\0\0\0") + 5
    data[place : place + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def animation(kind: str, **options) -> bytes:
    """Two frames, the first red, the second green."""
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN))
    return encode(first, kind, save_all=True, append_images=[second], **options)


def with_exif(exif: bytes, image: Image.Image = HALVES) -> bytes:
    return encode(image, "JPEG", exif=exif, quality=100, subsampling=0)


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return with_exif(exif.tobytes(), STORED[orientation])


def exif_with_damage() -> bytes:
    """Orientation 6 in an EXIF block that has another tag whose data lie outside of it."""
    entries = struct.pack("<HHII", ORIENTATION, 3, 1, 6) + struct.pack("<HHII", 0x8769, 4, 1, 0x7FFFFFFF)
    entries += struct.pack("<HHII", 0x010F, 2, 1 << 30, 0x7FFFFFF0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 3) + entries + bytes(4)


def palette(**options) -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 255, 255, 0, 0])
    return encode(image, "PNG", **options)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'
HTML = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>"
UNKNOWN = "not an image"
BOMB = f"{HUGE} x {HUGE} is over the limit"

PICTURES = [
    Picture("empty file", b"", error="no image bytes"),
    Picture("text", b"just some text\n", error=UNKNOWN),
    Picture("HTML error page", HTML, error=UNKNOWN),
    Picture("SVG", SVG, error=UNKNOWN),
    Picture("PDF", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n", error=UNKNOWN),
    Picture("EPS, which starts a program", encode(HALVES, "EPS"), error=UNKNOWN),
    Picture("JPEG cut off", photo("JPEG")[:-200], error="truncated"),
    Picture("PNG cut off", png(0, 64, 64)[:-200], error="truncated", suffix="png"),
    Picture("WebP cut off", photo("WEBP")[:-200], error="", suffix="webp"),
    Picture("GIF cut off", photo("GIF")[:-200], error="", suffix="gif"),
    # grey below what there is, as in every program that uses libjpeg
    Picture("JPEG, larger in its header", jpeg_claiming(640, 640), size=(640, 640)),
    Picture("JPEG, smaller in its header", jpeg_claiming(48, 48), size=(48, 48)),
    Picture("JPEG, no width in its header", jpeg_claiming(0, 64), error=""),
    Picture("PNG with a wrong checksum", png(0)[:60] + b"\0" + png(0)[61:], error="broken", suffix="png"),
    Picture("CMYK", encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), RED, suffix="tif"),
    Picture("CMYK JPEG, inverted by Adobe", encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), RED),
    Picture("16-bit grey", encode(Image.fromarray(np.full((2, 2), 65535, np.uint16)), "PNG"), (255,) * 3),
    Picture("16-bit RGB", png_rgb16(), RED),
    Picture("palette", palette(), RED),
    Picture("palette with transparency", palette(transparency=1), BLACK),
    Picture("RGB with a transparent colour", encode(HALVES, "PNG", transparency=RED), BLACK),
    Picture("alpha", encode(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG"), BLACK),
    Picture("grey with alpha", encode(Image.new("LA", (4, 4), (255, 0)), "PNG"), BLACK),
    Picture("bilevel", encode(Image.new("1", (9, 9), 1), "PNG"), (255,) * 3),
    Picture("animated GIF", animation("GIF"), RED, suffix="gif"),
    Picture("animated WebP", animation("WEBP", lossless=True), RED, suffix="webp"),
    Picture("animated PNG", animation("PNG"), RED, suffix="png"),
    *(Picture(f"EXIF orientation {o}", oriented(o), RED, HALVES.size) for o in STORED),
    Picture(
        "EXIF orientation 99", with_exif(struct.pack("<6s4sIHHHIII", b"Exif\0\0", b"II*\0", 8, 1, 274, 3, 1, 99, 0))
    ),
    Picture("EXIF of noise", with_exif(b"Exif\0\0" + bytes(range(64))), RED, HALVES.size),
    Picture("EXIF cut off", with_exif(b"Exif\0\0II*\0\x08"), RED, HALVES.size),
    Picture("EXIF with a damaged tag", with_exif(exif_with_damage(), STORED[6]), RED, HALVES.size),
    Picture("1 x 1", red_dot(), RED, (1, 1)),
    Picture("30000 x 10", encode(Image.new("RGB", (30_000, 10), RED), "PNG"), RED, (30_000, 10)),
    Picture("10 x 30000", encode(Image.new("RGB", (10, 30_000), RED), "PNG"), RED, (10, 30_000)),
    Picture("PNG bomb", png_of(HUGE, HUGE, rows=bytes(1 << 20)), error=BOMB, suffix="png"),
    Picture("TIFF bomb", tiff_of(HUGE, HUGE), error=BOMB, suffix="tif"),
    Picture(
        "TIFF with huge tiles", tiff_of(64, 64, t322=1 << 20, t323=1 << 20, t324=8, t325=8), error="", suffix="tif"
    ),
    Picture("GIF, its frame a bomb", gif_claiming(HUGE, HUGE), error=BOMB, suffix="gif"),
    Picture("WebP bomb", webp_claiming(16_384, 16_384), error="16384 x 16384 is over the limit", suffix="webp"),
    Picture("PPM bomb", b"P6 60000 60000 255\n", error=BOMB, suffix="ppm"),
    Picture("PNG with a zTXt bomb", red_dot(text_bomb(b"zTXt")), error="too large", suffix="png"),
    Picture("PNG with an iTXt bomb", red_dot(text_bomb(b"iTXt")), error="too large", suffix="png"),
    Picture("TIFF of NaN", float_tiff([float("nan")] * 4), error="finite", suffix="tif"),
    Picture("TIFF of infinities", float_tiff([float("inf"), 1.0]), error="finite", suffix="tif"),
    Picture("TIFF of numbers out of range", float_tiff([-1e30, 1e30]), error="in 0..1", suffix="tif"),
]
