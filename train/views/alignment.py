"""Tickets that follow the pixels: rank maps resampled from the manifest's view to the training view.

`pipeline/geometry/regrid.py` has the same resampling in numpy, for boxes alone: stage 1 and `compare` use it without
torch. Both sample value maps bilinearly at cell centres; inside the view, but beyond its outermost cell centres, a
place has the value of the nearest one between them, and outside the view it has 0.

Legend: B images, G side of the manifest's grid, T side of the training grid, K kept, L operations after the crop. Pure
tensor functions, batched, on the device of their inputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_tickets.pipeline.geometry.regrid import ON_BORDER
from vit_tickets.train.views.erasing import LAST, erased_cells
from vit_tickets.train.views.mixing import Mix
from vit_tickets.train.views.sampling import Sampling


def value_map(rank_BN: Tensor) -> Tensor:
    """Ranks (B, G * G) as a map of values 1 - rank / N, float32 (B, G, G): 1 for the most informative patch."""
    N = rank_BN.shape[1]
    side = round(N**0.5)
    return (1 - rank_BN.float() / N).view(-1, side, side)


def resample(map_BGG: Tensor, affine_B23: Tensor, target_side: int, through_BL23: Tensor | None = None) -> Tensor:
    """Values of the training view's cells, (B, T * T), sampled bilinearly from `map_BGG`; 0 outside the map.

    Args:
        affine_B23: float32, per image the map from the training view's unit square to that of the manifest's view.
        through_BL23: float32, maps from the training view's unit square to those that its geometric operations started
            from; a cell that one of them takes out of the unit square shows fill, and its value is 0.

    A cell's value is taken at its centre; cell centres lie at +0.5 (`align_corners=False`). Inside the map, but beyond
    its outermost cell centres, it is that of the nearest place between them.
    """
    B, T = len(map_BGG), target_side
    points_N3 = cell_centres(T, map_BGG.device)
    there_BN2 = points_N3 @ affine_B23.transpose(1, 2)
    sampled_BN = F.grid_sample(
        map_BGG.unsqueeze(1),
        (2 * there_BN2 - 1).view(B, T, T, 2),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    ).view(B, T * T)
    sampled_BN = sampled_BN * is_inside(there_BN2)
    if through_BL23 is None or through_BL23.shape[1] == 0:
        return sampled_BN
    return sampled_BN * is_shown(points_N3, through_BL23)


def is_inside(points_BN2: Tensor) -> Tensor:
    """Which points lie in the unit square, its border included: bool (B, N)."""
    return ((points_BN2 >= -ON_BORDER) & (points_BN2 <= 1 + ON_BORDER)).all(dim=2)


def is_shown(points_N3: Tensor, through_BL23: Tensor) -> Tensor:
    """Which points of the training view show the image instead of an operation's fill: bool (B, N)."""
    passed_BLN2 = points_N3 @ through_BL23.transpose(2, 3)
    return ((passed_BLN2 >= 0) & (passed_BLN2 < 1)).all(dim=3).all(dim=1)


def cell_centres(side: int, device: torch.device) -> Tensor:
    """Centres (x, y, 1) of the cells of a `side` x `side` grid on the unit square, row by row: (side * side, 3)."""
    centre_T = (torch.arange(side, device=device) + 0.5) / side
    y_TT, x_TT = torch.meshgrid(centre_T, centre_T, indexing="ij")
    return torch.stack([x_TT, y_TT, torch.ones_like(x_TT)], dim=-1).view(side * side, 3)


def keep_best(values_BN: Tensor, kept: int) -> Tensor:
    """The `kept` cells of highest value, ties to the lower index, ascending: int64 (B, K)."""
    order_BN = values_BN.sort(dim=1, descending=True, stable=True).indices
    return order_BN[:, :kept].sort(dim=1).values


def kept_cells(
    rank_BN: Tensor,
    affine_B23: Tensor | None,
    target_side: int,
    kept: int,
    *,
    through_BL23: Tensor | None = None,
    erased_B4: Tensor | None = None,
    mix: Mix | None = None,
    image_size: int = 0,
    sampling: Sampling | None = None,
) -> Tensor:
    """From ranks to the cells that are kept of each view: int64 (B, K), ascending, on the device of the arguments.

    Training, evaluation and `tickets.align` all use it. Identity view, equal grids: the stored ticket.

    Args:
        rank_BN: any integer dtype.
        affine_B23: see `resample`. None if the ranks are those of the view's own cells, as those of a random subset:
            then no geometry changes their order, and they are not mixed; only cells that show nothing go to its end.
        target_side: T.
        kept: K.
        through_BL23: see `resample`.
        erased_B4: (top, left, height, width) of the box that is erased from each view, in pixels, all 0 for none; its
            cells come last.
        mix: how the batch was mixed; the values of cells are mixed alike.
        image_size: side of the view in pixels; needed if boxes were erased or mixed.
        sampling: draws the cells instead of keeping the best; None for the best.
    """
    erased_BN = None if erased_B4 is None else erased_cells(erased_B4, image_size, target_side)
    if affine_B23 is None:
        return keep_best(_own_values(rank_BN, through_BL23, erased_BN, mix, image_size), kept)
    values_BN = resample(value_map(rank_BN), affine_B23, target_side, through_BL23)
    if erased_BN is not None:
        values_BN = values_BN.masked_fill(erased_BN, LAST)
    if mix is not None:
        values_BN = mix.maps(values_BN, image_size)
    if sampling is not None:
        values_BN = sampling.drawn(values_BN)
    return keep_best(values_BN, kept)


def _own_values(
    rank_BN: Tensor, through_BL23: Tensor | None, erased_BN: Tensor | None, mix: Mix | None, image_size: int
) -> Tensor:
    """Values (B, N) of a view's own cells: 1 - rank / N, 1 less for fill and 2 less if erased.

    So fill follows all cells of the image, and what was erased follows fill, as in a ticket, each in the order of its
    ranks. What is taken off is mixed as the images are: a pasted box shows what its partner shows there.
    """
    values_BN = value_map(rank_BN).flatten(1)
    hidden_BN = torch.zeros_like(values_BN)
    if through_BL23 is not None and through_BL23.shape[1]:
        side = round(rank_BN.shape[1] ** 0.5)
        hidden_BN = hidden_BN + ~is_shown(cell_centres(side, rank_BN.device), through_BL23)
    if erased_BN is not None:
        hidden_BN = hidden_BN.masked_fill(erased_BN, 1 - LAST)
    if mix is not None:
        hidden_BN = mix.maps(hidden_BN, image_size)
    return values_BN - hidden_BN


def clumping(kept_BK: Tensor, side: int) -> Tensor:
    """How often the right or lower neighbour of a dropped cell is dropped too, over the batch; a scalar.

    Independent cells give the share that is dropped, so 0.27 at sparsity 0.27; blobs give more. 0 where no cell is
    dropped.
    """
    dropped_BN = torch.ones(len(kept_BK), side * side, device=kept_BK.device).scatter_(1, kept_BK, 0.0)
    dropped_BTT = dropped_BN.view(-1, side, side)
    right, below = (dropped_BTT[:, :, :-1], dropped_BTT[:, :, 1:]), (dropped_BTT[:, :-1], dropped_BTT[:, 1:])
    both = sum((cell * neighbour).sum() for cell, neighbour in (right, below))
    return both / sum(cell.sum() for cell, _ in (right, below)).clamp(min=1)
