"""Essential sparsity: how many weights a trained network can lose at once, without training, at no loss that counts.

Legend: S seeds, n images. `masked_Sn` and `dense_Sn` are bool: whether the network of seed s, with and without masks,
classifies image i correctly. Networks are paired: row s of both begins with the weights of one dense run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vit_tickets.train.report.analysis.bootstrap import RESAMPLES, lower_bound, rounded
from vit_tickets.train.report.analysis.bounds.welch import CONFIDENCE, TWO_SIDED, welch_half_width

MARGIN = 1.0  # points of accuracy (Jaiswal et al. 2023: "<= 1%"); LOTUS states no rule


@dataclass(frozen=True)
class Paired:
    """The accuracy of networks minus that of the dense runs that they come from, points.

    Attributes:
        estimate: mean over seeds.
        lower: one-sided 95% lower bound, over images and, of several, seeds.
        low: lower end of the two-sided 95% interval.
        high: its upper end.
    """

    estimate: float
    lower: float
    low: float
    high: float


def paired(masked_Sn: np.ndarray, dense_Sn: np.ndarray, resamples: int = RESAMPLES) -> Paired:
    """The difference with the bounds of reports, but for pairs: a resample takes both networks of a seed, or neither.

    One resample draws n images and S - 1 of the S seeds with replacement (the one seed where S = 1; see
    `bootstrap_means`). With several seeds the wider of these bounds and of Student's t for the pairs counts.

    Raises ValueError where shapes differ, or there are no images.
    """
    if masked_Sn.shape != dense_Sn.shape or not masked_Sn.size:
        raise ValueError(f"expected pairs of networks on the same images, found {masked_Sn.shape}, {dense_Sn.shape}")
    difference_Sn = masked_Sn.astype(np.int8) - dense_Sn.astype(np.int8)
    patterns_SP, counts = np.unique(difference_Sn, axis=1, return_counts=True)
    seeds, n = difference_Sn.shape
    rng = np.random.default_rng(0)
    means_BS = rng.multinomial(n, counts / n, size=resamples) @ patterns_SP.T * (100 / n)
    draws = max(1, seeds - 1)
    weights_BS = rng.multinomial(draws, np.full(seeds, 1 / seeds), size=resamples) / draws
    means = (means_BS * weights_BS).sum(axis=1)
    estimate = 100 * difference_Sn.mean()
    lower, (low, high) = lower_bound(means), np.quantile(means, [1 - TWO_SIDED, TWO_SIDED])
    if seeds > 1:
        none = np.zeros_like(difference_Sn)
        one, two = (welch_half_width(difference_Sn, none, quantile) for quantile in (CONFIDENCE, TWO_SIDED))
        lower, low, high = min(lower, estimate - one), min(low, estimate - two), max(high, estimate + two)
    return Paired(rounded(estimate), rounded(lower), rounded(low), rounded(high))


def essential(levels: Iterable[tuple[float, Paired]], margin: float = MARGIN) -> float | None:
    """The largest sparsity at which, and at all smaller ones, the loss is below `margin` by its lower bound.

    levels: sparsities, in any order, each with its difference from dense. None where the smallest loses more already.
    """
    found = None
    for sparsity, difference in sorted(levels, key=lambda level: level[0]):
        if difference.lower <= -margin:
            break
        found = sparsity
    return found
