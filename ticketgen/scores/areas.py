"""Scores of an image as scores of the cells of a view: exact means over areas, and the order that follows from them.

Legend: H x W values of a map, whose borders are `y_edges` (H + 1,) and `x_edges` (W + 1,) in pixels of the image, and
that is 0 outside; G x G cells of a view; N = G * G.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from vit_tickets.pipeline.geometry.views import Box

DECIMALS = 9  # of a score, as a share of the image's highest: what differs less is equal
AROUND = 12  # decimals of the sum around a cell


@dataclass(frozen=True)
class Areas:
    """Values, constant on each rectangle between edges."""

    values_HW: np.ndarray
    y_edges: np.ndarray
    x_edges: np.ndarray

    @classmethod
    def of_map(cls, values_HW: np.ndarray, height: int, width: int) -> "Areas":
        """A map of any size that covers the whole image of `height` x `width` pixels."""
        H, W = values_HW.shape
        return cls(values_HW, np.linspace(0, height, H + 1), np.linspace(0, width, W + 1))

    @classmethod
    def of_boxes(cls, boxes_B4: np.ndarray, height: int, width: int) -> "Areas":
        """1 where any of the boxes (x0, y0, x1, y1), in pixels of the image, is, and 0 elsewhere."""
        boxes_B4 = np.clip(boxes_B4, 0, [width, height, width, height])
        x_edges = np.unique([0, width, *boxes_B4[:, [0, 2]].ravel()])
        y_edges = np.unique([0, height, *boxes_B4[:, [1, 3]].ravel()])
        covered_HW = np.zeros((len(y_edges) - 1, len(x_edges) - 1))
        for x0, y0, x1, y1 in boxes_B4:
            rows, columns = np.searchsorted(y_edges, (y0, y1)), np.searchsorted(x_edges, (x0, x1))
            covered_HW[slice(*rows), slice(*columns)] = 1
        return cls(covered_HW, y_edges, x_edges)

    def cell_means(self, box: Box, grid: int) -> np.ndarray:
        """Mean value over the area of each of `grid` x `grid` cells of the part `box` of the image; float64 (G, G)."""
        x0, y0, x1, y1 = box
        return _shares(self.y_edges, y0, y1, grid) @ self.values_HW @ _shares(self.x_edges, x0, x1, grid).T


def _shares(edges: np.ndarray, start: float, stop: float, cells: int) -> np.ndarray:
    """The share of each of `cells` equal parts of [start, stop] that lies in each interval between `edges`."""
    borders = np.linspace(start, stop, cells + 1)
    low = np.maximum(borders[:-1, None], edges[None, :-1])
    high = np.minimum(borders[1:, None], edges[None, 1:])
    return np.maximum(high - low, 0) * (cells / (stop - start))


def ordered(score_GG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank int64 (N,), a permutation with 0 for the highest score, and the scores float64 (N,), rounded as compared.

    Equal scores are the rule where scores are masks or boxes. Of these, the cell with the higher sum of the scores
    around it comes first: within a mask its middle, outside of it what is next to it. The sum is weighted by a Gaussian
    whose standard deviation is a quarter of the view's side, and outside of the view there is nothing. Then the cell
    nearer to the centre of the view comes first, then the one with the lower index.
    """
    grid = len(score_GG)
    highest = np.abs(score_GG).max()
    share_GG = np.round(score_GG / highest, DECIMALS) if highest > 0 else np.zeros_like(score_GG)
    around = _around(grid)
    sum_GG = np.round(around @ share_GG @ around, AROUND)
    offset_G = 2 * np.arange(grid) + 1 - grid
    distance_GG = offset_G[:, None] ** 2 + offset_G[None, :] ** 2
    order_N = np.lexsort((distance_GG.ravel(), -sum_GG.ravel(), -share_GG.ravel()))  # stable
    rank_N = np.empty(grid * grid, dtype=np.int64)
    rank_N[order_N] = np.arange(grid * grid)
    return rank_N, (share_GG * highest).ravel()


@cache
def _around(grid: int) -> np.ndarray:
    """Weight along one axis of each cell in the sum around each other, float64 (G, G), symmetric."""
    apart = np.arange(grid)[:, None] - np.arange(grid)[None, :]
    return np.exp(-((apart / (grid / 4)) ** 2) / 2)
