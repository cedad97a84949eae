"""How many images or seeds would decide a comparison, if its estimate is the true difference."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from vit_tickets.train.report.analysis.bounds.welch import NORMAL, t_quantile

SPREAD = 0.3  # points: standard deviation between seeds, assumed where one seed shows none
BEYOND_REACH = 100  # times as many images or seeds as there are: no plan to make, the estimate is at the threshold


@dataclass(frozen=True)
class Needed:
    """What would settle a contrast if its estimate stayed the same.

    Attributes:
        images: their number; None if the present one is enough.
        seeds: per path; None if the present number is enough. Both are None if no number up to a hundred times the
            present one would settle it, or none is needed.
    """

    images: int | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Error:
    """What the standard error of a difference consists of, points.

    Attributes:
        image_error: the part that more images shrink.
        seed_error: the part that more seeds shrink.
        images: their number.
        seeds: of the two paths.
    """

    image_error: float
    seed_error: float
    images: int
    seeds: tuple[int, int]

    def half_width(self, images: int, seeds: int) -> float:
        """What is to be expected of `welch_half_width` with as many images, and seeds per path."""
        image_part = self.image_error**2 * self.images / images
        variance = self.seed_error**2 * max(self.seeds) + SPREAD**2 * self.seeds.count(1)
        total, seed_part = image_part + variance / seeds, variance / seeds
        if total == 0:
            return 0.0
        df = NORMAL if seed_part == 0 else total**2 / (seed_part**2 / (2 * (seeds - 1)))
        return t_quantile(df) * math.sqrt(total)


def needed(error: Error, distance: float) -> Needed:
    """How many images or seeds would bring the bound to a threshold at `distance` (points) from the estimate.

    Enough for even odds, no more: if the estimate is the true difference, a repeat with that many has its bound beyond
    the threshold in about half of all cases, because its own estimate is as often below the true one as above. Four in
    five take about ((1.645 + 0.842) / 1.645)^2 = 2.3 times as many.

    One seed does not decide: where a path has no more, it takes seeds, two per path at the least, and SPREAD is taken
    for the deviation between them. Otherwise the larger part of the error is the one to shrink while the other stays.
    Where one of the two is not enough, both grow by the same factor.
    """
    images, most = error.images, max(error.seeds)
    single = 1 in error.seeds
    if distance <= 0:
        return Needed()
    fewest = max(2, most) if single else most + 1
    if single or error.seed_error > error.image_error:
        seeds = _least(fewest, BEYOND_REACH * most, lambda seeds: error.half_width(images, seeds) <= distance)
        if seeds is not None:
            return Needed(seeds=seeds)
    if not single:
        more = _least(images + 1, BEYOND_REACH * images, lambda more: error.half_width(more, most) <= distance)
        if more is not None:
            return Needed(images=more)

    def grown(more: int) -> int:
        return max(fewest, math.ceil(most * more / images))

    more = _least(images + 1, BEYOND_REACH * images, lambda more: error.half_width(more, grown(more)) <= distance)
    return Needed() if more is None else Needed(more, grown(more))


def _least(low: int, high: int, decides: Callable[[int], bool]) -> int | None:
    """The least number in low..high that `decides`, given that larger ones do, too; None if none does."""
    if high < low or not decides(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle + 1, high)
    return low
