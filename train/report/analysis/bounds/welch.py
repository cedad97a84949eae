"""Bounds for the difference of two means of few runs: Student's t with Welch and Satterthwaite's degrees of freedom.

Legend: S runs (seeds) of a path, n images. `correct_Sn` is bool: whether run s classifies image i correctly.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

CONFIDENCE = 0.95
NORMAL = 1000.0  # degrees of freedom from which Student's t is taken for normal: its quantile is 0.1% larger
Z = 1.6448536269514722  # 95% quantile of the standard normal distribution
_ANGLES = np.linspace(0, math.pi / 2, 4_001)
TWO_SIDED = (1 + CONFIDENCE) / 2  # the upper end of a two-sided 95% interval is this quantile


def t_quantile(df: float, quantile: float = CONFIDENCE) -> float:
    """A quantile, by default 95%, of Student's t with `df` degrees of freedom, which need not be whole; df >= 1.

    With t = sqrt(df) tan(a), the density of the angle a is proportional to cos(a)^(df - 1), which is summed here.
    Correct to three digits.
    """
    if df >= NORMAL:
        return Z if quantile == CONFIDENCE else NormalDist().inv_cdf(quantile)
    density = np.cos(_ANGLES) ** (df - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(df) * math.tan(np.interp((2 * quantile - 1) * area[-1], area, _ANGLES))


def welch_half_width(first_Sn: np.ndarray, second_Sn: np.ndarray, quantile: float = CONFIDENCE) -> float:
    """From the difference of two paths' mean accuracies to its one-sided 95% bounds, points; at least two runs each.

    With TWO_SIDED as `quantile`, to the ends of its two-sided 95% interval.

    The variance is the sum of three parts: s^2 / S of the runs' accuracies for either path (Welch 1947, Biometrika 34)
    and s^2 / n of the images' differences, for other images. The degrees of freedom of the sum are Satterthwaite's
    (1946, Biometrics Bulletin 2), with S - 1 and n - 1 of the parts. What a run does by chance on an image is in both
    kinds of part, so that the bounds err on the wide side where runs differ by little else.
    """
    return half_width(((1, first_Sn), (-1, second_Sn)), quantile)


def half_width(terms: Sequence[tuple[int, np.ndarray]], quantile: float = CONFIDENCE) -> float:
    """The same of a sum of paths' mean accuracies, each with its sign, 1 or -1."""
    seeds = [((100 * of.mean(axis=1)).var(ddof=1) / len(of), len(of) - 1) for _, of in terms]
    difference_n = 100 * np.sum([sign * of.mean(axis=0) for sign, of in terms], axis=0)
    n = len(difference_n)
    images = [(difference_n.var(ddof=1) / n, n - 1)] if n > 1 else []
    parts = [(float(variance), df) for variance, df in (*seeds, *images) if variance > 0]
    total = sum(variance for variance, _ in parts)
    if not parts:
        return 0.0
    return t_quantile(total**2 / sum(variance**2 / df for variance, df in parts), quantile) * math.sqrt(total)
