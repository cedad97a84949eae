"""Ranks of many crops of an image, averaged in image coordinates on a grid of the whole image.

Legend: G cells along a side of a crop's grid, M along a side of the image's; values are 1 - rank / N.
"""

import numpy as np

from vit_tickets.pipeline.geometry.crops import Crop


def overlaps(start: float, stop: float, size: int, parts: int, cells: int) -> np.ndarray:
    """Lengths that `parts` equal parts of [start, stop] share with `cells` equal cells of [0, size]: (cells, parts)."""
    edges_M = np.arange(cells + 1) * size / cells
    edges_G = start + np.arange(parts + 1) * (stop - start) / parts
    high = np.minimum(edges_M[1:, None], edges_G[None, 1:])
    low = np.maximum(edges_M[:-1, None], edges_G[None, :-1])
    return np.maximum(high - low, 0.0)


class CropMean:
    """The mean over crops on an M x M grid of a `height` x `width` image; a patch counts in a cell by shared area."""

    def __init__(self, height: int, width: int, side: int):
        self.height, self.width, self.side = height, width, side
        self._sum_MM = np.zeros((side, side))
        self._area_MM = np.zeros((side, side))

    def add(self, crop: Crop, value_GG: np.ndarray) -> None:
        """Take in one crop's values, float (G, G) of the crop as it is seen, mirrored where `crop.flip`."""
        x0, y0, x1, y1 = crop.box
        parts = len(value_GG)
        y_MG = overlaps(y0, y1, self.height, parts, self.side)
        x_MG = overlaps(x0, x1, self.width, parts, self.side)
        upright_GG = value_GG[:, ::-1] if crop.flip else value_GG
        # einsum's own loops: matrix libraries sum in an order that depends on the machine's threads
        self._sum_MM += np.einsum("yr,rx->yx", y_MG, np.einsum("rc,xc->rx", upright_GG, x_MG))
        self._area_MM += np.outer(y_MG.sum(axis=1), x_MG.sum(axis=1))

    def mean(self, whole_GG: np.ndarray | None) -> np.ndarray:
        """The means, float64 (M * M,) rounded to nine decimals, so that ties are ties.

        whole_GG: values of a pass over the whole image, for cells that no crop covers; G divides M.
        """
        filled_MM = self._sum_MM / np.where(self._area_MM > 0, self._area_MM, 1.0)
        if whole_GG is not None:
            times = self.side // len(whole_GG)
            filled_MM = np.where(self._area_MM > 0, filled_MM, np.kron(whole_GG, np.ones((times, times))))
        return np.round(filled_MM, 9).ravel()


def covered(crops: list[Crop], height: int, width: int, side: int) -> bool:
    """Whether every cell of a `side` x `side` grid of the image shares some area with one of `crops`."""
    seen_MM = np.zeros((side, side), dtype=bool)
    for crop in crops:
        x0, y0, x1, y1 = crop.box
        rows_M = overlaps(y0, y1, height, 1, side)[:, 0] > 0
        seen_MM |= np.outer(rows_M, overlaps(x0, x1, width, 1, side)[:, 0] > 0)
    return bool(seen_MM.all())
