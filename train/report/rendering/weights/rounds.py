"""Accuracy round by round, as training measured it."""

from vit_tickets.train.report.analysis.weights.groups import WeightGroup
from vit_tickets.train.report.analysis.weights.rounds import reached
from vit_tickets.train.report.rendering.words.columns import Rows

HEADING = "Every round"
CAPTION = "top-1 % on val after the last epoch of training, mean over runs; as training measured it, not judged"


def round_rows(group: WeightGroup) -> Rows:
    """A line for dense and for the ticket of every round, with a header; nothing without rounds in between."""
    rows = [
        [of.level or "-", of.row, f"{of.top1:.2f}", str(of.runs), "yes" if of.is_compared else "no"]
        for of in reached(group)
    ]
    return [["dropped", "row", "val top-1", "runs", "compared"], *rows] if rows else []
