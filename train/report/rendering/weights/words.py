"""What is found about runs with fewer weights in sentences: what is simpler and as good first, then the verdicts."""

from collections.abc import Iterable, Sequence

from vit_tickets.train.report.analysis.contrasts.of_weights import TicketFinding, WeightFinding
from vit_tickets.train.report.analysis.notices import counted, listed
from vit_tickets.train.report.analysis.weights import paper, svite_paper
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, WHERE, WeightGroup, title_of
from vit_tickets.train.report.analysis.weights.rows import (
    DENSE,
    REINIT,
    TICKET,
    in_order,
    meaning_of,
    moral_of,
    rewind_of,
)
from vit_tickets.train.report.rendering.weights.tables import halves, top1_of_paper
from vit_tickets.train.report.rendering.words.bounds import BOUNDS, named
from vit_tickets.train.report.rendering.words.contrasts import bounded_text, difference_text
from vit_tickets.train.report.rendering.words.verdicts import verdict_label

TITLE = "Training with fewer weights: the runs compared"
INTRODUCTION = (
    "These networks were trained with a part of their weights held at zero. A lottery ticket of weights (LT) is what "
    "magnitude pruning leaves, trained again from the weights that it had at the start (or, rewound, before some "
    "epoch). It wins if it does as well as all weights (dense), and clearly better than the same mask on other initial "
    "weights (RR)."
)
_SPREAD = "top-1 %, mean ± standard deviation over seeds (their number)"
_OF_LT = "points of LT above (+) or below (-)"
COUNTED = "multiply-adds of one image, zeros not counted"


def title(group: WeightGroup) -> str:
    """`digits, deit_micro, fewer weights; 360 images of val, view center`."""
    parts = [group.dataset, group.model, "fewer weights", *recipe(group)]
    if group.trained_on != DENSE:
        parts.insert(2, f"trained on {group.trained_on}")
    if group.reference is None:
        return f"{', '.join(parts)}; no predictions"
    shared = group.reference.provenance
    tested = "" if group.on == "dense" else f" on {WHERE.get(group.on, group.on)}"
    return f"{', '.join(parts)}; {counted(group.images, 'image')} of {shared.split}, view {shared.view}{tested}"


def recipe(group: WeightGroup) -> list[str]:
    """`lr 0.01`: what tells the group from others of its dataset and model."""
    return [f"{name} {value}" for name, value in group.recipe.items()]


def headlines(findings: Sequence[WeightFinding]) -> list[str]:
    """A paragraph for each group, with its name in front where there are several."""
    several = len(findings) > 1
    names = [", ".join([f.group.dataset, f.group.model, f.group.trained_on, *recipe(f.group)]) for f in findings]
    return [
        (f"{name}: " if several else "") + " ".join(headline(finding))
        for name, finding in zip(names, findings, strict=True)
    ]


def headline(finding: WeightFinding) -> list[str]:
    """Sentences: what the ticket does no better than, what the verdicts are, what it is not clearly better than."""
    if not finding.tickets:
        return [*_weak(finding), _without_tickets(finding)]
    lost = _against(finding, ("trails", "behind"))
    said = [f"LT does no better than {_row(row)} {places}: {moral_of(row)}." for row, places in lost.items()]
    labels: dict[str, list[TicketFinding]] = {}
    for ticket in finding.tickets:
        labels.setdefault(verdict_label(ticket.named), []).append(ticket)
    said += [f"Verdict {_places(finding.group, tickets)}: {label}." for label, tickets in labels.items()]
    if tied := _against(finding, ("ties", "level")):
        rows = "; ".join(f"{row} {places}" for row, places in tied.items())
        said.append(f"LT is not clearly better than {rows}.")
    return said


def _row(row: str) -> str:
    return f"{row} ({meaning_of(row)})"


def _without_tickets(finding: WeightFinding) -> str:
    if not finding.differences:
        return "No ticket of weights among these runs, and nothing to compare the others with."
    found = [f"{row} at {level} {difference_text(of)}" for (row, level), of in finding.differences.items()]
    worth = [f"{of.row} minus {of.other} at {of.level} {bounded_text(of.contrast)}" for of in finding.growth]
    first = f"What changing masks is worth: {'; '.join(worth)}." if worth else "No ticket of weights among these runs."
    return f"{first} Points above (+) or below (-) dense: {'; '.join(found)}."


