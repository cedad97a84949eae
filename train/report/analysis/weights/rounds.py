"""What the tickets of every round reached in training, those in between included, which nothing was compared with."""

from dataclasses import dataclass

from vit_tickets.train.report.analysis.weights.groups import WeightGroup, cell_of
from vit_tickets.train.report.analysis.weights.rows import is_ticket, level_of, place


@dataclass(frozen=True)
class Reached:
    """What runs of a row reached in training.

    Attributes:
        row: `dense`, or a ticket's.
        level: label of the level; empty for all weights.
        top1: on val after the last epoch, in percent, the mean over runs; chosen by nothing and compared with nothing.
        runs: their number.
        is_compared: whether the report compares them, by their predictions.
    """

    row: str
    level: str
    top1: float
    runs: int
    is_compared: bool


def reached(group: WeightGroup) -> list[Reached]:
    """All weights first, then tickets by level and row; nothing where there are no rounds in between."""
    found: dict[tuple, list[float]] = {}
    compared = {cell_of(run) for run in group.runs}
    for run in (*group.runs, *group.between) if group.between else ():
        top1, weights = (run.epochs_log or [{}])[-1].get("val_top1"), run.config.weights
        if top1 is None or not run.finished or (weights is not None and not is_ticket(weights.row)):
            continue
        key = (
            (0.0, (), *cell_of(run))
            if weights is None
            else (level_of(weights, run.masks).percent, place(weights.row), *cell_of(run))
        )
        found.setdefault(key, []).append(top1)
    return [
        Reached(row, level, sum(values) / len(values), len(values), (row, level) in compared)
        for (_, _, row, level), values in sorted(found.items())
    ]
