"""Random resized crops and flips with recorded geometry, for the training stream and for stored views.

Every draw comes from a generator seeded by a key, so that the same image has the same crops on every machine.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vit_tickets.pipeline.geometry.images import crop_resize
from vit_tickets.pipeline.geometry.views import RATIO, Box, View, box_affine

ATTEMPTS = 10


@dataclass(frozen=True)
class Crop:
    """A part of an image, in pixels, that is mirrored after cropping if `flip`."""

    box: Box
    flip: bool = False

    def affine(self) -> np.ndarray:
        """Map from the crop's unit square to source pixels, float64 (3, 3)."""
        return box_affine(self.box, self.flip)

    def render(self, image: Image.Image, side: int, interpolation: str) -> Image.Image:
        """The crop's pixels as an image of `side` x `side`."""
        view = crop_resize(image, self.box, side, interpolation)
        return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else view


def keyed_rng(*name: int | str) -> np.random.Generator:
    """The random generator seeded by a hash of `name`, for example (seed, epoch, repeat, key)."""
    digest = hashlib.blake2b(":".join(map(str, name)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def random_resized_crop(rng: np.random.Generator, height: int, width: int, min_scale: float, hflip: float) -> Crop:
    """Draw a crop as torchvision's RandomResizedCrop(scale=(min_scale, 1)) and RandomHorizontalFlip(hflip) do.

    The crop's share of the image's area is uniform in [min_scale, 1], its aspect log-uniform in [3/4, 4/3]. If
    `ATTEMPTS` draws do not fit into the image, it is the largest central crop with a permitted aspect.

    Args:
        rng: The generator to draw from.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        min_scale: Least share of the area, in (0, 1].
        hflip: Probability of a horizontal flip.
    """
    box = _random_box(rng, height, width, min_scale)
    return Crop(box, bool(rng.random() < hflip))


def stored_crops(view: View, key: str, height: int, width: int) -> list[Crop]:
    """The V crops of view crops:V or crops-mean:V, for the image `key` of `height` x `width` pixels."""
    return [
        random_resized_crop(
            keyed_rng("crops", view.crop_seed, key, number), height, width, view.crop_scale, view.crop_flip
        )
        for number in range(view.num_crops or 0)
    ]


def _random_box(rng: np.random.Generator, height: int, width: int, min_scale: float) -> Box:
    log_ratio = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(min_scale, 1.0)
        aspect = math.exp(rng.uniform(*log_ratio))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return float(left), float(top), float(left + w), float(top + h)
    if width / height < RATIO[0]:
        w, h = width, max(1, round(width / RATIO[0]))
    elif width / height > RATIO[1]:
        w, h = max(1, round(height * RATIO[1])), height
    else:
        w, h = width, height
    top, left = (height - h) // 2, (width - w) // 2
    return float(left), float(top), float(left + w), float(top + h)
