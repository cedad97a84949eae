"""What changing masks while training is worth: `svite` and `s2vite` minus the other rows of their level."""

from dataclasses import dataclass

from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.contrasts import deciding
from vit_tickets.train.report.analysis.verdict import BARELY, IN_THESE_RUNS, null_hypothesis
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, WeightGroup
from vit_tickets.train.report.analysis.weights.rows import meaning_of

# Rows whose masks grow, each with the rows that it is to beat and what holds if it does not.
MORALS = {
    "svite": {
        "static": "masks need not change: random ones that stay are as good",
        "omp": "pruning a trained network once is as good",
        "tp": "pruning a trained network once is as good",
        "gmp": "pruning while training is as good",
    },
    "s2vite": {"ssp": "heads and neurons can be chosen once, of a trained network"},
}


@dataclass(frozen=True)
class Growth:
    """A row whose masks grow, minus a simpler one of its level.

    Attributes:
        row: `svite` or `s2vite`.
        level: label of the level.
        other: the simpler row.
        label: as of `verdict.null_hypothesis`.
        sentence: why.
        contrast: the difference.
        moral: what holds if the row does no better.
    """

    row: str
    level: str
    other: str
    label: str
    sentence: str
    contrast: Contrast
    moral: str


def growth_of(group: WeightGroup) -> list[Growth]:
    """All such differences, level by level."""
    return [
        _growth(group, row, label, other)
        for label in group.levels
        for row, others in MORALS.items()
        for other in others
        if (row, label) in group.matrix and (other, label) in group.matrix
    ]


def _growth(group: WeightGroup, row: str, label: str, other: str) -> Growth:
    cells = (row, label), (other, label)
    compared, moral = group.contrast(*cells), MORALS[row][other]
    weak = deciding.undertrained(group, ALL_WEIGHTS, BARELY) if ALL_WEIGHTS in group.matrix else None
    undertrained = weak or deciding.undertrained(group, cells[1])
    found, sentence = null_hypothesis(compared, meaning_of(other), moral, undertrained, row)
    if found in IN_THESE_RUNS:
        seeds = {name: group.seeds((name, at)) for name, at in cells}
        further = notices.further_seeds(group.runs, seeds, max(2, *map(len, seeds.values())))
        sentence += f"; one seed settles nothing: {further}"
    elif first := deciding.first(group, (ALL_WEIGHTS if weak else cells[1]) if undertrained else None, cells):
        sentence += f"; what would decide: {first}"
    return Growth(row, label, other, found, sentence, compared, moral)
