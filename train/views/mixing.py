"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with its reverse, as timm's Mixup in `batch` mode.

The draws are recorded, so that maps and labels are mixed like the images.

Legend: B images, S side of the view in pixels, T side of its grid of cells, C classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from timm.data.mixup import mixup_target
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed: image i with its partner, image B - 1 - i."""

    lam: float  #: share of each image that stays; the partner gives the rest
    #: top, bottom, left, right of the partner's part in pixels; None for blended images
    box: tuple[int, int, int, int] | None = None
    of_tokens: bool = False  #: MixToken: the model gets unmixed images and mixes their tokens; `box` is of whole cells

    def images(self, images: Tensor) -> Tensor:
        """Mixed images (B, 3, S, S)."""
        if self.box is None:
            return images * self.lam + images.flip(0) * (1 - self.lam)
        top, bottom, left, right = self.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
        return mixed

    def maps(self, values_BN: Tensor, side: int) -> Tensor:
        """Maps (B, T * T) mixed like their images of `side` pixels; the box takes the cells whose centre it covers."""
        grid = round(values_BN.shape[1] ** 0.5)
        own_N = self.own_share(grid, side).to(values_BN.device)
        return values_BN * own_N + values_BN.flip(0) * (1 - own_N)

    def own_share(self, grid: int, side: int) -> Tensor:
        """Share of the image itself in each cell of a `grid` x `grid` view of `side` pixels: float32 (T * T,).

        It is `lam`, or with a box 0 for cells whose centre it covers and 1 for others.
        """
        if self.box is None:
            return torch.full((grid * grid,), self.lam)
        top, bottom, left, right = self.box
        centre_T = (torch.arange(grid) + 0.5) * side / grid
        row_T, column_T = ((a <= centre_T) & (centre_T < b) for a, b in ((top, bottom), (left, right)))
        return (~(row_T.unsqueeze(1) & column_T)).float().flatten()

    def targets(self, label_B: Tensor, num_classes: int, smoothing: float) -> Tensor:
        """Soft targets (B, C): both labels by their share, smoothed."""
        return mixup_target(label_B, num_classes, self.lam, smoothing)


def apart(image_B: Tensor) -> Tensor:
    """An order of B views, int64 (B,), in which view i and its partner B - 1 - i are of two images, and pairs of images
    are as different as can be.

    With repeated augmentation a batch has several views of an image, one after the other: as they come, three views of
    an image would meet three of another, and the middle ones each other. No image meets itself if each has at most half
    of the views; the middle view of an odd batch is its own partner.

    Args:
        image_B: number of the image that each view is of.
    """
    B, half = len(image_B), len(image_B) // 2
    _, first, number_B = np.unique(image_B.numpy(), return_index=True, return_inverse=True)
    order = np.argsort(first[number_B], kind="stable")  # the views of an image together
    front, back = order[:half], order[B - half :]
    starts = np.flatnonzero(np.diff(number_B[back], prepend=-1))
    copy = np.arange(half) - np.repeat(starts, np.diff(starts, append=half))
    back = back[np.argsort(copy, kind="stable")]  # one view of each image, then another of each
    for place in np.flatnonzero(number_B[front] == number_B[back]):
        free = (number_B[back] != number_B[front[place]]) & (number_B[front] != number_B[back[place]])
        if free.any():
            other = int(free.argmax())
            back[[place, other]] = back[[other, place]]
    return torch.from_numpy(np.concatenate([front, order[half : B - half], back[::-1]]))


def draw(
    rng: np.random.Generator, mixup: float, cutmix: float, probability: float, switch: float, side: int
) -> Mix | None:
    """Draw how to mix a batch of views of `side` pixels, in timm's distribution; None for not at all.

    mixup, cutmix: the alphas of Beta(alpha, alpha), 0 where it is off. switch: the probability of CutMix where both are
    on. A CutMix box is cut off at the border, and `lam` is then the share that is left.
    """
    if not (mixup or cutmix) or rng.random() >= probability:
        return None
    cut = bool(cutmix) and (not mixup or rng.random() < switch)
    alpha = cutmix if cut else mixup
    lam = float(rng.beta(alpha, alpha))
    if lam == 1:
        return None
    if not cut:
        return Mix(lam)
    cut_side = int(side * np.sqrt(1 - lam))
    row, column = (int(rng.integers(side)) for _ in range(2))
    top, left = max(row - cut_side // 2, 0), max(column - cut_side // 2, 0)
    bottom, right = min(row + (cut_side + 1) // 2, side), min(column + (cut_side + 1) // 2, side)
    return Mix(1 - (bottom - top) * (right - left) / side**2, (top, bottom, left, right))


def draw_tokens(rng: np.random.Generator, alpha: float, grid: int, cell: int) -> Mix | None:
    """MixToken's box (Jiang et al. 2021, section 3.2) on a `grid` x `grid` view with cells of `cell` pixels: CutMix's
    draw, in cells; `lam` is the share of cells that stay."""
    mix = draw(rng, 0.0, alpha, 1.0, 1.0, grid)
    if mix is None or mix.box is None:
        return None
    top, bottom, left, right = mix.box
    return Mix(mix.lam, (top * cell, bottom * cell, left * cell, right * cell), of_tokens=True)
