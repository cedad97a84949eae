"""How many weights each parameter keeps, as exact integers. A sparsity counts as the decimal number that is typed.

Erdős-Rényi-Kernel (`erk`): Evci et al. 2020, RigL, section 3; of a matrix it is Erdős-Rényi (Mocanu et al. 2018).
"""

import math
from collections.abc import Mapping
from fractions import Fraction

from vit_tickets.pipeline.system.errors import UserError

GLOBAL, UNIFORM, ERK, LIKE = KINDS = ("global", "uniform", "erk", "like")
Shapes = Mapping[str, tuple[int, ...]]


def alive_total(size: int, sparsity: float) -> int:
    """round((1 - sparsity) * size), of exact numbers: how many of `size` weights are kept.

    Raises UserError unless 0 <= sparsity < 1.
    """
    return round((1 - _exact(sparsity)) * size)


def left_after(alive: int, share: float) -> int:
    """What a round of pruning leaves of `alive` weights: it drops ceil(share * alive), of exact numbers."""
    return alive - math.ceil(_exact(share) * alive)


def alive_counts(
    kind: str, shapes: Shapes, sparsity: float | None, like: Mapping[str, int] | None = None
) -> dict[str, int]:
    """How many weights each parameter keeps, in the order of `shapes`; they sum to `alive_total`.

    A parameter gets the floor of its share, and what is left goes to those with the largest fractions, the earlier one
    among equals.

    Args:
        kind: `uniform`: all have one density. `erk`: the density of a parameter is proportional to sum(shape) /
            prod(shape); one that would exceed 1 is dense, and the others share the rest. `like`: those of `like`.
            `global`: one threshold over all scores decides, by `ranking.keep_largest_of_all`; the counts here are what
            random scores give on average, so those of `uniform`.
        shapes: shapes of all masked parameters by name.
        sparsity: dropped share of their weights, in [0, 1). None with `like`, whose counts have one.
        like: counts by name.

    Raises:
        UserError: for another kind or sparsity, if `like` is of other parameters, or if a parameter would keep none.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if kind not in KINDS:
        raise UserError(f"expected an allocation among {', '.join(KINDS)}, found {kind!r}")
    if kind == LIKE:
        counts = _like(sizes, like or {}, sparsity)
    else:
        if sparsity is None:
            raise UserError(f"expected a sparsity for allocation {kind}, found none")
        alive = (1 - _exact(sparsity)) * sum(sizes.values())
        shares = _erk(shapes, sizes, alive) if kind == ERK else _proportional(sizes, alive)
        counts = _whole(shares, sizes, round(alive))
    check_alive(counts)
    return counts


def check_alive(counts: Mapping[str, int]) -> None:
    """Raise UserError if a parameter keeps no weight."""
    empty = [name for name, count in counts.items() if not count]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise UserError(f"expected weights left in every layer, found none in {empty[0]}{more}: a layer collapses")


def _exact(share: float) -> Fraction:
    if not 0 <= share < 1:
        raise UserError(f"expected a share of weights in [0, 1), found {share}")
    return Fraction(str(float(share)))


def _proportional(sizes: Mapping[str, int], alive: Fraction) -> dict[str, Fraction]:
    total = sum(sizes.values())
    return {name: alive * size / total for name, size in sizes.items()}


def _erk(shapes: Shapes, sizes: Mapping[str, int], alive: Fraction) -> dict[str, Fraction]:
    shares: dict[str, Fraction] = {}
    while True:
        rest = alive - sum(shares.values())
        total = sum(sum(shape) for name, shape in shapes.items() if name not in shares)
        sparse = {name: rest * sum(shape) / total for name, shape in shapes.items() if name not in shares}
        dense = {name: Fraction(sizes[name]) for name, share in sparse.items() if share > sizes[name]}
        if not dense:
            return {name: (shares | sparse)[name] for name in shapes}
        shares |= dense


def _whole(shares: Mapping[str, Fraction], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Integers that sum to `total`, each within 1 of its share."""
    counts = {name: math.floor(share) for name, share in shares.items()}
    room = [name for name in shares if counts[name] < sizes[name]]
    growing = sorted(room, key=lambda name: counts[name] - shares[name])
    for name in growing[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _like(sizes: Mapping[str, int], like: Mapping[str, int], sparsity: float | None) -> dict[str, int]:
    if unlike := sizes.keys() ^ like.keys():
        name = min(unlike)
        raise UserError(f"allocation like: expected counts of the same parameters, found {name} in one of them alone")
    if large := next((name for name in sizes if not 0 <= like[name] <= sizes[name]), None):
        raise UserError(f"allocation like: expected 0 to {sizes[large]} weights in {large}, found {like[large]}")
    total, size = sum(like.values()), sum(sizes.values())
    if sparsity is not None and total != alive_total(size, sparsity):
        found = f"{total:,} of {size:,}"
        raise UserError(f"allocation like: expected {alive_total(size, sparsity):,} weights to stay, found {found}")
    return {name: like[name] for name in sizes}
