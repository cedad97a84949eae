"""Token labels: an annotator's classes for the cells that a model sees (Jiang et al. 2021, token labeling).

A label map holds, per cell of the whole image, the annotator's best classes and their logits; all other classes count
as logit 0, and so do places outside the image. It goes through the view's geometry as a ticket does.

Legend: B images, M side of the label map, P places (best classes) per cell, T side of the training grid, K kept cells,
C classes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_tickets.train.views.alignment import cell_centres, is_inside, is_shown


@dataclass(frozen=True)
class TokenLabels:
    """Label maps of a batch, and how its views lie in them."""

    classes: Tensor  #: int64 (B, M * M, P)
    logits: Tensor  #: float32 (B, M * M, P)
    affine: Tensor  #: float32 (B, 2, 3): from the training view's unit square to that of the whole image
    through: Tensor | None = None  #: float32 (B, L, 2, 3): see `alignment.resample`

    def of_partners(self) -> "TokenLabels":
        """Those of the images that a batch is mixed with: its own reverse."""
        through = None if self.through is None else self.through.flip(0)
        return TokenLabels(self.classes.flip(0), self.logits.flip(0), self.affine.flip(0), through)


def token_targets(maps: TokenLabels, grid: int, num_classes: int, smoothing: float, kept_BK: Tensor | None) -> Tensor:
    """Soft labels (B, K, C) of the cells `kept_BK` of a `grid` x `grid` view, of all cells where that is None.

    Logits are sampled bilinearly at the cells' centres; softmax and smoothing follow (REFERENCE: softmax after
    alignment).
    """
    corners = _corners(maps, grid)
    if kept_BK is not None:
        corners = tuple(part.gather(1, kept_BK.unsqueeze(-1).expand(-1, -1, part.shape[2])) for part in corners)
    return smooth(_scatter(maps, *corners, num_classes).softmax(-1), smoothing)


def class_targets(maps: TokenLabels, grid: int, num_classes: int, smoothing: float) -> Tensor:
    """Soft labels (B, C) of the views: the mean of the sampled logits over all cells, then softmax and smoothing."""
    B = len(maps.classes)
    cells, weights = (part.reshape(B, 1, -1) for part in _corners(maps, grid))
    return smooth((_scatter(maps, cells, weights, num_classes).squeeze(1) / grid**2).softmax(-1), smoothing)


def smooth(probabilities: Tensor, smoothing: float) -> Tensor:
    """Label smoothing: the share `smoothing` is spread over all classes, so that every label still sums to 1."""
    return probabilities * (1 - smoothing) + smoothing / probabilities.shape[-1]


def one_hot(label_B: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Smoothed class labels (B, C)."""
    return smooth(F.one_hot(label_B, num_classes).float(), smoothing)


def _corners(maps: TokenLabels, grid: int) -> tuple[Tensor, Tensor]:
    """The four cells of the map around each cell's centre and their bilinear weights, both (B, T * T, 4); weight 0
    outside the map and where the view shows fill.

    As RoIAlign does, places in the map but beyond its outermost cell centres take the nearest place between them.
    """
    M = round(maps.classes.shape[1] ** 0.5)
    points_N3 = cell_centres(grid, maps.affine.device)
    there_BN2 = points_N3 @ maps.affine.transpose(1, 2)
    counted_BN = is_inside(there_BN2)
    if maps.through is not None:
        counted_BN = counted_BN & is_shown(points_N3, maps.through)
    place_BN2 = (there_BN2 * M - 0.5).clamp(0, M - 1)
    low_BN2 = place_BN2.floor()
    cells, weights = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            corner_BN2 = low_BN2 + torch.tensor([dx, dy], device=low_BN2.device)
            weights.append((1 - (place_BN2 - corner_BN2).abs()).prod(dim=2) * counted_BN)
            x, y = corner_BN2.clamp(max=M - 1).long().unbind(dim=2)  # beyond the last cell the weight is 0
            cells.append(y * M + x)
    return torch.stack(cells, dim=2), torch.stack(weights, dim=2)


def _scatter(maps: TokenLabels, cells_BKn: Tensor, weights_BKn: Tensor, num_classes: int) -> Tensor:
    """Dense logits (B, K, C): the sum of the map's logits at `cells_BKn`, weighted by `weights_BKn`."""
    B, K, n = cells_BKn.shape
    P = maps.classes.shape[2]
    index = cells_BKn.reshape(B, K * n, 1).expand(-1, -1, P)
    classes = maps.classes.gather(1, index).reshape(B, K, n * P)
    logits = (maps.logits.gather(1, index).view(B, K, n, P) * weights_BKn.unsqueeze(-1)).reshape(B, K, n * P)
    return torch.zeros(B, K, num_classes, device=logits.device).scatter_add_(2, classes, logits)
