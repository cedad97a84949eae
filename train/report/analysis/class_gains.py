"""Which classes gain and which lose: accuracy of one row of the matrix minus another, class by class."""

from dataclasses import dataclass

import numpy as np

from vit_tickets.train.report.analysis.bootstrap import rounded
from vit_tickets.train.report.analysis.bounds.known import unbounded

Z = 1.959963984540054  # 97.5% quantile of the standard normal distribution: a two-sided 95% interval


@dataclass(frozen=True)
class ClassGain:
    """One class.

    Attributes:
        label: of the class.
        images: number of its images.
        first: mean accuracy of the first row's runs, percent.
        second: mean accuracy of the second row's runs, percent.
        gain: first minus second, points.
        margin: half the width of the gain's 95% interval over images, points; None for a single image.
    """

    label: int
    images: int
    first: float
    second: float
    gain: float
    margin: float | None


@dataclass(frozen=True)
class ClassContrast:
    """One row of the matrix minus another, class by class.

    Attributes:
        first: name of the minuend.
        second: name of the subtrahend.
        gains: of every class.
        seeds: different ones of both.
    """

    first: str
    second: str
    gains: list[ClassGain]
    seeds: tuple[int, int]

    def ends(self, gain: ClassGain) -> tuple[float, float] | None:
        """The interval of a class as it is shown; None of one seed, and of a class of few images."""
        if gain.margin is None or unbounded(gain.images, self.seeds):
            return None
        return gain.gain - gain.margin, gain.gain + gain.margin


def class_gains(first_Sn: np.ndarray, second_Sn: np.ndarray, labels_n: np.ndarray) -> list[ClassGain]:
    """Compare two rows class by class, the greatest gain first; ties in the order of the labels.

    first_Sn, second_Sn: bool (S, n), which images each run classifies right, S may differ. labels_n: int (n,). Each
    image counts by the difference of the shares of runs that are right on it; the margin is that of a paired comparison
    of means, 1.96 s / sqrt(n) of the class's n differences. It holds for other images of the same runs, one class at
    a time: of twenty classes, one is expected outside its interval by chance.
    """
    shares = np.stack([first_Sn.mean(axis=0), second_Sn.mean(axis=0)])
    gains = []
    for label in np.unique(labels_n):
        first_n, second_n = shares[:, labels_n == label]
        images = len(first_n)
        first, second = 100 * first_n.mean(), 100 * second_n.mean()
        margin = None
        if images > 1:
            margin = rounded(100 * Z * (first_n - second_n).std(ddof=1) / images**0.5)
        gain = rounded(first - second)
        gains.append(ClassGain(int(label), images, rounded(first), rounded(second), gain, margin))
    return sorted(gains, key=lambda gain: -gain.gain)


def ends(gains: list[ClassGain], count: int) -> list[ClassGain]:
    """The `count` classes that gain most and the `count` that gain least, or all if there are no more."""
    return gains if len(gains) <= 2 * count else [*gains[:count], *gains[-count:]]
