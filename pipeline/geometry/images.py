"""Decode images to upright RGB with 8 bits per channel, in the same way for every command.

EXIF orientation is applied, 16-bit values are scaled to 8 bits, transparent images are composited over black, CMYK is
converted, and of an animation the first frame is used. Floating-point values are taken for 0..1 if they lie in it, else
for 0..255; a TIFF's integers of over 8 bits for 0..255 if they lie in it, else for 0..65535. Errors are: cut data and
values outside these ranges; more than `max_pixels` pixels or a cost beyond them (`limits`), seen before decoding.
EXIF data that cannot be read is ignored. Where memory, open files or the disk run out, that is no error of the image.
"""

import contextlib
import errno
import io
import warnings

import numpy as np
from PIL import Image, features
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from vit_tickets.pipeline.geometry.limits import over_limit
from vit_tickets.pipeline.geometry.views import Box, View, center_corner, resized_shape
from vit_tickets.pipeline.system.errors import UserError, WorkFailed

MAX_PIXELS = 100_000_000
JPEG_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif"})
# Suffixes of formats that Pillow may lack, each with its format and the package that adds it.
PLUGINS = {
    "avif": ("AVIF", "a Pillow built with AVIF"),
    "heic": ("HEIF", "pillow-heif"),
    "heif": ("HEIF", "pillow-heif"),
    "jxl": ("JXL", "pillow-jxl-plugin"),
}
SUFFIXES = JPEG_SUFFIXES | {"png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "jp2", *PLUGINS}
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# The transposition that undoes each EXIF orientation. `ImageOps.exif_transpose` fails if it cannot rewrite the EXIF.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Formats that may be parsed. EPS and similar ones are not among them: Pillow starts other programs for these.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")


def _with_plugins(formats: tuple[str, ...]) -> tuple[str, ...]:
    """`formats`, and those of the installed plug-ins."""
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]

        register_heif_opener()
        formats = (*formats, "HEIF")
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401  # pyright: ignore[reportMissingImports]

        formats = (*formats, "JXL")
    return formats


FORMATS = _with_plugins(FORMATS)

# Pillow warns about damage that it either raises as an error or can do without.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# `decode` has its own limit (`max_pixels`), which it checks before decoding.
Image.MAX_IMAGE_PIXELS = None


# What the machine lacks, not the image; Pillow raises errors of decoders without a number.
RESOURCES = frozenset(
    (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EINTR)
)
FLOATS_OF_BYTES = 8  # the highest of floating-point values that are taken for 0..255 must be above


def lacking(suffix: str) -> str | None:
    """What must be installed to decode files with `suffix`; None if nothing is lacking."""
    name, package = PLUGINS.get(suffix, ("", ""))
    there = name in FORMATS and (name != "AVIF" or features.check("avif"))
    return package if name and not there else None


class UndecodableImage(Exception):
    """The data cannot be decoded. The message gives the reason in a few words."""


def decode(data: bytes | None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode `data` to upright 8-bit RGB.

    Raises UndecodableImage for all that is wrong with the image, and WorkFailed where the machine runs out of memory,
    open files or disk, so that the same image may be decoded later or elsewhere.
    """
    if data is None:
        raise UndecodableImage("no image member")
    if not data:
        raise UndecodableImage("no image bytes")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if why := over_limit(image, data, max_pixels):
                raise UndecodableImage(why)
            image.load()
            turn = UPRIGHT.get(_orientation(image))
            return _to_rgb(image if turn is None else image.transpose(turn), image)
    except UndecodableImage:
        raise
    except MemoryError:
        raise WorkFailed("out of memory while decoding an image") from None
    except Exception as error:  # Pillow's plugins raise anything from SyntaxError to struct.error
        if lacking := _lacking(error):
            raise WorkFailed(f"{lacking} while decoding an image") from None
        raise UndecodableImage(_one_line(error)) from None


def _lacking(error: Exception) -> str | None:
    """What the machine lacked; None if the image is to blame for `error`."""
    if isinstance(error, OSError) and error.errno in RESOURCES:
        return _one_line(error)
    return "out of memory" if str(error).startswith("out of memory") else None  # as Pillow reports that of a decoder


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of `image`; 1 (upright) if it has none."""
    try:
        value = image.getexif().get(Base.Orientation)
    except Exception:  # as in `decode`: damaged EXIF data raises anything
        return 1
    return value if isinstance(value, int) else 1


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # Pillow's message contains the address of the buffer, which differs from run to run
    return "not an image that Pillow can identify" if "cannot identify" in text else text or type(error).__name__


def _to_rgb(image: Image.Image, opened: ImageFile) -> Image.Image:
    """`image`, which `opened` holds, in 8-bit RGB."""
    if isinstance(opened, TiffImageFile) and 16 in _bits_of(opened) and image.mode == "RGB" and not image.getbbox():
        raise UndecodableImage("expected 16-bit colours in 0..65535, found none above 255")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.array(image, dtype=np.float32)
        values *= _scale_of(image.mode, values, opened.format)
        np.clip(np.rint(values, out=values), 0, 255, out=values)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return image.convert("RGB")


def _bits_of(opened: TiffImageFile) -> tuple[int, ...]:
    """Bits of each channel, as the file says."""
    bits = opened.tag_v2.get(BITSPERSAMPLE) or ()
    return bits if isinstance(bits, tuple) else (bits,)


def _scale_of(mode: str, values: np.ndarray, kind: str | None) -> float:
    """The factor that takes `values` to 0..255; raises UndecodableImage for values that no factor is known for."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(values).all():
        raise UndecodableImage("expected finite pixels, found others")
    if mode != "F":
        if low < 0 or high > 65535:
            raise UndecodableImage(f"expected whole pixels in 0..255 or 0..65535, found {low:.0f}..{high:.0f}")
        return 1.0 if kind == "TIFF" and high <= 255 else 1 / 257
    if low < 0 or 1 < high <= FLOATS_OF_BYTES or high > 255:
        ranges = f"0..1, or in 0..255 with some above {FLOATS_OF_BYTES}"
        raise UndecodableImage(f"expected floating-point pixels in {ranges}, found {low:.6g}..{high:.6g}")
    return 255.0 if high <= 1 else 1.0


def crop_resize(image: Image.Image, box: Box, side: int, interpolation: str = "bicubic") -> Image.Image:
    """Resample the part `box` of `image` to `side` x `side` pixels, without an intermediate image.

    Raises UserError if the box lies outside the image.
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
    """The pixels of `image` in `view`. If view `center` reduces the image, they equal those of a resize and a crop."""
    width, height = image.size
    if view.kind == "center":
        resized_h, resized_w = resized_shape(height, width, view.image_size, view.crop_pct)
        if resized_h <= height and resized_w <= width:
            left, top = center_corner(resized_h, resized_w, view.image_size)
            whole = image.resize((resized_w, resized_h), resampling(view.interpolation))
            return whole.crop((left, top, left + view.image_size, top + view.image_size))
    return crop_resize(image, view.box(height, width), view.image_size, view.interpolation)


def resampling(name: str) -> Image.Resampling:
    """Pillow's filter for the interpolation `name`. Raises UserError if it is unknown."""
    if name not in FILTERS:
        raise UserError(f"expected an interpolation among {', '.join(FILTERS)}, found {name!r}")
    return FILTERS[name]


def to_array(image: Image.Image) -> np.ndarray:
    """Pixels as uint8 (3, height, width), channels RGB."""
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def shrink(data: bytes, shorter_side: int, quality: int) -> bytes | None:
    """Re-encode `data` as JPEG with its shorter side reduced to `shorter_side`; None if it is already that small.

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
