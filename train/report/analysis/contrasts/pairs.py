"""Two runs of one seed on the same images: on how many of them one alone is right."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """Two runs of one seed on the same images. It describes this pair, and no other seeds.

    There is no p-value: McNemar's test of two runs speaks of other images alone, and however small its p, another seed
    may turn the difference round. The differences over seeds carry their bounds.

    Attributes:
        first: name of the first run's cell.
        second: name of the second run's cell.
        seed: of both.
        images: their number.
        only_first: images that only the first run classifies correctly.
        only_second: images that only the second run classifies correctly.
    """

    first: str
    second: str
    seed: int | None
    images: int
    only_first: int
    only_second: int


def paired(first: str, first_n: np.ndarray, second: str, second_n: np.ndarray, seed: int | None) -> Paired:
    """Compare two runs image by image; bool arrays (n,), images in the same order.

    Raises ValueError if their lengths differ.
    """
    if first_n.shape != second_n.shape:
        raise ValueError(f"expected as many images of both runs, found {len(first_n)} and {len(second_n)}")
    only_first, only_second = int((first_n & ~second_n).sum()), int((second_n & ~first_n).sum())
    return Paired(first, second, seed, len(first_n), only_first, only_second)
