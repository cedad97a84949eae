"""What is found about runs with fewer weights: a verdict on each ticket, and the ticket against all that is simpler."""

from dataclasses import dataclass, field

from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.bounds.planning import Needed
from vit_tickets.train.report.analysis.contrasts import deciding
from vit_tickets.train.report.analysis.contrasts.differences import OWN_INPUT, Difference, label_of
from vit_tickets.train.report.analysis.contrasts.findings import WEAK_BELOW, NamedVerdict
from vit_tickets.train.report.analysis.contrasts.nulls import NullHypothesis
from vit_tickets.train.report.analysis.contrasts.of_growth import Growth, growth_of
from vit_tickets.train.report.analysis.verdict import BARELY, IN_THESE_RUNS, OPEN, judge, needed, null_hypothesis
from vit_tickets.train.report.analysis.weights import paper
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, Cell, WeightGroup
from vit_tickets.train.report.analysis.weights.paper import PaperLevel
from vit_tickets.train.report.analysis.weights.rows import REINIT, is_ticket, meaning_of, moral_of, rewind_of


@dataclass(frozen=True)
class TicketFinding:
    """What is found about one ticket of weights at one level.

    Attributes:
        row: `imp`, or with rewinding `imp:rewind5`.
        level: label of the level.
        named: the verdict: LT minus dense, and LT minus RR.
        nulls: the ticket minus each simpler row of its level, and minus the ticket without rewinding.
        paper: the paper's figures at this level.
    """

    row: str
    level: str
    named: NamedVerdict
    nulls: list[NullHypothesis]
    paper: PaperLevel | None


@dataclass(frozen=True)
class WeightFinding:
    """The results of one group.

    Attributes:
        group: its runs.
        tickets: of every level in ascending order, those without rewinding first.
        differences: every cell minus the runs that keep all weights.
        weak_below: dense accuracy in percent below which the baseline is weak; None if unknown.
        growth: rows whose masks grow, minus simpler ones.
        weak_baseline: a sentence on it, where no verdict has one.
    """

    group: WeightGroup
    tickets: list[TicketFinding]
    differences: dict[Cell, Difference]
    weak_below: float | None
    growth: list[Growth] = field(default_factory=list)
    weak_baseline: str | None = None


def find_weights(group: WeightGroup, weak_below: float | None = None) -> WeightFinding:
    """Compare the rows of `group` that have results, level by level. weak_below: as `findings.find` has it."""
    if weak_below is None:
        weak_below = WEAK_BELOW.get(group.dataset.split("-")[0])
    tickets = [
        TicketFinding(
            row, label, _verdict(group, row, label, weak_below), _nulls(group, row, label), _paper(group, row, label)
        )
        for label in group.levels
        for row in _tickets(group, label)
    ]
    weak = None
    if not tickets and ALL_WEIGHTS in group.matrix:
        weak = _weak_baseline(group, weak_below, "rows")
    return WeightFinding(group, tickets, _differences(group), weak_below, growth_of(group), weak)


def _tickets(group: WeightGroup, label: str) -> list[str]:
    """The tickets of a level, and those of which there is only a control."""
    rows = group.rows(label)
    of_controls = [row.removesuffix(f":{REINIT}") for row in rows if row.endswith(f":{REINIT}")]
    return [row for row in dict.fromkeys([*rows, *of_controls]) if is_ticket(row)]


def _verdict(group: WeightGroup, row: str, label: str, weak_below: float | None) -> NamedVerdict:
    rewound = f", rewound to epoch {rewind_of(row)}" if rewind_of(row) else ""
    name = f"{label}{rewound}"
    ticket, control = (row, label), (f"{row}:{REINIT}", label)
    cells = ticket, ALL_WEIGHTS, control
    if lacking := [cell for cell in cells if cell not in group.matrix]:
        expected = notices.listed([f"{group.cell_name(cell)} ({cell[0]})" for cell in lacking])
        return NamedVerdict(name, None, f"expected results of {expected}, found none", _todo(group, lacking, ticket))
    match, gap = group.contrast(ticket, ALL_WEIGHTS), group.contrast(ticket, control)
    longest, shortest = deciding.epochs(group, ticket, max), deciding.epochs(group, ALL_WEIGHTS, min)
    undertrained = deciding.undertrained(group, ALL_WEIGHTS, BARELY)
    judged = judge(match, gap, lt_epochs=longest, dense_epochs=shortest, undertrained=undertrained)
    first = deciding.first(group, ALL_WEIGHTS if undertrained else None, cells)
    decides = first or deciding.decides(group, judged.needed, cells)
    return NamedVerdict(name, judged, weak_baseline=_weak_baseline(group, weak_below), decides=decides)


