"""McNemar's exact test: two runs on the same images, by the images that only one of them classifies correctly."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """Two runs of one seed on the same images. It describes this pair, and no other seeds.

    Attributes:
        first: name of the first run's cell.
        second: name of the second run's cell.
        seed: of both.
        images: their number.
        only_first: images that only the first run classifies correctly.
        only_second: images that only the second run classifies correctly.
        p: see `mcnemar`.
    """

    first: str
    second: str
    seed: int | None
    images: int
    only_first: int
    only_second: int
    p: float


def paired(first: str, first_n: np.ndarray, second: str, second_n: np.ndarray, seed: int | None) -> Paired:
    """Compare two runs image by image; bool arrays (n,), images in the same order.

    Raises ValueError if their lengths differ.
    """
    if first_n.shape != second_n.shape:
        raise ValueError(f"expected as many images of both runs, found {len(first_n)} and {len(second_n)}")
    only_first, only_second = int((first_n & ~second_n).sum()), int((second_n & ~first_n).sum())
    return Paired(first, second, seed, len(first_n), only_first, only_second, mcnemar(only_first, only_second))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p of McNemar's test in its exact form, the sign test of the discordant images; 1 without any.

    If both runs err equally often, an image that one of them gets wrong is the first's with probability 1/2, so that of
    n = only_first + only_second discordant images the number X of the first's is Binomial(n, 1/2), and
    p = min(1, 2 P(X <= min(only_first, only_second))) (McNemar 1947, Psychometrika 12; Dietterich 1998, Neural
    Computation 10, section 3.1). Summed in whole numbers, so correct to the last bit.
    """
    discordant = only_first + only_second
    ways, tail = 1, 0
    for wins in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (discordant - wins) // (wins + 1)
    return min(1.0, 2 * tail / 2**discordant)
