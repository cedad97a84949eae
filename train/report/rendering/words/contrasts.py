"""The contrasts of use in words and tables: every row against all patches, and the ticket against every other row."""

from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.contrasts.differences import DEPLOYED, OWN_INPUT, TRAINED, Difference
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.contrasts.nulls import NullHypothesis
from vit_tickets.train.report.analysis.notices import further_seeds, listed
from vit_tickets.train.report.analysis.verdict import IN_THESE_RUNS
from vit_tickets.train.report.rendering.words.bounds import BOUNDS, brackets, named
from vit_tickets.train.report.rendering.words.columns import Rows

AGAINST_DENSE = "points above (+) or below (-) {} on whole images"
OF_LT = "points of LT above (+) or below (-) the row"
ON_WHOLE, ON_OWN = "on whole images", "on its own input"
LABELS = {
    "above": "above",
    "below": "below",
    "open": "open",
    "ahead": "ahead in these runs",
    "behind": "behind in these runs",
    "level": "level in these runs",
    "none": "",
}


def against_dense(finding: Finding) -> str:
    """What the table of `difference_rows` shows."""
    shown = [of.contrast for of in finding.differences if of.kind != TRAINED and of.row != finding.group.baseline]
    return f"{AGAINST_DENSE.format(finding.group.baseline)} [{named(shown)}]"


def against_rows(finding: Finding) -> str:
    """What the table of `null_rows` shows."""
    shown = [null.contrast for null in (*finding.nulls, *finding.nulls_deployed)]
    return f"{OF_LT} [{named(shown, BOUNDS)}]"


def difference_rows(finding: Finding) -> Rows:
    """Every row minus dense, as deployed and on its own input, with a header; the header alone if there are none."""
    by_kind = {
        kind: {of.row: of for of in finding.differences if of.kind == kind and of.row != finding.group.baseline}
        for kind in (DEPLOYED, OWN_INPUT)
    }
    rows = [["trained on", ON_WHOLE, ON_OWN]]
    for row in dict.fromkeys(row for of_kind in by_kind.values() for row in of_kind):
        rows.append([row, *(difference_text(of_kind.get(row)) for of_kind in by_kind.values())])
    return rows


def difference_text(difference: Difference | None) -> str:
    """`-0.60 [-1.00, -0.20] below`, of one seed `-0.60 behind in these runs`; a dash for None."""
    if difference is None:
        return "-"
    found = difference.contrast
    return f"{found.estimate:+.2f}{brackets(found, found.low, found.high)} {LABELS[difference.label]}".rstrip()


def trained_sentence(finding: Finding) -> str | None:
    """Whether training on tickets matters at all: tested on tickets, trained on them against trained on everything."""
    difference = next((of for of in finding.differences if of.kind == TRAINED), None)
    if difference is None:
        return None
    found = difference.contrast
    amount = f"{found.estimate:+.2f} points" if abs(found.estimate) >= 0.005 else "no difference"
    said = f"tested on tickets, training on them instead of on all patches makes {amount}"
    said += f"{brackets(found, found.low, found.high)}{' in these runs' if difference.in_these_runs else ''}"
    if difference.label in ("open", "level"):
        clear = "" if amount == "no difference" else "no clear difference, "
        return f"{said}: {clear}a network trained on all patches does as well on tickets"
    if found.estimate < 0 and difference.label != "none":
        return f"{said}: a network trained on all patches does better on tickets"
    return said


def null_rows(finding: Finding) -> Rows:
    """The ticket against every other row, with a header; the header alone if there are none."""
    own, deployed = ({null.name: null for null in of} for of in (finding.nulls, finding.nulls_deployed))
    rows = [["row", "each on its own input", "", "all on whole images", ""]]
    for name in dict.fromkeys((*own, *deployed)):
        rows.append([name, *_null_cells(own.get(name)), *_null_cells(deployed.get(name))])
    return rows


def _null_cells(null: NullHypothesis | None) -> list[str]:
    if null is None:
        return ["-", ""]
    return [bounded_text(null.contrast), against(null)]


def bounded_text(found: Contrast) -> str:
    """`-0.60 [-1.00, -0.20]` with one-sided bounds, where there are any."""
    return f"{found.estimate:+.2f}{brackets(found, found.lower, found.upper)}"


def morals(finding: Finding) -> list[str]:
    """What stands because the ticket does no better than a row: one sentence per row."""
    where: dict[str, tuple[str, dict[str, list[str]]]] = {}
    for nulls, on in ((finding.nulls, ON_OWN), (finding.nulls_deployed, ON_WHOLE)):
        for null in nulls:
            if null.moral and null.label in ("ties", "trails", "level", "behind"):
                where.setdefault(null.name, (null.moral, {}))[1].setdefault(against(null), []).append(on)
    return [
        f"{name} ({', '.join(f'{said} {listed(on)}' for said, on in found.items())}): {moral}"
        for name, (moral, found) in where.items()
    ]


def doubts(finding: Finding) -> list[str]:
    """Why nothing is said of some rows, and what would decide: one sentence for all rows of which it is true."""
    names: dict[str, list[str]] = {}
    for null in (*finding.nulls, *finding.nulls_deployed):
        if null.label in ("none", "inconclusive"):
            names.setdefault(null.sentence, []).append(null.name)
    return [f"{listed(list(dict.fromkeys(of)))}: {sentence}" for sentence, of in names.items()]


def more_seeds(finding: Finding) -> str | None:
    """What to type where a row has one seed, for all rows together."""
    group = finding.group
    nulls = [*finding.nulls, *finding.nulls_deployed]
    if not any(null.label in IN_THESE_RUNS for null in nulls):
        return None
    names = dict.fromkeys([group.ticket, *(null.name for null in nulls)])
    seeds = {name: list(dict.fromkeys(run.seed for run in group.of(name))) for name in names}
    return f"one seed settles nothing: {further_seeds(group.runs, seeds, max(2, *map(len, seeds.values())))}"


def against(null: NullHypothesis) -> str:
    """`LT beats it`, of one seed `LT ahead of it in these runs`, or `none, one seed` where there is nothing to say."""
    words = {"ahead": "LT ahead of it", "level": "LT level with it", "behind": "LT behind it"}
    if null.label in words:
        return f"{words[null.label]} in these runs"
    if null.label == "none":
        return "none, one seed"
    return null.label if null.label == "inconclusive" else f"LT {null.label} it"
