"""Bytes to pixels, one way for every command: RGB, upright, 8 bits, and never a bomb.

EXIF orientation is applied, 16-bit samples are scaled to 8, alpha is laid over black, of an animation the first frame
is taken, CMYK is converted. Truncated data is an error, and so are numbers that are not finite and an image of more
than `max_pixels`, seen before decoding. EXIF that cannot be read says nothing: the pixels are whole.
"""

import io
import warnings

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from vit_tickets.pipeline.geometry.views import Box, View, center_corner, resized_shape
from vit_tickets.pipeline.system.errors import UserError

MAX_PIXELS = 100_000_000
SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2", "avif"})
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# What undoes each EXIF orientation, as `ImageOps.exif_transpose` does, which fails where it cannot rewrite the EXIF.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What may be parsed: not EPS and its like, for which Pillow starts other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")

# What Pillow remarks about a damaged file, it also raises, or does without.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# The limit is ours (`max_pixels`), checked before a single pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


class UndecodableImage(Exception):
    """Why these bytes give no pixels, in a few words."""


def decode(data: bytes | None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in `data` as upright 8-bit RGB; raises UndecodableImage, and nothing else, where there is none."""
    if data is None:
        raise UndecodableImage("no image member")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise UndecodableImage(f"{width} x {height} is over the limit of {max_pixels} pixels")
            image.load()
            turn = UPRIGHT.get(_orientation(image))
            return _to_rgb(image if turn is None else image.transpose(turn))
    except UndecodableImage:
        raise
    except MemoryError:
        raise UndecodableImage("out of memory while decoding") from None
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error
        raise UndecodableImage(_one_line(error)) from None


def _orientation(image: Image.Image) -> int | None:
    try:
        value = image.getexif().get(Base.Orientation)
    except Exception:  # as above: a damaged block raises anything
        return None
    return value if isinstance(value, int) else None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # Pillow's text names the address of the buffer, which differs from run to run
    return "not an image that Pillow can identify" if "cannot identify" in text else text or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.array(image, dtype=np.float32)
        if not np.isfinite(values).all():
            raise UndecodableImage("expected finite pixels, found others")
        if image.mode != "F":
            values /= 257
        np.clip(np.rint(values, out=values), 0, 255, out=values)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return image.convert("RGB")


def crop_resize(image: Image.Image, box: Box, side: int, interpolation: str = "bicubic") -> Image.Image:
    """The part `box` of `image`, resampled to `side` x `side`; nothing larger is materialised.

    Raises UserError for a box that shows nothing of it.
    """
    width, height = image.size
    x0, y0, x1, y1 = box
    clipped = max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise UserError(f"expected a box of the image of {width} x {height} pixels, found {box}")
    if clipped == (0.0, 0.0, width, height) and image.size == (side, side):
        return image
    return image.resize((side, side), resampling(interpolation), box=clipped)


def render(image: Image.Image, view: View) -> Image.Image:
    """`image` in `view`. The centre of an image that is reduced has exactly the pixels of a resize and a crop."""
    width, height = image.size
    if view.kind == "center":
        resized_h, resized_w = resized_shape(height, width, view.image_size, view.crop_pct)
        if resized_h <= height and resized_w <= width:
            left, top = center_corner(resized_h, resized_w, view.image_size)
            whole = image.resize((resized_w, resized_h), resampling(view.interpolation))
            return whole.crop((left, top, left + view.image_size, top + view.image_size))
    return crop_resize(image, view.box(height, width), view.image_size, view.interpolation)


def resampling(name: str) -> Image.Resampling:
    if name not in FILTERS:
        raise UserError(f"expected an interpolation among {', '.join(FILTERS)}, found {name!r}")
    return FILTERS[name]


def to_array(image: Image.Image) -> np.ndarray:
    """Pixels as uint8, shape (3, height, width), channels RGB."""
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def shrink(data: bytes, shorter_side: int, quality: int) -> bytes | None:
    """`data` re-encoded as JPEG with its shorter side reduced to `shorter_side`; None if it is no larger than that.

    Raises UndecodableImage.
    """
    image = decode(data, max_pixels=2**40)
    width, height = image.size
    if min(width, height) <= shorter_side:
        return None
    scale = shorter_side / min(width, height)
    size = max(shorter_side, round(width * scale)), max(shorter_side, round(height * scale))
    out = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0).save(out, "JPEG", quality=quality)
    return out.getvalue()
