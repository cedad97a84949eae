"""The contrasts of use, beside the paper's: every row against all patches, and training on tickets at all."""

from dataclasses import dataclass

from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.bounds.known import MIN_IMAGES
from vit_tickets.train.report.analysis.comparison import Cell, Group
from vit_tickets.train.report.analysis.contrasts import deciding
from vit_tickets.train.report.analysis.verdict import BARELY, single_seeds, standing

DEPLOYED = "as deployed"  # on whole images, minus dense on whole images
OWN_INPUT = "own input"  # on what the row was trained on, minus dense on whole images
TRAINED = "trained on tickets"  # tested on tickets: trained on tickets minus dense, which never saw one
KINDS = (DEPLOYED, OWN_INPUT, TRAINED)


@dataclass(frozen=True)
class Difference:
    """One row minus dense.

    Attributes:
        kind: one of `KINDS`.
        row: what was trained on.
        on: what it was tested on.
        contrast: the difference.
        label: above, below or open, by the two-sided 95% interval; ahead, behind or level where one of the two has one
            seed, which settles nothing; none with fewer than 30 images, or where dense has learnt too little.
    """

    kind: str
    row: str
    on: str
    contrast: Contrast
    label: str

    @property
    def in_these_runs(self) -> bool:
        """Whether it speaks of these runs alone, for one of the two rows has a single seed."""
        return bool(single_seeds(self.contrast))


def differences(group: Group) -> list[Difference]:
    """Those that `group` has results of, by kind, rows in the order of tables; none without a dense run or weights."""
    dense = (group.baseline, "dense")
    if dense not in group.matrix:
        return []
    too_little = deciding.undertrained(group, dense, BARELY) is not None
    pairs: list[tuple[str, Cell | None, Cell]] = []
    for kind, cell_of in ((DEPLOYED, group.whole), (OWN_INPUT, group.own)):
        pairs += [(kind, cell_of(row), dense) for row in group.rows if row != group.baseline]
    pairs.append((TRAINED, (group.ticket, "lt"), (group.baseline, "lt")))
    return [
        Difference(kind, *cell, found, "none" if too_little else label_of(found))
        for kind, cell, other in pairs
        if cell in group.matrix and other in group.matrix
        for found in [group.contrast(cell, other)]
    ]


def label_of(found: Contrast) -> str:
    """Above, below or open, or where these words would say too much another one; see `Difference`."""
    if found.images < MIN_IMAGES:
        return "none"
    if single_seeds(found):
        return standing(found, 0.0)
    return "above" if found.low > 0 else "below" if found.high < 0 else "open"
