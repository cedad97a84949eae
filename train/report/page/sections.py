"""The sections of the page that give reasons, in words, tables and charts, and the paper's table."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_tickets.train.report.analysis import paper
from vit_tickets.train.report.analysis.bounds.known import FEW
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.contrasts.differences import DEPLOYED, KINDS, OWN_INPUT
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.costs import cost_rows
from vit_tickets.train.report.page import figures as page_figures
from vit_tickets.train.report.page.marks import Looks, looks
from vit_tickets.train.report.page.markup import Html, bullets, details, element, join, prose, table
from vit_tickets.train.report.page.opening import badge, grouped, label_of, section, sentence_case, stacked, subject
from vit_tickets.train.report.rendering import paper_table as table_rendering
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.rendering.words.contrasts import (
    against_dense,
    against_rows,
    difference_rows,
    doubts,
    morals,
    more_seeds,
    null_rows,
    trained_sentence,
)
from vit_tickets.train.report.rendering.words.frontier import AT_LENGTH, equal_sentence

RUNS_SHOWN, NOTICES_SHOWN = 12, 6  # more are folded away
# The side of a difference that is settled.
SIDES = {"above": "above", "beats": "above", "below": "below", "trails": "below"}
CLASSES = (
    "Bars are 95% intervals over images, for these very runs, one class at a time: of twenty classes expect one whose "
    f"interval misses its true difference. Of one seed, and of classes of {FEW}, there is no bar."
)
TRAINING = "A line is the mean of the runs on a path, its band reaches from the lowest of them to the highest."


def paper_table(findings: list[Finding]) -> Html | None:
    """The paper's table 4 for these runs; None if the paper has figures of none."""
    rows = [
        table_rendering.Row(group.model, group.budget, finding, said, "")
        for finding in findings
        for group in [finding.group]
        if group.budget and group.kept and paper.could_be(group.model, group.labels)
        for said in [paper.row_of(group.model, group.budget)]
        if said is not None
    ]
    if not rows:
        return None
    notes = [
        rendering.legend([finding.group for finding in findings]),
        table_rendering.COLUMNS,
        *paper.notes([row.model for row in rows]),
    ]
    header, *lines = table_rendering.cells(rows)
    lines = [[model, *map(stacked, rest)] for model, *rest in lines]
    shown = table("Accuracies of these runs, as the paper's table 4 has them", [header, *lines], class_="numbers")
    return section("table4", "The paper's table 4, for these runs", shown, bullets(notes))


def group_section(
    finding: Finding, name: str, classes: list[str] | None, look: Looks | None = None, folded: bool = False
) -> Html:
    """The reasons: everything about one group but its matrix.

    Args:
        finding: of the group.
        name: of the section.
        classes: their names, if known.
        look: of rows; by default as in a page of this group alone.
        folded: whether all but what is missing or doubtful is folded away.
    """
    group = finding.group
    look = look or looks(group.rows)
    first: list[Any] = [element("p", rendering.title(group).removeprefix(f"{subject(group)}, "), class_="lead")]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            seen, rest = sentences[:NOTICES_SHOWN], sentences[NOTICES_SHOWN:]
            more = details(f"{len(rest):,} more", bullets(rest)) if rest else None
            first.append(element("div", element("h3", heading), bullets(seen), more, class_="notice"))
    parts: list[Any] = [_verdicts(finding), *_against_dense(finding, look), *_against_rows(finding)]
    parts += [_figures(name, "classes", "Classes", page_figures.class_figures(finding, classes), CLASSES)]
    parts += [_training(name, group, look)]
    parts += [_cost(finding), *_provenance(group)]
    if folded:
        parts = [details("The verdict's reasons, every contrast, classes, training, cost, settings", parts)]
    return section(name, subject(group), first, parts)


def _figures(group: str, name: str, heading: str, charts: list[Html], note: str, *more: Html) -> Html | None:
    if not charts:
        return None
    parts = element("p", note, class_="note"), element("div", charts, class_="figures")
    return section(f"{group}-{name}", heading, *parts, *more, level=3)


def _training(name: str, group: Group, look: Looks) -> Html | None:
    others = page_figures.other_methods(group.rows)
    charts = page_figures.training_figures(group, [row for row in group.rows if row not in others], look)
    more = page_figures.training_figures(group, ["lt", *others], look) if others else []
    folded = [details("On other tickets", element("div", more, class_="figures"))] if more else []
    return _figures(name, "training", "Training", charts, TRAINING, *folded)


def _verdicts(finding: Finding) -> Html | None:
    """The verdicts with their reasons, beside a chart of what they compare."""
    words: list[Any] = []
    for named in finding.verdicts:
        heading = f"{sentence_case(named.name)}: "
        words.append(element("h3", heading, badge(rendering.verdict_label(named), label_of(named))))
        words.append(bullets(rendering.verdict_reasons(named)))
    if not words:
        words = [element("h3", "Verdict: none yet"), bullets(rendering.no_verdict(finding.group))]
    charts = element("div", page_figures.verdict_figures(finding), class_="contrasts")
    return element("div", element("div", words), charts, class_="beside")


