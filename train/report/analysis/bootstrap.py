"""Accuracies and their differences, with bounds that resample seeds and images together.

Legend: S runs (seeds) of a path, n images, R = runs of all paths. `correct_Sn` is bool: whether run s classifies image
i correctly. Accuracies are in percent, differences in percentage points.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vit_tickets.train.report.analysis.bounds.known import unbounded
from vit_tickets.train.report.analysis.bounds.welch import CONFIDENCE, TWO_SIDED, welch_half_width

RESAMPLES = 10_000
_COUNTS_AT_ONCE = 2_000_000  # 8 bytes each
_MANY_PATTERNS, _MANY_IMAGES = 128, 1_000


def bootstrap_means(
    correct: Mapping[str, np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Resampled mean accuracy of each path, float64 (resamples,), in percent.

    correct: per path a bool array (S, n); n and the images' order are the same for all, S may differ. One resample
    draws n images with replacement, the same for all paths, and, for each path by itself, S - 1 of its S runs with
    replacement (the one run where S = 1). S - 1 rather than S, because the mean of S draws would have the variance
    (S - 1)/S^2 * s^2 instead of s^2/S, half of it for two seeds (Rao and Wu 1988, JASA 83, section 2). With several
    seeds the bounds err on the wide side: what a run does by chance on an image counts up to three times (Owen 2007,
    Annals of Applied Statistics 1, on resampling rows and columns).

    Exact in distribution, yet no image is drawn: images on which all R runs agree in the same way are interchangeable,
    so the number drawn of each such pattern is multinomial. Of many patterns, as of ten runs, that takes seconds: from
    1,000 images on the means are then drawn from the normal distribution with their covariance over images, which they
    tend to; quantiles differ by less than resampling itself makes them differ. Raises ValueError without images.
    """
    rows_Rn = np.concatenate(list(correct.values()))
    n = rows_Rn.shape[1]
    if n == 0:
        raise ValueError("expected at least one image, found none")
    _, first, counts = np.unique(np.packbits(rows_Rn, axis=0), axis=1, return_index=True, return_counts=True)
    patterns_PR = rows_Rn[:, first].T.astype(np.float64)
    rng = np.random.default_rng(seed)
    if len(counts) > _MANY_PATTERNS and n >= _MANY_IMAGES:
        covariance_RR = np.cov(patterns_PR.T, fweights=counts, ddof=0) * (100**2 / n)
        means_BR = rng.multivariate_normal(100 * counts @ patterns_PR / n, covariance_RR, size=resamples)
    else:
        means_BR = np.empty((resamples, len(rows_Rn)))
        step = max(1, _COUNTS_AT_ONCE // len(counts))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            means_BR[start : start + size] = rng.multinomial(n, counts / n, size=size) @ patterns_PR * (100 / n)
    means, offset = {}, 0
    for path, correct_Sn in correct.items():
        num_seeds = len(correct_Sn)
        of_path_BS = means_BR[:, offset : offset + num_seeds]
        offset += num_seeds
        draws = max(1, num_seeds - 1)
        weights_BS = rng.multinomial(draws, np.full(num_seeds, 1 / num_seeds), size=resamples) / draws
        means[path] = (of_path_BS * weights_BS).sum(axis=1)
    return means


def lower_bound(resampled: np.ndarray) -> float:
    """One-sided 95% lower bound: the 5% quantile of the resampled values."""
    return rounded(np.quantile(resampled, 1 - CONFIDENCE))


def upper_bound(resampled: np.ndarray) -> float:
    """One-sided 95% upper bound: the 95% quantile of the resampled values."""
    return rounded(np.quantile(resampled, CONFIDENCE))


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one cell of the matrix, percent.

    Attributes:
        mean: over seeds.
        sd: between seeds, with S - 1 in the denominator; None for one seed.
        seeds: S.
        per_seed: accuracy of each run.
        low: lower end of the two-sided 95% interval over seeds and images.
        high: its upper end.
        images: their number.
        different_seeds: fewer than S where runs differ in their mask seed alone.
    """

    mean: float
    sd: float | None
    seeds: int
    per_seed: tuple[float, ...]
    low: float
    high: float
    images: int
    different_seeds: int

    @property
    def unbounded(self) -> str | None:
        """Why its interval is not shown; None if it is."""
        return unbounded(self.images, [self.different_seeds])

    @property
    def ends(self) -> tuple[float, float]:
        """What a chart needs room for: the interval, or the mean where none is shown."""
        return (self.mean, self.mean) if self.unbounded else (self.low, self.high)


def accuracy(correct_Sn: np.ndarray, different_seeds: int | None = None) -> Accuracy:
    """Mean over seeds of the accuracy, with its spread and interval; see `bootstrap_means`.

    different_seeds: of the runs, where some share one; by default S.
    """
    per_seed = 100 * correct_Sn.mean(axis=1)
    low, high = np.quantile(bootstrap_means({"": correct_Sn})[""], [1 - TWO_SIDED, TWO_SIDED])
    return Accuracy(
        mean=rounded(per_seed.mean()),
        sd=rounded(per_seed.std(ddof=1)) if len(per_seed) > 1 else None,
        seeds=len(per_seed),
        per_seed=tuple(rounded(value) for value in per_seed),
        low=rounded(low),
        high=rounded(high),
        images=correct_Sn.shape[1],
        different_seeds=len(per_seed) if different_seeds is None else different_seeds,
    )


@dataclass(frozen=True)
class Contrast:
    """The difference of two accuracies, `minuend` minus `subtrahend`, in points.

    Attributes:
        minuend: name of the first cell.
        subtrahend: name of the second cell.
        estimate: the difference.
        lower: one-sided 95% lower bound.
        upper: one-sided 95% upper bound.
        standard_error: of the estimate, over seeds and images.
        seed_error: the part of it that comes from the spread between seeds; 0 if each path has one seed.
        images: their number.
        seeds: of the minuend and of the subtrahend, different ones.
        low: lower end of the two-sided 95% interval.
        high: its upper end.
    """

    minuend: str
    subtrahend: str
    estimate: float
    lower: float
    upper: float
    standard_error: float
    seed_error: float
    images: int
    seeds: tuple[int, int]
    low: float
    high: float

    @property
    def unbounded(self) -> str | None:
        """Why its bounds are not shown; None if they are."""
        return unbounded(self.images, self.seeds)

    @property
    def image_error(self) -> float:
        """The part of the standard error that more images would shrink."""
        return max(0.0, self.standard_error**2 - self.seed_error**2) ** 0.5


def contrast(
    minuend: str,
    minuend_Sn: np.ndarray,
    subtrahend: str,
    subtrahend_Sn: np.ndarray,
    seeds: tuple[int, int] | None = None,
) -> Contrast:
    """Compare two paths on the same images in the same order; bool arrays (S, n), S may differ.

    With two seeds and more of both, the bounds are `widened`. With one seed of a path they are of other images alone
    and know nothing of its other seeds.

    seeds: of the minuend and of the subtrahend, where runs share one; by default S.
    """
    seeds = seeds or (len(minuend_Sn), len(subtrahend_Sn))
    found = resampled_contrast(minuend, minuend_Sn, subtrahend, subtrahend_Sn, seeds)
    return found if 1 in seeds else widened(found, minuend_Sn, subtrahend_Sn)


def resampled_contrast(
    minuend: str,
    minuend_Sn: np.ndarray,
    subtrahend: str,
    subtrahend_Sn: np.ndarray,
    seeds: tuple[int, int],
    resamples: int = RESAMPLES,
) -> Contrast:
    """The same by resampling alone. The seed error is the textbook one, sqrt(s1^2/S1 + s2^2/S2) of the accuracies."""
    resampled = bootstrap_means({"minuend": minuend_Sn, "subtrahend": subtrahend_Sn}, resamples)
    difference = resampled["minuend"] - resampled["subtrahend"]
    accuracies = [100 * correct_Sn.mean(axis=1) for correct_Sn in (minuend_Sn, subtrahend_Sn)]
    seed_variance = sum(values.var(ddof=1) / len(values) for values in accuracies if len(values) > 1)
    low, high = np.quantile(difference, [1 - TWO_SIDED, TWO_SIDED])
    return Contrast(
        minuend,
        subtrahend,
        estimate=rounded(accuracies[0].mean() - accuracies[1].mean()),
        lower=lower_bound(difference),
        upper=upper_bound(difference),
        standard_error=rounded(difference.std()),
        seed_error=rounded(seed_variance**0.5),
        images=minuend_Sn.shape[1],
        seeds=seeds,
        low=rounded(low),
        high=rounded(high),
    )


def widened(found: Contrast, minuend_Sn: np.ndarray, subtrahend_Sn: np.ndarray) -> Contrast:
    """`found` with the wider of its bounds and of `welch_half_width`; at least two runs of each path.

    A few seeds that are alike by chance, resampled, say that all seeds are: resampled bounds alone are beyond the truth
    in up to 14% of cases with two seeds and 8% with five, where seeds differ much more than images do
    (docs/report.md, by tests/bench/verdicts.py).
    """
    one, two = (welch_half_width(minuend_Sn, subtrahend_Sn, quantile) for quantile in (CONFIDENCE, TWO_SIDED))
    return replace(
        found,
        lower=min(found.lower, rounded(found.estimate - one)),
        upper=max(found.upper, rounded(found.estimate + one)),
        low=min(found.low, rounded(found.estimate - two)),
        high=max(found.high, rounded(found.estimate + two)),
    )


def rounded(value: float) -> float:
    """`value` without floating-point rounding errors, so that 0.5 points are 0.5 points; never -0."""
    return round(float(value), 9) + 0.0
