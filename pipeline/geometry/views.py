"""The part of an image that a square view shows, as a box in source pixels and as an affine map.

Boxes are (x0, y0, x1, y1) in pixels of the source image after EXIF orientation. Affine maps are float64 arrays (3, 3)
that act on column vectors (x, y, 1). The unit square of a view has (0, 0) at its top left corner and (1, 1) at its
bottom right corner.
"""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vit_tickets.pipeline.system.errors import UserError

Box = tuple[float, float, float, float]

FULL_2 = "full@2"
KINDS = ("center", "full", FULL_2, "crops:V", "crops-mean:V")
RATIO = (3 / 4, 4 / 3)  # range of the aspects (width / height) of random crops


def check_kind(kind: str) -> str:
    """Return `kind`. Raises UserError unless it is one of `KINDS`, with a count of at least 1 for V."""
    if kind not in ("center", "full", FULL_2) and not re.fullmatch("crops(-mean)?:[1-9][0-9]*", kind):
        raise UserError(f"expected a view among {', '.join(KINDS)}, found {kind!r}")
    return kind


@dataclass(frozen=True)
class View:
    """The square view of an image that a selector sees, and how it is resampled and normalised.

    Kinds:
        center: The shorter side is resized to floor(image_size / crop_pct) and the centre is cropped, as in timm's
            evaluation transform.
        full: The whole image is resized to the square, whatever its aspect.
        full@2: As `full`, at twice the selector's size.
        crops:V: V random resized crops and flips (`crops.stored_crops` draws them), with a ticket each.
        crops-mean:V: The whole image, with scores averaged over V such crops.
    """

    kind: str
    #: side of the square in pixels
    image_size: int
    #: view `center`: share of the resized image that the crop shows
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    #: random crops: seed of the draw
    crop_seed: int = 0
    #: random crops: least share of the image's area
    crop_scale: float = 0.08
    #: random crops: probability of a horizontal flip
    crop_flip: float = 0.5

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if self.num_crops and not 0 < self.crop_scale <= 1:
            raise UserError(f"expected a crop scale in (0, 1], found {self.crop_scale:g}")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    @property
    def grid_scale(self) -> int:
        """Side of the split's grid divided by the side of the selector's grid: 2 for full@2 and crops-mean, else 1."""
        return 2 if self.kind == FULL_2 or self.kind.startswith("crops-mean:") else 1

    @property
    def num_crops(self) -> int | None:
        """V, the number of random crops that the selector sees of each image; None for a fixed view."""
        return int(self.kind.partition(":")[2]) if ":" in self.kind else None

    @property
    def num_views(self) -> int | None:
        """V for crops:V, whose rows hold V masks with separate boxes; else None."""
        return self.num_crops if self.kind.startswith("crops:") else None

    def box(self, height: int, width: int) -> Box:
        """The part of a `height` x `width` image that the view shows. Of crops:V all: its rows hold the boxes."""
        if self.kind == "center":
            return center_box(height, width, self.image_size, self.crop_pct)
        return 0.0, 0.0, float(width), float(height)

    def preprocessing(self) -> dict[str, Any]:
        """The record of all fields but the kind: sizes, interpolation, mean, std, and how crops are drawn."""
        fields = {key: value for key, value in asdict(self).items() if key != "kind" and not key.startswith("crop_")}
        if self.kind == "center":
            fields["resize"] = math.floor(self.image_size / self.crop_pct)
            fields["crop_pct"] = self.crop_pct
        if self.num_crops:
            fields |= {"crop_seed": self.crop_seed, "crop_scale": self.crop_scale, "crop_flip": self.crop_flip}
            fields["crop_ratio"] = list(RATIO)
        return fields | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_record(cls, kind: str, preprocessing: dict[str, Any]) -> "View":
        """The view of a `kind` and a record of `preprocessing`."""
        return cls(kind, **{key: value for key, value in preprocessing.items() if key not in ("resize", "crop_ratio")})


def resized_shape(height: int, width: int, image_size: int, crop_pct: float) -> tuple[int, int]:
    """(height, width) after resizing the shorter side to floor(image_size / crop_pct), rounded as in torchvision."""
    short = math.floor(image_size / crop_pct)
    return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)


def center_corner(height: int, width: int, image_size: int) -> tuple[int, int]:
    """(left, top) of a centre crop of side `image_size`, rounded as in torchvision."""
    return round((width - image_size) / 2), round((height - image_size) / 2)


def center_box(height: int, width: int, image_size: int, crop_pct: float) -> Box:
    """The part of the source that is left after resize and centre crop, in source pixels."""
    resized_h, resized_w = resized_shape(height, width, image_size, crop_pct)
    left, top = center_corner(resized_h, resized_w, image_size)
    scale_y, scale_x = height / resized_h, width / resized_w
    return left * scale_x, top * scale_y, (left + image_size) * scale_x, (top + image_size) * scale_y


def box_affine(box: Box, flip: bool = False) -> np.ndarray:
    """Map to source pixels from the unit square of a view that shows `box`, mirrored if `flip`. float64 (3, 3)."""
    x0, y0, x1, y1 = box
    scale_x, origin_x = (x0 - x1, x1) if flip else (x1 - x0, x0)
    return np.array([[scale_x, 0.0, origin_x], [0.0, y1 - y0, y0], [0.0, 0.0, 1.0]])


def view_to_view(from_affine: np.ndarray, to_affine: np.ndarray) -> np.ndarray:
    """Map from the unit square of one view to that of another, float64 (2, 3), given both views' maps to source pixels.

    `to_affine` must be the map of a box, which scales and shifts each axis separately.
    """
    scale, origin = to_affine.diagonal()[:2], to_affine[:2, 2]
    mapped = from_affine[:2] / scale[:, None]
    mapped[:, 2] -= origin / scale
    return mapped
