"""Tickets that follow the pixels: rank maps resampled from the manifest's view to the training view.

Legend: B images, G side of the manifest's grid, T side of the training grid, K kept. Pure tensor functions, batched, on
whatever device their inputs are on.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def value_map(rank_BN: Tensor) -> Tensor:
    """Ranks (B, G * G) as a map of values 1 - rank / N, float32 (B, G, G): 1 for the most informative patch."""
    N = rank_BN.shape[1]
    side = round(N**0.5)
    return (1 - rank_BN.float() / N).view(-1, side, side)


def resample(map_BGG: Tensor, affine_B23: Tensor, target_side: int) -> Tensor:
    """Values of the training view's cells, (B, T * T), sampled bilinearly from `map_BGG`; 0 outside the map.

    Args:
        affine_B23: float32, per image the map from the training view's unit square to that of the manifest's view.

    A cell's value is taken at its centre; cell centres lie at +0.5 (`align_corners=False`).
    """
    B, T = len(map_BGG), target_side
    centre_T = (torch.arange(T, device=map_BGG.device) + 0.5) / T
    y_TT, x_TT = torch.meshgrid(centre_T, centre_T, indexing="ij")
    points_N3 = torch.stack([x_TT, y_TT, torch.ones_like(x_TT)], dim=-1).view(T * T, 3)
    there_BN2 = points_N3 @ affine_B23.transpose(1, 2)
    sampled = F.grid_sample(
        map_BGG.unsqueeze(1),
        (2 * there_BN2 - 1).view(B, T, T, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return sampled.view(B, T * T)


def keep_best(values_BN: Tensor, kept: int) -> Tensor:
    """The `kept` cells of highest value, ties to the lower index, ascending: int64 (B, K)."""
    order_BN = values_BN.sort(dim=1, descending=True, stable=True).indices
    return order_BN[:, :kept].sort(dim=1).values


def aligned_ticket(rank_BN: Tensor, affine_B23: Tensor, target_side: int, kept: int) -> Tensor:
    """The ticket on the training view: int64 (B, K), ascending. Identity view, equal grids: the stored ticket."""
    return keep_best(resample(value_map(rank_BN), affine_B23, target_side), kept)