def _against_dense(finding: Finding, look: Looks) -> list[Html | None]:
    """Every row against all patches, as deployed and on its own input."""
    rows = difference_rows(finding)
    said = trained_sentence(finding)
    if len(rows) == 1:
        return [element("p", f"{sentence_case(said)}.")] if said else []
    by_row = {kind: {of.row: of.label for of in finding.differences if of.kind == kind} for kind in KINDS}
    shown = [[row[0], *(_sided(*cell) for cell in _labelled(row, by_row))] for row in rows[1:]]
    caption = sentence_case(against_dense(finding))
    left = (
        table(caption, [rows[0], *shown], class_="numbers"),
        element("p", f"{sentence_case(said)}.") if said else None,
    )
    chart = page_figures.difference_figure(finding, look)
    return [element("h3", "Against all patches"), element("div", element("div", left), chart, class_="beside")]


def _labelled(row: list[str], labels: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    """The cells of a row of `difference_rows` with their labels."""
    return [(text, labels[kind].get(row[0], "")) for text, kind in zip(row[1:], (DEPLOYED, OWN_INPUT), strict=True)]


def _against_rows(finding: Finding) -> list[Html | None]:
    """The ticket against every other row: null hypotheses until it beats them."""
    header, *rows = null_rows(finding)
    if not rows:
        return []
    own, deployed = ({null.name: null.label for null in of} for of in (finding.nulls, finding.nulls_deployed))
    shown = []
    for name, *cells in rows:
        sided = [_sided(cells[0], own.get(name, "")), cells[1], _sided(cells[2], deployed.get(name, "")), cells[3]]
        shown.append([name, *sided])
    named = [[*header[:2], "so", header[3], "so"], *shown]
    left = table(sentence_case(against_rows(finding)), named, class_="numbers")
    further = [said for said in [*morals(finding), *doubts(finding), more_seeds(finding)] if said]
    charts = element("div", page_figures.null_figures(finding), class_="figures contrasts")
    heading = element("h3", "The ticket against every other row")
    return [heading, left, bullets(further), charts]


def _sided(text: str, label: str) -> Html:
    """A cell of a difference, in the colour of its side where that is settled."""
    return stacked(text, f"sided {SIDES[label]}" if label in SIDES else None)


def _cost(finding: Finding) -> Html | None:
    rows = cost_rows(finding.group, finding.cost)
    if not rows:
        return None
    caption = f"{rendering.COST[0].upper()}{rendering.COST[1:]}, validation included"
    equal = equal_sentence(finding)
    said = element("p", prose(f"{sentence_case(equal)}. This is {AT_LENGTH}.")) if equal else None
    return join([element("h3", "Cost"), said, table(caption, [["what", "how much"], *(list(row) for row in rows)])])


def _provenance(group: Group) -> list[Html | None]:
    header, *rows = rendering.run_rows(group)
    named = [[run.name, *row[1:]] for run, row in zip(group.runs, rows, strict=True)]  # the folders stand below
    runs = table("Runs of the same settings have the same hash of them", [header, *named], class_="numbers names")
    if len(rows) > RUNS_SHOWN:
        runs = details(f"{len(rows):,} runs", runs)
    settings = [(run.name, run.settings) for run in group.runs]
    tickets = [(f"method {method}", tickets.entries) for method, tickets in group.tickets.items()]
    return [
        element("h3", "What the runs were"),
        runs,
        _compared("Settings", "The recipe and what else the runs were trained with", settings),
        _compared("Tickets", "What the manifests record of the tickets", tickets),
        _surroundings(group),
    ]


def _compared(heading: str, caption: str, records: Sequence[tuple[str, Mapping[str, Any]]]) -> Html | None:
    """A folded table of the entries of `records`: one value if all owners share it, otherwise each owner's.

    Entries that differ come first.
    """
    shared, differing = [], []
    for name in dict.fromkeys(name for _, record in records for name in record):
        by_value = grouped((_value(record.get(name)), owner) for owner, record in records)
        if len(by_value) == 1:
            shared.append([name, next(iter(by_value))])
        else:
            lines = [element("div", f"{value}: {_owners(owners)}") for value, owners in by_value.items()]
            differing.append([name, element("td", lines, class_="differs")])
    if not shared and not differing:
        return None
    differ = "differs" if len(differing) == 1 else "differ"
    counts = f": {len(differing)} {differ}, {len(shared)} shared" if len(records) > 1 else ""
    return details(f"{heading}{counts}", table(caption, [["entry", "value"], *differing, *shared]))


def _owners(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= RUNS_SHOWN else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _surroundings(group: Group) -> Html:
    """Where each run is, and where its weights came from: machine, versions, hash."""
    rows: list[list[Any]] = [["folder", "hardware", "ranks", "versions", "SHA-256 of the weights"]]
    for run in group.runs:
        where = run.config.environment
        versions = ", ".join(f"{name} {version}" for name, version in (where.versions or {}).items())
        weights = next((p.provenance.weights_sha256 for p in run.predictions.values()), None)
        cells = where.hardware, where.ranks, versions, weights and element("code", weights)
        rows.append([run.folder, *("-" if cell in (None, "") else cell for cell in cells)])
    return details("Folders, hardware, versions, weights", table("Where each run was made", rows))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
