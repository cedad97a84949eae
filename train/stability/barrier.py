"""The barrier between two networks: how far the error rises on the straight line from one to the other.

Legend: P points of the line, n images.
"""

import math
from dataclasses import dataclass

import numpy as np

from vit_tickets.train.report.analysis.bootstrap import bootstrap_means, lower_bound, upper_bound
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES

MARGIN = 2.0  # points of error, below which Frankle et al. (2020, section 3) call a network stable


@dataclass(frozen=True)
class Barrier:
    """Errors in percent, differences in points.

    Attributes:
        errors: at each point of the line, from the first network to the second.
        height: the largest of them less the mean of both ends (Frankle et al. 2020, section 2).
        low: its one-sided 95% lower bound, over images.
        high: its one-sided 95% upper bound.
        images: n.
        at_chance: whether an end knows no more than one that draws its answers.
    """

    errors: tuple[float, ...]
    height: float
    low: float
    high: float
    images: int
    at_chance: bool = False

    @classmethod
    def of(cls, correct_Pn: np.ndarray, classes: int | None = None) -> "Barrier":
        """Of whether each image is classified right at each point, bool (P, n), P >= 2.

        The bounds resample images, for all points alike, and take the largest error of each resample.

        classes: C. An end within three standard errors of 1 / C is `at_chance`; None for networks that are known to
        have learned.
        """
        images, chance = correct_Pn.shape[1], -math.inf
        if classes is not None:
            share = 1 / classes
            chance = 100 * (share + 3 * math.sqrt(share * (1 - share) / images))
        accuracies = 100 * correct_Pn.mean(axis=1)
        means = bootstrap_means({str(point): row[np.newaxis] for point, row in enumerate(correct_Pn)})
        heights_B = _height(np.stack([means[str(point)] for point in range(len(correct_Pn))]))
        return cls(
            tuple(float(100 - value) for value in accuracies),
            float(_height(accuracies[:, np.newaxis])[0]),
            lower_bound(heights_B),
            upper_bound(heights_B),
            images,
            bool(min(accuracies[0], accuracies[-1]) <= chance),
        )

    @property
    def verdict(self) -> str:
        """`stable` if the upper bound is below `MARGIN`, `not stable` if the lower bound is not, else `not decided`: of
        few images, too, and of ends that have learned nothing, between which nothing can be lost."""
        if self.images < MIN_IMAGES or self.at_chance:
            return "not decided"
        if self.high < MARGIN:
            return "stable"
        return "not stable" if self.low >= MARGIN else "not decided"


def _height(accuracies_PB: np.ndarray) -> np.ndarray:
    return (accuracies_PB[0] + accuracies_PB[-1]) / 2 - accuracies_PB.min(axis=0)
