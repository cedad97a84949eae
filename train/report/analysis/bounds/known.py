"""Where there are bounds: one rule for sentences, tables and charts."""

import math
from collections.abc import Iterable

MIN_IMAGES = 30  # below this, quantiles of resampled means are no bounds: one image would decide with certainty
ONE_SEED, FEW = "one seed", f"fewer than {MIN_IMAGES} images"
MOST_HELD_OUT = 0.5  # of the images, as val: more would leave less to train on than to test on


def share_for_bounds(images: int, share: float | None) -> float | None:
    """The share of all images to hold out as val for `MIN_IMAGES` of them, in steps of 0.05.

    Args:
        images: that were tested; at least one.
        share: that they are of all; None where they were not held out.

    Returns:
        The share, or None where none up to `MOST_HELD_OUT` is enough, or `images` were not held out.
    """
    if not share:
        return None
    wanted = math.ceil(round(20 * share * MIN_IMAGES / images, 6)) / 20
    return wanted if share < wanted <= MOST_HELD_OUT else None


def unbounded(images: int, seeds: Iterable[int]) -> str | None:
    """Why no bounds are shown of a result, `FEW` or `ONE_SEED`; None if they are.

    Of one seed, resampled bounds are of other images alone and know nothing of other seeds; they would be taken for
    what they are not.

    Args:
        images: that were tested.
        seeds: of each row that the result is of.
    """
    if images < MIN_IMAGES:
        return FEW
    return ONE_SEED if any(count < 2 for count in seeds) else None
