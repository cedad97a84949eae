"""The ticket against every other row, above all those that need no selector: null hypotheses until it beats them."""

from dataclasses import dataclass, replace

from vit_tickets.pipeline.manifests.methods import METHODS, STAGED
from vit_tickets.pipeline.runs.rows import ITS_OWN, ROWS, RowName
from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.bounds.planning import Needed
from vit_tickets.train.report.analysis.comparison import BASELINES, Cell, Group
from vit_tickets.train.report.analysis.contrasts import deciding
from vit_tickets.train.report.analysis.verdict import BARELY, IN_THESE_RUNS, OPEN, needed, null_hypothesis


@dataclass(frozen=True)
class NullHypothesis:
    """The ticket minus another row.

    Attributes:
        name: of the other row.
        label: beats, ties, trails or inconclusive; ahead, behind, level or none with one seed, which settles nothing.
        sentence: why.
        contrast: the difference.
        needed: what would settle it, if it is open.
        moral: what holds if the ticket does no better; empty for rows that are no doubt about tickets.
        simpler: whether the other row needs no selector for an image.
    """

    name: str
    label: str
    sentence: str
    contrast: Contrast
    needed: Needed
    moral: str
    simpler: bool


def on_own_input(group: Group) -> list[NullHypothesis]:
    """The ticket on tickets against every other row on what that was trained on."""
    return _against(group, group.own(group.ticket), [group.own(row) for row in _others(group)])


def as_deployed(group: Group) -> list[NullHypothesis]:
    """The run on tickets against every other row, all on whole images."""
    return _against(group, group.whole(group.ticket), [group.whole(row) for row in _others(group)])


def is_simpler(row: str) -> bool:
    """Whether no selector has to look at an image that a network of this row classifies, at no higher cost."""
    name = RowName.parse(row)
    if not name.trained_on.drops_patches:
        return name.size is None  # all patches of larger images cost more
    if name.path == "rc" or name.ticket == "mean":
        return True
    return name.ticket == ITS_OWN and name.method in METHODS and METHODS[name.method].looks_at != "selector"


def moral_of(row: str) -> str:
    """What holds if tickets do no better than `row`; empty for rows that are no doubt about tickets."""
    name = replace(RowName.parse(row), size=None, temperature=None, finish_dense=0)
    known = ROWS.get(str(name)) or ROWS.get(str(replace(name, method=STAGED)))
    if str(name) not in ROWS and name.path == "lt" and name.ticket == ITS_OWN:
        return "tickets need no staged selection"
    return known.null if known else ""


def _others(group: Group) -> list[str]:
    return [row for row in group.rows if row not in (group.ticket, *BASELINES)]


def _against(group: Group, ticket: Cell | None, cells: list[Cell | None]) -> list[NullHypothesis]:
    return [_null(group, ticket, cell) for cell in cells if cell] if ticket else []


def _null(group: Group, ticket: Cell, cell: Cell) -> NullHypothesis:
    row, dense = cell[0], (group.baseline, "dense")
    compared, moral = group.contrast(ticket, cell), moral_of(row)
    weak_dense = deciding.undertrained(group, dense, BARELY) if dense in group.matrix else None
    undertrained = weak_dense or deciding.undertrained(group, cell)
    label, sentence = null_hypothesis(compared, RowName.parse(row).meaning, moral, undertrained)
    wanted = needed(compared, 0.0) if label in OPEN else Needed()
    if label in IN_THESE_RUNS:
        both = {name: group.seeds((name, on)) for name, on in (ticket, cell)}
        further = notices.further_seeds(group.runs, both, max(2, *map(len, both.values())))
        sentence += f"; one seed settles nothing: {further}"
    elif first := deciding.first(group, (dense if weak_dense else cell) if undertrained else None, (ticket, cell)):
        sentence += f"; what would decide: {first}"
    return NullHypothesis(row, label, sentence, compared, wanted, moral, is_simpler(row))
