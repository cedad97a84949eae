"""What a source holds of one image, read into values; what cannot be a score is refused for that image alone."""

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from vit_tickets.pipeline.geometry.images import FORMATS, MAX_PIXELS
from vit_tickets.ticketgen.scores.areas import Areas

LIMIT = float(np.finfo(np.float16).max)  # scores are stored in half precision
ASPECT = 0.05  # by which the aspect of an image may differ from the one for which its boxes were drawn
OUTSIDE = 1.0  # pixels by which a box may leave the image


class UnusableScores(Exception):
    """What a source holds of an image cannot be its scores. The message gives the reason in a few words."""


@dataclass(frozen=True)
class Boxes:
    """Boxes (x0, y0, x1, y1) float64 (B, 4), in pixels of an image of `size` (height, width); without, of the image."""

    boxes_B4: np.ndarray
    size: tuple[int, int] | None = None


def on_image(found: "np.ndarray | Boxes", height: int, width: int) -> Areas:
    """What was found of an image of `height` x `width` pixels, upright, as areas of it. Raises UnusableScores."""
    if isinstance(found, Boxes):
        return Areas.of_boxes(_in_pixels(found, height, width), height, width)
    values_HW = as_map(found)
    if height != width and values_HW.shape == (width, height):
        raise UnusableScores(f"expected a map of the upright image, {height} x {width}, found {width} x {height}")
    return Areas.of_map(values_HW, height, width)


def as_map(values: np.ndarray) -> np.ndarray:
    """`values` as finite float64 (H, W) from 0 on: a map, or the values of a square grid in a row."""
    if values.dtype.kind not in "fiub":
        raise UnusableScores(f"expected numbers, found {values.dtype}")
    shape = values.shape
    values = np.squeeze(values) if values.ndim > 2 else values
    if values.ndim == 1 and (side := math.isqrt(len(values))) ** 2 == len(values):
        values = values.reshape(side, side)
    if values.ndim != 2 or not values.size:
        raise UnusableScores(f"expected a map, or as many values as a square grid has cells, found {_shown(shape)}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise UnusableScores("expected finite scores, found others")
    if values.min() < 0 or values.max() > LIMIT:
        odd = values.min() if values.min() < 0 else values.max()
        raise UnusableScores(f"expected scores in 0..{LIMIT:.0f}, found {odd:g}")
    return values


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one value"


def _in_pixels(found: Boxes, height: int, width: int) -> np.ndarray:
    """The boxes in pixels of the image."""
    boxes_B4 = found.boxes_B4
    if not len(boxes_B4):
        raise UnusableScores("expected a box, found none")
    if not np.isfinite(boxes_B4).all() or (boxes_B4[:, :2] >= boxes_B4[:, 2:]).any():
        odd = boxes_B4[~(boxes_B4[:, :2] < boxes_B4[:, 2:]).all(axis=1)][0]
        raise UnusableScores(f"expected boxes with x0 < x1 and y0 < y1, found {_box(odd)}")
    of_height, of_width = found.size or (height, width)
    if abs(of_width * height / (of_height * width) - 1) > ASPECT:
        raise UnusableScores(
            f"expected boxes of an image of {height} x {width}, found those of {of_height} x {of_width}"
        )
    whole = np.array([of_width, of_height, of_width, of_height], dtype=np.float64)
    outside_B = (boxes_B4 < -OUTSIDE).any(axis=1) | (boxes_B4 > whole + OUTSIDE).any(axis=1)
    if outside_B.any():
        raise UnusableScores(
            f"expected boxes in the image of {of_height} x {of_width}, found {_box(boxes_B4[outside_B][0])}"
        )
    return boxes_B4 * ([width, height, width, height] / whole)


def _box(box: np.ndarray) -> str:
    return f"({', '.join(f'{value:g}' for value in box)})"


def read_array(data: bytes) -> np.ndarray:
    """The array of a .npy file."""
    try:
        return np.load(BytesIO(data), allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds
        raise UnusableScores(f"expected a .npy array: {type(error).__name__}") from None


def read_mask(data: bytes) -> np.ndarray:
    """Values in 0..1 of a mask (H, W): its grey level, or of a palette with colours 1 for all that is not black."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnusableScores(f"expected a mask of at most {MAX_PIXELS:,} pixels, found {_shown(image.size)}")
            image.load()
            return _mask(image)
    except UnusableScores:
        raise
    except Exception:  # as in `images.decode`
        raise UnusableScores("expected a mask, found an image that cannot be decoded") from None


def _mask(image: Image.Image) -> np.ndarray:
    if image.mode == "P":
        rgb = np.asarray(image.convert("RGB"))
        is_grey = (rgb == rgb[..., :1]).all()
        return np.asarray(rgb[..., 0] / 255 if is_grey else rgb.any(axis=-1), dtype=np.float64)
    if image.mode == "1":
        return np.asarray(image, dtype=np.float64)
    if image.mode == "L":
        return np.asarray(np.asarray(image) / 255)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise UnusableScores(f"expected a mask of at most 16 bits, found {values.min():g}..{values.max():g}")
        return values / 65535
    if image.mode == "RGB":
        rgb = np.asarray(image)
        if (rgb == rgb[..., :1]).all():
            return np.asarray(rgb[..., 0] / 255)
    raise UnusableScores(f"expected a grey mask or one with a palette, found mode {image.mode}")


def read_voc(data: bytes) -> Boxes:
    """The boxes of an annotation in the XML of PASCAL VOC, and the size of the image that it names.

    xmin, ymin, xmax, ymax are taken for edges.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise UnusableScores("expected XML without a document type")
    try:
        root: Any = ElementTree.fromstring(data)  # noqa: S314 (without entities)
        found = [
            [float(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in root.findall("object/bndbox")
        ]
        height, width = (int(float(root.findtext(f"size/{name}") or 0)) for name in ("height", "width"))
    except (ElementTree.ParseError, ValueError, TypeError) as error:
        raise UnusableScores(f"expected an annotation of PASCAL VOC: {type(error).__name__}") from None
    return Boxes(np.array(found, dtype=np.float64).reshape(-1, 4), (height, width) if height and width else None)
