"""Random resized crops and flips whose geometry is known, for the training stream and for stored views alike.

What is drawn is drawn here, from a generator that a key names: the same view of the same image everywhere.
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
    """A part of an image, in pixels, and whether it is mirrored after cropping."""

    box: Box
    flip: bool = False

    def affine(self) -> np.ndarray:
        """Map from the view's unit square to source pixels, 3 x 3."""
        return box_affine(self.box, self.flip)

    def render(self, image: Image.Image, side: int, interpolation: str) -> Image.Image:
        """The view's pixels, `side` x `side`."""
        view = crop_resize(image, self.box, side, interpolation)
        return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else view


def keyed_rng(*name: int | str) -> np.random.Generator:
    """The random generator that `name` stands for, such as (seed, epoch, repeat, key)."""
    digest = hashlib.blake2b(":".join(map(str, name)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def random_resized_crop(rng: np.random.Generator, height: int, width: int, min_scale: float, hflip: float) -> Crop:
    """torchvision's RandomResizedCrop(scale=(min_scale, 1)) and RandomHorizontalFlip(hflip), drawn from `rng`.

    The crop's area is uniform in `min_scale` .. 1 of the image's, its aspect log-uniform in 3/4 .. 4/3; after ten draws
    that do not fit, the largest central crop of a permitted aspect.
    """
    box = _random_box(rng, height, width, min_scale)
    return Crop(box, bool(rng.random() < hflip))


def stored_crops(view: View, key: str, height: int, width: int) -> list[Crop]:
    """The V crops that `view` (crops:V or crops-mean:V) stands for, of the `height` x `width` image `key`."""
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
