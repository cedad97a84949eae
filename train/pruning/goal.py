"""How many weights a pruned network keeps, as exact integers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.pruning.pattern import Pattern
from vit_tickets.train.pruning.request import ALIVE, NETWORK, PruneOptions
from vit_tickets.train.sparsity import allocation

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Goal:
    """How many weights stay."""

    #: In all.
    total: int
    #: By name; None where one threshold over all layers decides.
    counts: dict[str, int] | None = None


def goal_of(
    asked: PruneOptions,
    shapes: Mapping[str, tuple[int, ...]],
    parameters: int,
    alive: Counts | None,
    like: Counts | None = None,
) -> Goal:
    """How many weights of each parameter `asked` leaves.

    Args:
        asked: the options.
        shapes: of the masked parameters, by name.
        parameters: number of all parameters of the network.
        alive: how many weights are alive now; None for all.
        like: the counts of the ticket that `asked` names.

    Raises:
        UserError: more weights would stay than are alive, or a layer would keep none.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    alive = sizes if alive is None else alive
    if asked.pattern is not None:
        counts = Pattern.parse(asked.pattern).counts(shapes)
        if alive != sizes:
            raise UserError(f"--pattern {asked.pattern}: expected a run whose weights are all alive, found masks")
        return Goal(sum(counts.values()), counts)
    if like is not None:
        counts = allocation.alive_counts(allocation.LIKE, shapes, None, like)
        _check_nested(counts, alive)
        return Goal(sum(counts.values()), counts)
    total = _total(asked, sum(sizes.values()), parameters, sum(alive.values()))
    if not total:
        allocation.check_alive(dict.fromkeys(sizes, 0))
    if asked.allocation == allocation.GLOBAL:
        return Goal(total)
    counts = allocation.alive_counts(asked.allocation, shapes, 1 - total / sum(sizes.values()))
    _check_nested(counts, alive)
    return Goal(total, counts)


def _total(asked: PruneOptions, size: int, parameters: int, alive: int) -> int:
    """Weights that stay of a scope of `size`."""
    share = asked.weight_sparsity or 0.0
    if asked.of == ALIVE:
        return allocation.left_after(alive, share)
    if asked.of == NETWORK:
        dropped = round(Fraction(str(share)) * parameters)
        if dropped >= size:
            most = f"{size / parameters:.1%} of all parameters that the scope has"
            raise UserError(f"--weight-sparsity {share:g}: expected less than the {most}; --prune-scope all has more")
        total = size - dropped
    else:
        total = allocation.alive_total(size, share)
    if alive < size and total >= alive:
        of = parameters if asked.of == NETWORK else size
        then = (size - allocation.left_after(alive, share)) / of
        raise UserError(
            f"--weight-sparsity {share:g}: expected more than the {(size - alive) / of:.4g} of the {asked.of} that the "
            f"run's own masks drop already, found {'as much' if total == alive else 'less'}; --of {ALIVE} drops "
            f"{share:g} of what is left, {then:.4g} in all"
        )
    return total


def _check_nested(counts: Counts, alive: Counts) -> None:
    if over := next((name for name, count in counts.items() if count > alive[name]), None):
        raise UserError(
            f"{over}: expected at most the {alive[over]:,} weights to stay that are alive in the run, found "
            f"{counts[over]:,}; --allocation {allocation.GLOBAL} keeps to what is alive"
        )
