"""Resample ranks from one view and grid to another, as training does, but with numpy only.

A rank is a map of values 1 - rank / N, which is sampled bilinearly at the centre of every target cell. Inside the
source view, but beyond its outermost cell centres, it has the value of the nearest place between them; outside it is 0.
Ties go to the lower cell index. Views are boxes, so each axis is sampled separately. `train/views/alignment.py` has the
same resampling in torch, for any affine map and on any device.

Legend: R images, G side of the source grid, T side of the target grid.
"""

import numpy as np

from vit_tickets.pipeline.geometry.patches import rank_by_value
from vit_tickets.pipeline.geometry.views import View, box_affine, view_to_view

ON_BORDER = 1e-5  # share of a view's side: places as near to its border as this are inside, however they were rounded


def axis_weights(scale_R: np.ndarray, shift_R: np.ndarray, side: int, target_side: int) -> np.ndarray:
    """Weights of the source cells in each target cell along one axis, float64 (R, T, G).

    A point x of the target's unit interval is the point `scale` x + `shift` of the source's.
    """
    centre_T = (np.arange(target_side) + 0.5) / target_side
    point_RT = np.multiply.outer(scale_R, centre_T) + np.asarray(shift_R)[:, None]
    place_RT = np.clip(point_RT * side - 0.5, 0, side - 1)
    inside_RT = (point_RT >= -ON_BORDER) & (point_RT <= 1 + ON_BORDER)
    return np.maximum(0, 1 - np.abs(place_RT[:, :, None] - np.arange(side))) * inside_RT[:, :, None]


def resample(map_RGG: np.ndarray, y_RTG: np.ndarray, x_RTG: np.ndarray) -> np.ndarray:
    """Resample maps with the weights of both axes, float64 (R, T, T)."""
    return y_RTG @ map_RGG @ x_RTG.swapaxes(-1, -2)


def rerank(rank_RN: np.ndarray, y_RTG: np.ndarray, x_RTG: np.ndarray) -> np.ndarray:
    """Ranks (R, G * G) on the target grid, int64 (R, T * T). Values are rounded to 9 decimals before comparison."""
    R, N = rank_RN.shape
    G, T = y_RTG.shape[2], y_RTG.shape[1]
    value_RN = np.round(resample((1 - rank_RN / N).reshape(R, G, G), y_RTG, x_RTG), 9).reshape(R, T * T)
    return rank_by_value(value_RN)


def view_affines(target: View, target_hw_R2: np.ndarray, source: View, source_hw_R2: np.ndarray) -> np.ndarray:
    """Maps from the unit square of `target` to that of `source`, one per image, float64 (R, 2, 3).

    The sizes (height, width) are those of the copies of the image in which the views were taken. The two copies may
    differ in resolution.
    """
    affine_R23 = np.empty((len(target_hw_R2), 2, 3))
    known: dict[tuple, np.ndarray] = {}
    for row, sizes in enumerate(zip(map(tuple, target_hw_R2.tolist()), map(tuple, source_hw_R2.tolist()), strict=True)):
        if sizes not in known:
            to_whole, from_whole = (_of_whole(view, *size) for view, size in zip((target, source), sizes, strict=True))
            known[sizes] = view_to_view(to_whole, from_whole)
        affine_R23[row] = known[sizes]
    return affine_R23


def _of_whole(view: View, height: int, width: int) -> np.ndarray:
    """Map from the view's unit square to that of the whole image, float64 (3, 3)."""
    return np.diag([1 / width, 1 / height, 1.0]) @ box_affine(view.box(height, width))
