"""A training view: its draws, its pixels, and where these come from.

The order is timm's: random resized crop, flip, RandAugment or colour jitter; then, normalised and on the device, random
erasing (drawn here, see `erasing.py`) and mixing (`mixing.py`). Where the recipe has RandAugment first, it changes the
whole image, which is then cropped and flipped. (LV-ViT's program flips before RandAugment. Each operation is as likely
as its mirror image, so the views have the same distribution.)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import functional

from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import Crop, random_resized_crop
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.views.erasing import draw_box
from vit_tickets.train.views.randaugment import RandAugment, apply, padded, trace_back

IDENTITY = np.eye(3, dtype=np.float32)[:2]
NOWHERE = np.zeros((0, 2, 3), dtype=np.float32)


@dataclass(frozen=True)
class AugmentedView:
    """A view of side S, with its geometry."""

    #: uint8 (3, S, S).
    pixels: np.ndarray
    #: float (3, 3): map from the view's unit square to pixels of the source.
    affine: np.ndarray
    #: float32 (L, 2, 3): maps from the view's unit square to those that its L operations started from; where one leaves
    #: the unit square, the view shows fill.
    through: np.ndarray
    #: int32 (4,): top, left, height, width of the erased box in pixels, all 0 for none.
    erased: np.ndarray


@dataclass(frozen=True)
class Augment:
    """Draws views by the augmentation of a recipe."""

    recipe: Recipe
    #: Side of the views in pixels.
    image_size: int
    #: Fill, 0 .. 1 per channel.
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)

    @cached_property
    def _operations(self) -> RandAugment | None:
        recipe = self.recipe
        if not recipe.rand_augment:
            return None
        return RandAugment(recipe.rand_augment, self.image_size, self.mean, recipe.interpolation)

    @property
    def num_layers(self) -> int:
        return 0 if self._operations is None else self._operations.num_layers

    def view(self, image: Image.Image, rng: np.random.Generator, crop: Crop | None = None) -> AugmentedView:
        """The view of `image` that `rng` draws; of `crop` where there is one, with the pixels that stage 1 saw."""
        recipe, (width, height) = self.recipe, image.size
        drawn_crop = random_resized_crop(rng, height, width, recipe.crop_scale, recipe.hflip)
        interpolation = recipe.interpolation
        if interpolation == "random":
            interpolation = ("bilinear", "bicubic")[rng.integers(2)]
        operations, through = self._operations, NOWHERE
        drawn = [] if operations is None else operations.draw(rng)
        first = operations is not None and recipe.rand_augment_first
        if first:
            image = apply(drawn, image, rng)
        if crop is None:
            crop, pixels = drawn_crop, resized(image, drawn_crop, self.image_size, interpolation)
        else:
            pixels = images.to_array(crop.render(image, self.image_size, interpolation))
        affine = crop.affine()
        if operations is not None:
            if first:
                to_pixels = np.diag([width, height, 1.0])
                of_crop = np.linalg.inv(to_pixels) @ affine  # from the view's unit square to the image's
                before, passed = trace_back(drawn, width, width / height)
                affine, passed = to_pixels @ before @ of_crop, passed @ of_crop
            else:
                pixels = images.to_array(apply(drawn, as_image(pixels), rng))
                before, passed = trace_back(drawn, self.image_size)
                affine = affine @ before
            through = padded(passed, self.num_layers).astype(np.float32)
        elif recipe.color_jitter:
            pixels = images.to_array(jitter(as_image(pixels), recipe.color_jitter, rng))
        erased = draw_box(rng, recipe.erasing, self.image_size)
        return AugmentedView(pixels, affine, through, np.array(erased, np.int32))


def resized(image: Image.Image, crop: Crop, side: int, interpolation: str) -> np.ndarray:
    """The view that `crop` shows of `image`, uint8 (3, side, side): cut out, then resampled with antialiasing, the
    order of torchvision's RandomResizedCrop.

    Bilinear and bicubic by torch, in a third of Pillow's time, for pixels that differ by rounding.
    """
    if interpolation not in ("bilinear", "bicubic"):
        return images.to_array(crop.render(image, side, interpolation))
    part = torch.from_numpy(np.array(image.crop(tuple(map(round, crop.box))))).permute(2, 0, 1)
    shown = F.interpolate(part[None], (side, side), mode=interpolation, antialias=True)[0]
    return (shown.flip(2) if crop.flip else shown.contiguous()).numpy()


def as_image(pixels: np.ndarray) -> Image.Image:
    """uint8 (3, height, width) as an image, channel by channel: in a third of the time of a transposed copy."""
    return Image.merge("RGB", [Image.fromarray(channel) for channel in pixels])


def jitter(image: Image.Image, amount: float, rng: np.random.Generator) -> Image.Image:
    """torchvision's ColorJitter(amount, amount, amount), drawn from `rng`: factors 1 - amount .. 1 + amount, in any
    order."""
    adjust = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    factors = rng.uniform(max(0.0, 1 - amount), 1 + amount, len(adjust))
    for index in rng.permutation(len(adjust)):
        image = adjust[index](image, float(factors[index]))
    return image
