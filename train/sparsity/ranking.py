"""Which weights stay: those of largest score, exactly as many as asked for."""

from collections.abc import Mapping

import torch
from torch import Tensor


def keep_largest(scores: Tensor, count: int, among: Tensor | None = None) -> Tensor:
    """True at the `count` largest of `scores`; among equal scores the later ones, by flat index, stay.

    Args:
        scores: of any shape, device and memory format; inf is allowed.
        count: how many to keep.
        among: bool, of the same shape: the places to choose from; None for all.

    Returns:
        bool, of the shape and memory format of `scores`.

    Raises:
        ValueError: a score to choose from is nan, or there are fewer than `count`.
    """
    return keep_largest_of_all({"": scores}, count, None if among is None else {"": among})[""]


def keep_largest_of_all(
    scores: Mapping[str, Tensor], count: int, among: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """`keep_largest` over several tensors together, on one device: flat indices run through them in their order."""
    flat = torch.cat([score.detach().reshape(-1) for score in scores.values()])
    if among is None:
        kept = _keep(flat, count)
    else:
        places = torch.cat([among[name].reshape(-1) for name in scores]).nonzero().squeeze(1)
        kept = torch.zeros_like(flat, dtype=torch.bool)
        kept[places[_keep(flat[places], count)]] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: torch.empty_like(score, dtype=torch.bool).copy_(part.view(score.shape))
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def _keep(values_n: Tensor, count: int) -> Tensor:
    """True at the `count` largest of the values, the later ones among equals."""
    drop = len(values_n) - count
    if not 0 <= count <= len(values_n):
        raise ValueError(f"expected to keep 0 to {len(values_n)} scores, found {count}")
    if values_n.isnan().any():
        raise ValueError("expected scores that are numbers, found nan")
    if not drop:
        return torch.ones_like(values_n, dtype=torch.bool)
    threshold = values_n.kthvalue(drop).values
    kept = values_n > threshold
    ties = (values_n == threshold).nonzero().squeeze(1)
    kept[ties[len(ties) - (count - int(kept.sum())) :]] = True
    return kept
