"""Random erasing (Zhong et al. 2020), as timm's RandomErasing in `pixel` mode, with recorded boxes.

Legend: B images, S side of the view in pixels, T side of its grid of cells.
"""

import math

import numpy as np
import torch
from torch import Tensor

AREA = (0.02, 1 / 3)
ASPECT = (0.3, 1 / 0.3)
ATTEMPTS = 10
LAST = -1.0  # the value of an erased cell: below fill and places outside the image, which are 0


def draw_box(rng: np.random.Generator, probability: float, side: int) -> tuple[int, int, int, int]:
    """Draw the box to erase from a view of `side` pixels, in timm's distribution.

    The area is uniform in 0.02 .. 1/3 of the view, the aspect ratio log-uniform in 0.3 .. 1/0.3; ten attempts are made
    to fit the box into the view.

    Returns:
        (top, left, height, width) in pixels, all 0 for no box.
    """
    if not probability or rng.random() > probability:
        return 0, 0, 0, 0
    for _ in range(ATTEMPTS):
        area = rng.uniform(*AREA) * side * side
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height < side and width < side:
            return int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1)), height, width
    return 0, 0, 0, 0


def erase(images: Tensor, erased_B4: Tensor) -> None:
    """Fill the boxes of normalised `images` (B, 3, S, S) with noise of mean 0 and variance 1, in place."""
    for index, (top, left, height, width) in enumerate(erased_B4.tolist()):
        if height and width:
            images[index, :, top : top + height, left : left + width].normal_()


def erased_cells(erased_B4: Tensor, side: int, grid: int) -> Tensor:
    """Which cells have their centre in a box, bool (B, T * T); `side` is that of the view in pixels."""
    centre_T = (torch.arange(grid, device=erased_B4.device) + 0.5) * side / grid
    top, left, height, width = erased_B4.unsqueeze(-1).unbind(1)
    row_BT = (top <= centre_T) & (centre_T < top + height)
    column_BT = (left <= centre_T) & (centre_T < left + width)
    return (row_BT.unsqueeze(2) & column_BT.unsqueeze(1)).flatten(1)
