"""Which part of an image a square view shows, as boxes in source pixels and as affine maps.

Boxes are (x0, y0, x1, y1) in pixels of the source image after EXIF orientation. Affine maps are 3 x 3 float64 arrays
on column vectors (x, y, 1). The unit square of a view has (0, 0) at its top left corner, (1, 1) at its bottom right.
"""

import math
import re
from dataclasses import asdict, dataclass

import numpy as np

from vit_tickets.pipeline.system.errors import UserError

Box = tuple[float, float, float, float]

FULL_2 = "full@2"
KINDS = ("center", "full", FULL_2, "crops:V", "crops-mean:V")
RATIO = (3 / 4, 4 / 3)  # aspects of random crops, width to height


def check_kind(kind: str) -> str:
    """`kind` itself; raises UserError unless it is one of `KINDS`, V a count from 1."""
    if kind not in ("center", "full", FULL_2) and not re.fullmatch("crops(-mean)?:[1-9][0-9]*", kind):
        raise UserError(f"expected a view among {', '.join(KINDS)}, found {kind!r}")
    return kind


@dataclass(frozen=True)
class View:
    """The square view of an image that a selector sees, and how it is resampled and normalised.

    kind: `center` resizes the shorter side to floor(image_size / crop_pct) and crops the centre, as timm's evaluation
    transform does; `full` resizes the whole image to the square, aspect not kept; `full@2` is that at twice the
    selector's size. `crops:V` stands for V random resized crops and flips, `crops-mean:V` for the whole image, on
    which what a selector says of V such crops is averaged; `pipeline.crops.stored_crops` draws them.
    image_size: side of the square in pixels. crop_seed, crop_scale, crop_flip: how crops are drawn.
    """

    kind: str
    image_size: int
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_seed: int = 0
    crop_scale: float = 0.08
    crop_flip: float = 0.5

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if self.num_crops and not 0 < self.crop_scale <= 1:
            raise UserError(f"expected a crop scale in (0, 1], found {self.crop_scale:g}")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    @property
    def fineness(self) -> int:
        """Cells of the split's grid along one side of a cell of the selector's own: 2 for full@2 and crops-mean."""
        return 2 if self.kind == FULL_2 or self.kind.startswith("crops-mean:") else 1

    @property
    def num_crops(self) -> int | None:
        """V: the random crops that the selector sees of each image; None where it sees one fixed view."""
        return int(self.kind.partition(":")[2]) if ":" in self.kind else None

    @property
    def num_views(self) -> int | None:
        """V for crops:V, whose rows hold V masks, each of a box of its own; else None."""
        return self.num_crops if self.kind.startswith("crops:") else None

    def box(self, height: int, width: int) -> Box:
        """The part of a `height` x `width` image that the view shows; of crops:V the whole, its rows have the boxes."""
        if self.kind == "center":
            return center_box(height, width, self.image_size, self.crop_pct)
        return 0.0, 0.0, float(width), float(height)

    def preprocessing(self) -> dict:
        """What is recorded beside the view's kind: sizes, interpolation, mean, std, and how crops are drawn."""
        fields = {key: value for key, value in asdict(self).items() if key != "kind" and not key.startswith("crop_")}
        if self.kind == "center":
            fields["resize"] = math.floor(self.image_size / self.crop_pct)
            fields["crop_pct"] = self.crop_pct
        if self.num_crops:
            fields |= {"crop_seed": self.crop_seed, "crop_scale": self.crop_scale, "crop_flip": self.crop_flip}
            fields["crop_ratio"] = list(RATIO)
        return fields | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_record(cls, kind: str, preprocessing: dict) -> "View":
        """The view that `preprocessing()` described."""
        return cls(kind, **{key: value for key, value in preprocessing.items() if key not in ("resize", "crop_ratio")})


def resized_shape(height: int, width: int, image_size: int, crop_pct: float) -> tuple[int, int]:
    """(height, width) after `Resize(floor(image_size / crop_pct))` of the shorter side, torchvision's rounding."""
    short = math.floor(image_size / crop_pct)
    return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)


def center_corner(height: int, width: int, image_size: int) -> tuple[int, int]:
    """(left, top) of `CenterCrop(image_size)`, torchvision's rounding."""
    return round((width - image_size) / 2), round((height - image_size) / 2)


def center_box(height: int, width: int, image_size: int, crop_pct: float) -> Box:
    """The part of the source that resize and centre crop show, in its own pixels."""
    resized_h, resized_w = resized_shape(height, width, image_size, crop_pct)
    left, top = center_corner(resized_h, resized_w, image_size)
    scale_y, scale_x = height / resized_h, width / resized_w
    return left * scale_x, top * scale_y, (left + image_size) * scale_x, (top + image_size) * scale_y


def box_affine(box: Box, flip: bool = False) -> np.ndarray:
    """Map from a view's unit square to source pixels, for a view that shows `box`, mirrored if `flip`."""
    x0, y0, x1, y1 = box
    scale_x, origin_x = (x0 - x1, x1) if flip else (x1 - x0, x0)
    return np.array([[scale_x, 0.0, origin_x], [0.0, y1 - y0, y0], [0.0, 0.0, 1.0]])


def view_to_view(from_affine: np.ndarray, to_affine: np.ndarray) -> np.ndarray:
    """Map from the unit square of one view to that of another, given both views' maps to source pixels. (2, 3).

    `to_affine` shows a box: it scales and shifts each axis by itself.
    """
    scale, origin = to_affine.diagonal()[:2], to_affine[:2, 2]
    mapped = from_affine[:2] / scale[:, None]
    mapped[:, 2] -= origin / scale
    return mapped
