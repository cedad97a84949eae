"""What `compare` prints of weight tickets: how far their masks overlap, in each layer, and by chance.

Chance is a mask that keeps as many weights of each layer, drawn at random.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_uppercase
from typing import Any

import numpy as np

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.ticket import WeightTicket

Masks = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shared:
    """Weights that two masks keep, of one layer or of several together."""

    #: weights alive in the first, in the second, and in both
    first: int
    second: int
    both: int
    #: expected number in both by chance, and its variance
    expected: float
    variance: float

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "Shared":
        """Of two masks of one layer, bool of equal shape.

        The overlap of random masks with as many alive is hypergeometric.
        """
        n, a, b = first.size, int(np.count_nonzero(first)), int(np.count_nonzero(second))
        variance = a * b * (n - a) * (n - b) / (n * n * (n - 1)) if n > 1 else 0.0
        return cls(a, b, int(np.count_nonzero(first & second)), a * b / n, variance)

    @classmethod
    def together(cls, layers: Sequence["Shared"]) -> "Shared":
        """The sum over layers, which chance draws one by one."""
        return cls(
            sum(each.first for each in layers),
            sum(each.second for each in layers),
            sum(each.both for each in layers),
            math.fsum(each.expected for each in layers),
            math.fsum(each.variance for each in layers),
        )

    @property
    def iou(self) -> float:
        """Weights in both by weights in either; NaN where there are none."""
        return _ratio(self.both, self.first + self.second - self.both)

    @property
    def chance(self) -> float:
        """IoU at the expected overlap of random masks: (1 - s) / (1 + s) where both drop the share s."""
        return _ratio(self.expected, self.first + self.second - self.expected)

    @property
    def deviations(self) -> float:
        """Standard deviations by which the overlap is above chance; NaN where chance leaves no choice."""
        return _ratio(self.both - self.expected, math.sqrt(self.variance))

    def record(self) -> dict[str, Any]:
        """All numbers for JSON; null for those that are undefined."""
        shares = {"iou": self.iou, "chance_iou": self.chance, "deviations_above_chance": self.deviations}
        found = {name: None if math.isnan(value) else value for name, value in shares.items()}
        return {"alive": [self.first, self.second], "in_both": self.both} | found


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


@dataclass(frozen=True)
class Pair:
    """Two tickets, by their places in the command line, and the layers that both mask."""

    first: int
    second: int
    layers: dict[str, Shared]
    #: layers that one of them alone masks
    others: tuple[str, ...]

    @property
    def name(self) -> str:
        return ascii_uppercase[self.first] + ascii_uppercase[self.second]

    @property
    def total(self) -> Shared:
        return Shared.together(list(self.layers.values()))


def overlaps(tickets: Sequence[WeightTicket]) -> list[Pair]:
    """Every pair of tickets; raises UserError where two share no layer, or one has another shape in them."""
    masks = [ticket.masks() for ticket in tickets]
    return [_pair(tickets, masks, a, b) for a, b in combinations(range(len(tickets)), 2)]


def _pair(tickets: Sequence[WeightTicket], masks: Sequence[Masks], a: int, b: int) -> Pair:
    shared = [name for name in masks[a] if name in masks[b]]
    if not shared:
        found = f"{next(iter(masks[b]))} in {tickets[b].root}"
        raise UserError(
            f"expected tickets that mask the same layers, found {next(iter(masks[a]))} in {tickets[a].root}, {found}"
        )
    for name in shared:
        if masks[a][name].shape != masks[b][name].shape:
            shapes = f"{masks[a][name].shape} in {tickets[a].root}, {masks[b][name].shape} in {tickets[b].root}"
            raise UserError(f"{name}: expected tickets of one network, found shape {shapes}")
    others = tuple(name for name in dict.fromkeys((*masks[a], *masks[b])) if name not in shared)
    return Pair(a, b, {name: Shared.of(masks[a][name], masks[b][name]) for name in shared}, others)


def record_of(tickets: Sequence[WeightTicket], pairs: Sequence[Pair]) -> dict[str, Any]:
    """All numbers, ready for JSON: `weight_tickets` by letter, and `pairs`, in all and by layer."""
    return {
        "weight_tickets": {
            letter: {"root": ticket.root} | ticket.record()
            for letter, ticket in zip(ascii_uppercase, tickets, strict=False)
        },
        "pairs": {
            pair.name: pair.total.record()
            | {"layers": {name: shared.record() for name, shared in pair.layers.items()}}
            | {"not_in_both": list(pair.others)}
            for pair in pairs
        },
    }


def describe(tickets: Sequence[WeightTicket], pairs: Sequence[Pair]) -> Iterator[str]:
    """The overlaps as lines of text."""
    for letter, ticket in zip(ascii_uppercase, tickets, strict=False):
        rule = " ".join(filter(None, (ticket.criterion, ticket.allocation)))
        dropped = f"{ticket.sparsity:.2%} of {ticket.scope} dropped"
        yield f"{letter}  {ticket.root}: {ticket.model}, {rule}, {dropped}, masks {str(ticket.masks_sha256)[:12]}"
    for pair in pairs:
        yield from _lines(pair)


def _lines(pair: Pair) -> Iterator[str]:
    total, a, b = pair.total, *pair.name
    nested = _nested(total, a, b)
    chance = "" if nested else f", by chance {total.chance:.3f}"
    if chance and not math.isnan(total.deviations):
        chance += f" ({total.deviations:+.1f} standard deviations)"
    yield f"{a}, {b}: overlap (IoU) {total.iou:.3f}{chance}{nested}"
    for other in pair.others[:1]:
        more = f" and {len(pair.others) - 1} more" if pair.others[1:] else ""
        yield f"  only one of them masks {other}{more}: left out"
    width = max(len(name) for name in pair.layers)
    heading = "" if nested else "  chance"
    yield f"  {'layer':{width}}    IoU{heading}  {a + ' alive':>10}  {b + ' alive':>10}  {'in both':>10}"
    for name, each in pair.layers.items():
        counts = f"{each.first:10,}  {each.second:10,}  {each.both:10,}"
        by_chance = "" if nested else f"   {each.chance:5.3f}"
        yield f"  {name:{width}}  {each.iou:5.3f}{by_chance}  {counts}"


def _nested(total: Shared, a: str, b: str) -> str:
    if total.both == total.first == total.second:
        return "; they are equal"
    if total.both in (total.first, total.second):
        within, whole = (a, b) if total.both == total.first else (b, a)
        return f"; {within} is nested in {whole}"
    return ""
