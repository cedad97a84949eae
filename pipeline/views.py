"""Which part of an image a square view shows, as boxes in source pixels and as affine maps.

Boxes are (x0, y0, x1, y1) in pixels of the source image after EXIF orientation. Affine maps are 3 x 3 float64 arrays
on column vectors (x, y, 1). The unit square of a view has (0, 0) at its top left corner, (1, 1) at its bottom right.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from vit_tickets.pipeline.errors import UserError

Box = tuple[float, float, float, float]

KINDS = ("center", "full")


@dataclass(frozen=True)
class View:
    """A deterministic square view of an image, and how it is resampled and normalised.

    kind: `center` resizes the shorter side to floor(image_size / crop_pct) and crops the centre, as timm's evaluation
    transform does; `full` resizes the whole image to the square, aspect not kept.
    """

    kind: str
    image_size: int
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"expected a view among {', '.join(KINDS)}, found {self.kind!r}")
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))

    def box(self, height: int, width: int) -> Box:
        """The part of a `height` x `width` image that the view shows."""
        if self.kind == "full":
            return 0.0, 0.0, float(width), float(height)
        return center_box(height, width, self.image_size, self.crop_pct)

    def preprocessing(self) -> dict:
        """What is recorded beside the view's kind: resize, crop, interpolation, mean, std."""
        fields = {key: value for key, value in asdict(self).items() if key not in ("kind", "crop_pct")}
        if self.kind == "center":
            fields["resize"] = math.floor(self.image_size / self.crop_pct)
            fields["crop_pct"] = self.crop_pct
        return fields | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_record(cls, kind: str, preprocessing: dict) -> "View":
        """The view that `preprocessing()` described."""
        return cls(kind, **{key: value for key, value in preprocessing.items() if key != "resize"})


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
    """Map from the unit square of one view to that of another, given both views' maps to source pixels. (2, 3)."""
    return (np.linalg.inv(to_affine) @ from_affine)[:2]
