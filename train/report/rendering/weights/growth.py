"""What changing masks while training is worth, in words and a table."""

from vit_tickets.train.report.analysis.contrasts.of_growth import Growth
from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.rendering.words.bounds import BOUNDS, named
from vit_tickets.train.report.rendering.words.columns import Rows
from vit_tickets.train.report.rendering.words.contrasts import bounded_text

HEADING = "What changing masks is worth"
_WORDS = {
    "ahead": "ahead of it in these runs",
    "level": "level with it in these runs",
    "behind": "behind it in these runs",
    "beats": "beats it",
    "ties": "ties it",
    "trails": "trails it",
    "none": "none, one seed",
}


def growth_rows(finding: WeightFinding) -> Rows:
    """Each row whose masks grow against each simpler one, with a header; the header alone if there are none."""
    rows = [["level", "row", "minus", "points", ""]]
    return rows + [[of.level, of.row, of.other, bounded_text(of.contrast), said_of(of)] for of in finding.growth]


def said_of(growth: Growth) -> str:
    """`svite beats it`."""
    said = _WORDS.get(growth.label, growth.label)
    return said if growth.label in ("none", "inconclusive") else f"{growth.row} {said}"


def caption(finding: WeightFinding) -> str:
    shown = named([of.contrast for of in finding.growth], BOUNDS)
    return f"points of the row above (+) or below (-) the simpler one [{shown}]"


def sentences(finding: WeightFinding) -> list[str]:
    """Each in words."""
    return [f"{of.row} minus {of.other}, {of.level}: {of.sentence}" for of in finding.growth]
