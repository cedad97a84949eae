"""Bounds in words: what stands in brackets, and why nothing does."""

from collections.abc import Iterable

from vit_tickets.train.report.analysis.bootstrap import Accuracy, Contrast
from vit_tickets.train.report.analysis.bounds.known import FEW
from vit_tickets.train.report.analysis.joint.sums import Interaction
from vit_tickets.train.report.analysis.notices import listed

Bounded = Accuracy | Contrast | Interaction

INTERVAL, BAND, BOUNDS = "two-sided 95% interval", "95% band", "one-sided 95% bounds"
BAR = "95% interval"  # on an axis


def named(results: Iterable[Bounded], name: str = INTERVAL) -> str:
    """What the brackets, bars or bands of `results` are: `name`, of how many there are none and why, or why of all.

    `two-sided 95% interval`, `two-sided 95% interval, none of one seed`, `no interval: one seed`.
    """
    reasons = dict.fromkeys(result.unbounded for result in results)
    why = listed([reason for reason in reasons if reason])
    if not why:
        return name
    return f"{name}, none of {why}" if None in reasons else f"no {name.split()[-1]}: {why}"


def brackets(result: Bounded, low: float, high: float) -> str:
    """` [low, high]`, with signs for a difference; empty where the result has no bounds to show."""
    if result.unbounded:
        return ""
    sign = "" if isinstance(result, Accuracy) else "+"
    return f" [{low:{sign}.2f}, {high:{sign}.2f}]"


def untold(results: Iterable[Accuracy]) -> str:
    """`; of one seed no error is known`: what the front of `results` and its marks do not tell; may be empty."""
    reasons = dict.fromkeys(result.unbounded for result in results if result.unbounded)
    if not reasons:
        return ""
    if FEW in reasons:
        return f"; of {FEW} neither tells anything"
    return f"; of {listed(list(reasons))} no error is known"
