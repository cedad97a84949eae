"""timm's RandAugment with drawing separated from applying, so that affine maps can follow the pixels.

Operations, magnitudes, order and fill are those of `timm.data.auto_augment`. Affine maps are 3 x 3, in the unit square
of the picture that they change, the view or the whole image: from a place after an operation to the place that its
pixel comes from.
"""

import contextlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from timm.data.auto_augment import _LEVEL_DENOM, AugmentOp, rand_augment_transform
from timm.data.transforms import str_to_pil_interp

from vit_tickets.pipeline.system.errors import UserError


@dataclass(frozen=True)
class Drawn:
    """An operation that was drawn."""

    op: AugmentOp  #: the operation, with its name
    arguments: tuple  #: arguments of its pixel function

    @property
    def name(self) -> str:
        return self.op.name

    def apply(self, image: Image.Image) -> Image.Image:
        if self.name.startswith("Posterize") and self.arguments[0] < 1:
            return Image.new(image.mode, image.size)  # no bits left: timm asks for it, Pillow 12 refuses
        return self.op.aug_fn(image, *self.arguments, **self.op.kwargs)

    def affine(self, side: int, aspect: float = 1.0) -> np.ndarray | None:
        """Map to where pixels come from, (3, 3), in a picture as in `affine_of`; None if no pixel moves."""
        return affine_of(self.name, self.arguments, side, aspect)


class RandAugment:
    """Draws the operations of a view.

    Args:
        config: timm's string, such as `rand-m9-mstd0.5-inc1`.
        image_size: side of the view in pixels.
        mean: colour of the fill, per channel in 0 .. 1.
        interpolation: timm's name of one, or `random`.

    Raises:
        UserError: timm cannot read `config`.
    """

    def __init__(self, config: str, image_size: int, mean: tuple[float, ...], interpolation: str):
        hparams = {
            "translate_const": int(image_size * 0.45),
            "img_mean": tuple(min(255, round(255 * value)) for value in mean),
        }
        if interpolation != "random":
            hparams["interpolation"] = str_to_pil_interp(interpolation)
        try:
            self._timm = rand_augment_transform(config, hparams)
        except (AssertionError, ValueError, KeyError) as error:
            raise UserError(f"expected a RandAugment like rand-m9-mstd0.5-inc1, found {config!r} ({error})") from None

    @property
    def num_layers(self) -> int:
        """Number of operations drawn for a view; some of them may then be skipped."""
        return self._timm.num_layers

    def draw(self, rng: np.random.Generator) -> list[Drawn]:
        """The operations for one view, from timm's distributions; each may be skipped, with its probability."""
        weights = self._timm.choice_weights
        chosen = rng.choice(len(self._timm.ops), self.num_layers, replace=weights is None, p=weights)
        with python_random(rng):
            return [drawn for index in chosen if (drawn := _draw(self._timm.ops[index])) is not None]


def apply(drawn: list[Drawn], image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """`image` after all of `drawn`. Some of timm's pixel functions draw an interpolation or a radius, from `rng`."""
    with python_random(rng):
        for operation in drawn:
            image = operation.apply(image)
    return image


def _draw(op: AugmentOp) -> Drawn | None:
    """What timm's AugmentOp.__call__ draws, in its order."""
    if op.prob < 1.0 and random.random() > op.prob:
        return None
    magnitude = op.magnitude
    if op.magnitude_std > 0:
        uniform = op.magnitude_std == float("inf")
        magnitude = random.uniform(0, magnitude) if uniform else random.gauss(magnitude, op.magnitude_std)
    magnitude = max(0.0, min(magnitude, op.magnitude_max or _LEVEL_DENOM))
    return Drawn(op, tuple(op.level_fn(magnitude, op.hparams)) if op.level_fn is not None else ())


@contextlib.contextmanager
def python_random(rng: np.random.Generator) -> Iterator[None]:
    """Seed Python's `random`, from which timm draws, from `rng`; restore its state at the end."""
    before = random.getstate()
    random.seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        random.setstate(before)


def affine_of(name: str, arguments: tuple, side: int, aspect: float = 1.0) -> np.ndarray | None:
    """The affine map (3, 3) of timm's operation `name` on a picture `side` pixels wide, whose width is `aspect` times
    its height; None if it moves no pixel."""
    amount = arguments[0] if arguments else 0.0
    affine = np.eye(3)
    if name == "ShearX":
        affine[0, 1] = amount / aspect
    elif name == "ShearY":
        affine[1, 0] = amount * aspect
    elif name in ("TranslateX", "TranslateXRel"):
        affine[0, 2] = amount if name.endswith("Rel") else amount / side
    elif name in ("TranslateY", "TranslateYRel"):
        affine[1, 2] = amount if name.endswith("Rel") else amount * aspect / side
    elif name == "Rotate":  # counter-clockwise about the centre, as Pillow's rotate
        cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
        affine[:2, :2] = [[cos, -sin / aspect], [sin * aspect, cos]]
        affine[:2, 2] = 0.5 - affine[:2, :2] @ [0.5, 0.5]
    else:
        return None
    return affine


def trace_back(drawn: list[Drawn], side: int, aspect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The maps from the final picture to earlier ones, through the D operations `drawn`; side, aspect: see `affine_of`.

    Returns:
        The map to the picture before all operations, (3, 3), and the maps to that before each of them, last operation
        first, (D, 3, 3). A place that one of these takes out of the unit square shows fill.
    """
    before, through = np.eye(3), []
    for operation in reversed(drawn):
        affine = operation.affine(side, aspect)
        before = before if affine is None else affine @ before
        through.append(before)
    return before, np.array(through).reshape(-1, 3, 3)


def padded(through: np.ndarray, num_layers: int) -> np.ndarray:
    """The maps of `trace_back`, (D, 3, 3), as (num_layers, 2, 3), so that all views of a batch have equally many.

    The last one, to the view before all operations, is repeated; this marks no other place as fill.
    """
    rows = through[:, :2] if len(through) else np.eye(3)[None, :2]
    return rows[np.minimum(np.arange(num_layers), len(rows) - 1)]
