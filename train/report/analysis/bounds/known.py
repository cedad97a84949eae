"""Where there are bounds: one rule for sentences, tables and charts."""

from collections.abc import Iterable

MIN_IMAGES = 30  # below this, quantiles of resampled means are no bounds: one image would decide with certainty
ONE_SEED, FEW = "one seed", f"fewer than {MIN_IMAGES} images"


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