def _todo(group: WeightGroup, lacking: list[Cell], ticket: Cell) -> tuple[str, ...]:
    """What to type for rows of which there is no run; `missing` says it of runs that are there."""
    like = (group.of(ticket) or group.runs)[0].config
    start = f"vit-tickets train {like.root or 'DATASET'} --model {like.model} --path {like.path}"
    masks = (like.weights and like.weights.masks_dir) or "WEIGHT_TICKET"
    typed = {False: f"{start} --masks {masks}", True: f"{start} --masks {masks} --start {REINIT}"}
    absent = [cell for cell in lacking if not group.of(cell)]
    return tuple(
        f"`{start if cell == ALL_WEIGHTS else typed[cell[0].endswith(REINIT)]}` with the other options of these runs "
        f"trains {cell[0]}; `vit-tickets evaluate` tests it"
        for cell in absent
    )


def _weak_baseline(group: WeightGroup, below: float | None, what: str = "tickets") -> str | None:
    found = group.accuracies[ALL_WEIGHTS].mean
    if below is None or found >= below:
        return None
    return (
        f"weak baseline: {group.cell_name(ALL_WEIGHTS)} is {found:.2f}%, under {below:g}%; {what} that match it may "
        "not match a better one"
    )


def _nulls(group: WeightGroup, row: str, label: str) -> list[NullHypothesis]:
    """The ticket minus each other row of its level that is a doubt about it."""
    if (row, label) not in group.matrix:
        return []
    others = [other for other in group.rows(label) if other != row and _is_doubt(row, other)]
    return [_null(group, (row, label), (other, label)) for other in others if (other, label) in group.matrix]


def _is_doubt(row: str, other: str) -> bool:
    """Whether `other` is a null hypothesis of the ticket `row`: a row that is simpler, its controls, and for a rewound
    ticket the one that is not."""
    own = rewind_of(row)
    return moral_of(other) != "" and rewind_of(other) in ((own,) if other.endswith(f":{REINIT}") else (0, own))


def _null(group: WeightGroup, ticket: Cell, cell: Cell) -> NullHypothesis:
    compared, moral = group.contrast(ticket, cell), moral_of(cell[0])
    weak_dense = deciding.undertrained(group, ALL_WEIGHTS, BARELY) if ALL_WEIGHTS in group.matrix else None
    undertrained = weak_dense or deciding.undertrained(group, cell)
    label, sentence = null_hypothesis(compared, meaning_of(cell[0]), moral, undertrained)
    wanted = needed(compared, 0.0) if label in OPEN else Needed()
    if label in IN_THESE_RUNS:
        both = {name: group.seeds((name, at)) for name, at in (ticket, cell)}
        further = notices.further_seeds(group.runs, both, max(2, *map(len, both.values())))
        sentence += f"; one seed settles nothing: {further}"
    elif first := deciding.first(
        group, (ALL_WEIGHTS if weak_dense else cell) if undertrained else None, (ticket, cell)
    ):
        sentence += f"; what would decide: {first}"
    return NullHypothesis(cell[0], label, sentence, compared, wanted, moral, not is_ticket(cell[0]))


def _differences(group: WeightGroup) -> dict[Cell, Difference]:
    if ALL_WEIGHTS not in group.matrix:
        return {}
    too_little = deciding.undertrained(group, ALL_WEIGHTS, BARELY) is not None
    found = {cell: group.contrast(cell, ALL_WEIGHTS) for cell in group.cells if cell in group.matrix}
    return {
        cell: Difference(OWN_INPUT, cell[0], cell[1], of, "none" if too_little else label_of(of))
        for cell, of in found.items()
        if cell != ALL_WEIGHTS
    }


def _paper(group: WeightGroup, row: str, label: str) -> PaperLevel | None:
    weights = next((run.config.weights for run in group.of((row, label))), None)
    if group.trained_on != "dense":
        return None
    return paper.level_of(group.model, group.dataset, group.levels[label], weights and weights.of_network)
