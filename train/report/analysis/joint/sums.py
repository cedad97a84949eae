"""Whether losses add: of fewer weights and fewer patches together, beside the sum of the two alone.

Legend: S runs (seeds) of a cell, n images. `correct_Sn` is bool: whether run s classifies image i correctly. Units are
points of top-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vit_tickets.train.report.analysis.bootstrap import bootstrap_means, lower_bound, rounded, upper_bound
from vit_tickets.train.report.analysis.bounds.known import unbounded
from vit_tickets.train.report.analysis.bounds.welch import CONFIDENCE, TWO_SIDED, half_width

MARGIN = 0.5  # as of the verdict: what differs by less is as good
SIGNS = (1, -1, -1, 1)  # of both, weights, patches, dense
LABELS = {
    "add": "the losses add",
    "less": "less is lost than the sum",
    "more": "more is lost than the sum",
    "open": "open",
    "none": "",
}


@dataclass(frozen=True)
class Interaction:
    """(both - dense) - [(weights - dense) + (patches - dense)]: 0 where losses add, above 0 where together they are
    smaller than their sum.

    Attributes:
        estimate: the difference.
        lower: one-sided 95% lower bound.
        upper: one-sided 95% upper bound.
        low: lower end of the two-sided 95% interval.
        high: its upper end.
        images: their number.
        seeds: different ones of both, weights, patches and dense.
    """

    estimate: float
    lower: float
    upper: float
    low: float
    high: float
    images: int
    seeds: tuple[int, ...]

    @property
    def unbounded(self) -> str | None:
        """Why its bounds are not shown; None if they are."""
        return unbounded(self.images, self.seeds)

    @property
    def label(self) -> str:
        """One of `LABELS`: `add` where both one-sided bounds are within the margin (two tests at 5%), else by the
        two-sided interval; `none` of one seed or few images, which tell nothing."""
        if self.unbounded:
            return "none"
        if self.lower > -MARGIN and self.upper < MARGIN:
            return "add"
        return "less" if self.low > 0 else "more" if self.high < 0 else "open"


def interaction(
    both_Sn: np.ndarray,
    weights_Sn: np.ndarray,
    patches_Sn: np.ndarray,
    dense_Sn: np.ndarray,
    seeds: Sequence[int] | None = None,
) -> Interaction:
    """Compare four cells on the same images in the same order; bool arrays (S, n), S may differ.

    The bounds are those of `bootstrap.contrast`, of four cells in place of two: resampled over images, the same for
    all, and over each cell's seeds; with two seeds and more of all, widened by Student's t.

    seeds: different ones of each, where runs share one; by default S.
    """
    cells: dict[str, np.ndarray] = {"both": both_Sn, "weights": weights_Sn, "patches": patches_Sn, "dense": dense_Sn}
    counts = tuple(seeds) if seeds is not None else tuple(map(len, cells.values()))
    resampled = bootstrap_means(cells)
    difference = np.sum([sign * resampled[name] for sign, name in zip(SIGNS, cells, strict=True)], axis=0)
    estimate = rounded(sum(s * 100 * of.mean(axis=1).mean() for s, of in zip(SIGNS, cells.values(), strict=True)))
    lower, upper = lower_bound(difference), upper_bound(difference)
    low, high = (rounded(each) for each in np.quantile(difference, [1 - TWO_SIDED, TWO_SIDED]))
    if 1 not in counts:
        terms = tuple(zip(SIGNS, cells.values(), strict=True))
        one, two = (half_width(terms, quantile) for quantile in (CONFIDENCE, TWO_SIDED))
        lower, upper = min(lower, rounded(estimate - one)), max(upper, rounded(estimate + one))
        low, high = min(low, rounded(estimate - two)), max(high, rounded(estimate + two))
    return Interaction(estimate, lower, upper, low, high, dense_Sn.shape[1], counts)