def _weak(finding: WeightFinding) -> list[str]:
    weak = finding.weak_baseline
    return [f"{weak[0].upper()}{weak[1:]}."] if weak else []


def _against(finding: WeightFinding, labels: tuple[str, ...]) -> dict[str, str]:
    """Where tickets have one of `labels` against a row: `at 83.2% and, rewound to epoch 5, at 91.4% of conv`."""
    found: dict[str, list[TicketFinding]] = {}
    single = False
    for ticket in finding.tickets:
        for null in ticket.nulls:
            if null.label in labels:
                single = single or null.label in ("behind", "level")
                found.setdefault(null.name, []).append(ticket)
    in_these = " in these runs" if single else ""
    return {row: _places(finding.group, found[row]) + in_these for row in in_order(found)}


def _places(group: WeightGroup, tickets: Iterable[TicketFinding]) -> str:
    """`at 83.2% of conv and with rewinding to epoch 5 at 91.4% of conv`."""
    by_kind: dict[tuple[int, str], list[str]] = {}
    for ticket in tickets:
        level = group.levels[ticket.level]
        by_kind.setdefault((rewind_of(ticket.row), level.scope), []).append(f"{level.percent:.1f}%")
    shown = [
        f"{f'with rewinding to epoch {rewind} ' if rewind else ''}at {listed(percents)} of {scope} dropped"
        for (rewind, scope), percents in by_kind.items()
    ]
    return listed(shown)


def questions(finding: WeightFinding) -> str | None:
    """How many levels were asked, and how many verdicts were given; None without a ticket."""
    if not finding.tickets:
        return None
    given = [ticket for ticket in finding.tickets if (of := ticket.named.verdict) and not of.standing]
    levels, count = len({ticket.level for ticket in finding.tickets}), len(given)
    verdicts = counted(count, "verdict") if count else "no verdict"
    said = f"{counted(levels, 'level')} of sparsity {'was' if levels == 1 else 'were'} asked, {verdicts}"
    if count <= 1:
        return said
    return f"{said}: each is a question of its own, and bounds of 95% hold for one at a time"


def footnotes(finding: WeightFinding) -> list[str]:
    """What the rows are, and what the paper's figures are."""
    group = finding.group
    rows = in_order(row for row, _ in group.cells if row != DENSE)
    first = [DENSE] if ALL_WEIGHTS in group.cells else []
    meanings = "; ".join(f"{_with_title(row)}: {meaning_of(row)}" for row in [*first, *rows])
    if any(run.row != group.trained_on for run in group.dense):
        meanings = meanings.replace(f"{DENSE}: {meaning_of(DENSE)}", f"{DENSE}: {meaning_of(DENSE)} on all patches", 1)
    known = any(top1_of_paper(group, cell) is not None for cell in group.cells)
    notes = paper.note(rows, [ticket.paper for ticket in finding.tickets if ticket.paper])
    return [meanings, *notes, *([svite_paper.SOURCE] if known else []), *_begun(halves(group))]


def _begun(rows: list[str]) -> list[str]:
    """A sentence on rows whose epochs are not all of their training."""
    return [f"epochs of {listed(rows)} are those after pruning; their weights were trained before"] if rows else []


def _with_title(row: str) -> str:
    """`imp (LT)`: the row with what sentences call it."""
    title = title_of(row)
    return row if title == row else f"{row} ({title})"


def terms(findings: Sequence[WeightFinding]) -> list[str]:
    """A line on what LT and RR are, where there are tickets."""
    if not any(finding.tickets for finding in findings):
        return []
    return [
        "LT: a lottery ticket of weights, trained again from the weights that it had at the start (or, rewound, before "
        f"some epoch). RR: {meaning_of(f'{TICKET}:{REINIT}')}."
    ]


def legend(finding: WeightFinding) -> str:
    """What the figures of the rows are."""
    shown = [*finding.group.accuracies.values(), *(of.contrast for of in finding.differences.values())]
    return f"{_SPREAD}, points above (+) or below (-) dense [{named(shown)}]"


def bounds(finding: WeightFinding) -> str:
    """What the figures of verdicts and null hypotheses are."""
    judged = [verdict for ticket in finding.tickets if (verdict := ticket.named.verdict)]
    shown = [contrast for verdict in judged for contrast in (verdict.match, verdict.gap)]
    shown += [null.contrast for ticket in finding.tickets for null in ticket.nulls]
    return f"{_OF_LT} [{named(shown, BOUNDS)}]"
