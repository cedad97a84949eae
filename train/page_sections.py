"""The sections of the page in words and tables; what they say is what report.md says."""

from typing import Any

from vit_tickets.train import page_figures, paper, rendering, table_rendering
from vit_tickets.train.comparison import Group
from vit_tickets.train.costs import cost_rows
from vit_tickets.train.findings import Finding, NamedVerdict
from vit_tickets.train.markup import Html, bullets, details, element, join, table
from vit_tickets.train.results import ON
from vit_tickets.train.verdict import Needed

LEVELS = 10  # shades of the matrix
SETTLED = {"wins": "good", "beats": "good", "loses": "bad", "trails": "bad"}
PATHS = (
    "Trained on: dense, all patches; lt, each image's ticket; rc, a random subset of the same size; small, all of the "
    "image at a lower resolution with as many patches. Tested on: dense, all patches; lt, tickets; rc, random subsets."
)
INTERVALS = (
    "The bar of an accuracy is its two-sided 95% interval. That of a difference reaches from one one-sided 95% bound "
    "to the other: the difference is settled when all of it lies on one side of the dashed line. Both resample images "
    "and seeds."
)


def section(name: str, heading: str, *parts: Any, level: int = 2) -> Html:
    """A section with a heading that can be linked to."""
    return element("section", element(f"h{level}", heading), *parts, id=name)


def summary(findings: list[Finding], names: list[str]) -> Html:
    """One line per verdict and null hypothesis, and where its reasons are. names: of the groups' sections."""
    items = []
    for finding, name in zip(findings, names, strict=True):
        where = element("a", subject(finding.group), href=f"#{name}")
        shown = [_badge(rendering.verdict_label(verdict), _label(verdict)) for verdict in finding.verdicts]
        spoken = [_in_words(verdict, len(finding.verdicts) > 1) for verdict in finding.verdicts]
        nulls = [
            element("li", _badge(rendering.against(null), null.label), f" null hypothesis {null.name}")
            for null in finding.nulls
        ]
        verdicts = [element("li", badge, words) for badge, words in zip(shown, spoken, strict=True)]
        if not verdicts and not nulls:
            verdicts = [element("li", "no ticket to judge")]
        items.append(element("div", element("h3", where), element("ul", verdicts, nulls), class_="card"))
    notes = [element("p", said, class_="note") for said in (PATHS, INTERVALS)]
    return section("verdicts", "Verdicts", element("div", items, class_="cards"), notes)


def _in_words(named: NamedVerdict, several: bool) -> str:
    said = f" {named.name}:" if several else ""
    if named.verdict is None:
        return f"{said} {named.lacking}"
    match, gap = named.verdict.match, named.verdict.gap
    sentences = [f"{c.minuend} minus {c.subtrahend} {c.estimate:+.2f}" for c in (match, gap)]
    return f"{said} {', '.join(sentences)} points"


def subject(group: Group) -> str:
    """`digits, deit_micro, sparsity 0.75`."""
    return ", ".join(str(part) for part in (group.dataset, group.model, group.budget) if part)


def _badge(text: str, label: str) -> Html:
    return element("span", text, class_=f"badge {SETTLED.get(label, 'open')}")


def _label(named: NamedVerdict) -> str:
    return "none" if named.verdict is None else named.verdict.label


def paper_table(findings: list[Finding]) -> Html | None:
    """The paper's table 4 for these runs; None where no group has a budget and a ticket."""
    rows = [
        table_rendering.Row(group.model, group.budget, finding, paper.row_of(group.model, group.budget), "")
        for finding in findings
        for group in [finding.group]
        if group.budget and group.kept
    ]
    if not rows:
        return None
    notes = [rendering.LEGEND, *paper.notes([row.model for row in rows])]
    shown = table("Accuracies as the paper's table 4 has them", table_rendering.cells(rows), class_="numbers")
    return section("table4", "The paper's table", shown, bullets(notes))


def group_section(finding: Finding, name: str, classes: list[str] | None) -> Html:
    """All that there is to say of one group. classes: names of the classes, where they are known."""
    group = finding.group
    parts: list[Any] = [element("p", rendering.title(group).removeprefix(f"{subject(group)}, "), class_="lead")]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            parts.append(element("div", element("h3", heading), bullets(sentences), class_="notice"))
    parts += [_verdicts(finding), *_matrix(group), _paired(finding)]
    parts += [_figures(name, "classes", "Classes", page_figures.class_figures(finding, classes), _about_classes())]
    parts += [_figures(name, "training", "Training", page_figures.training_figures(group))]
    parts += [_cost(finding), *_provenance(group)]
    return section(name, subject(group), *parts)


def _figures(group: str, name: str, heading: str, charts: list[Html], *words: Html) -> Html | None:
    if not charts:
        return None
    return section(f"{group}-{name}", heading, *words, element("div", charts, class_="figures"), level=3)


def _about_classes() -> Html:
    said = (
        "Bars are 95% intervals over images, runs as they are, one class at a time: of twenty classes one lies outside "
        "its interval by chance."
    )
    return element("p", said, class_="note")


def _verdicts(finding: Finding) -> Html | None:
    words = []
    for named in finding.verdicts:
        heading = f"{named.name[0].upper()}{named.name[1:]}: "
        words.append(element("h3", heading, _badge(rendering.verdict_label(named), _label(named))))
        words.append(bullets(rendering.verdict_reasons(named)))
        if named.verdict and named.verdict.label == "inconclusive":
            words.append(element("p", element("b", "What would decide: "), _what_decides(named.verdict.needed), "."))
    for null in finding.nulls:
        heading = element("h3", f"Null hypothesis {null.name}: ", _badge(rendering.against(null), null.label))
        words += [heading, element("p", f"{null.sentence}.")]
    if not words:
        return None
    charts = element("div", page_figures.contrast_figures(finding), class_="contrasts")
    return element("div", element("div", words), charts, class_="beside")


def _what_decides(needed: Needed) -> str:
    counts = [f"{count:,} {what}" for count, what in ((needed.images, "images"), (needed.seeds, "seeds per path"))
              if count]  # fmt: skip
    if not counts:
        return "no number of images or seeds that could be named"
    return f"about {' and '.join(counts)}, at even odds, if the differences found are the true ones"


def _matrix(group: Group) -> list[Html | None]:
    header, *rows = rendering.matrix_rows(group, intervals=True)
    means = [accuracy.mean for accuracy in group.accuracies.values()]
    low, span = (min(means), max(means) - min(means)) if means else (0.0, 0.0)
    lines: list[list[Any]] = [header]
    for row in rows:
        cells: list[Any] = [row[0]]
        for on, text in zip(ON, row[1:], strict=False):
            accuracy = group.accuracies.get((row[0], on))
            level = None if accuracy is None or not span else round((accuracy.mean - low) / span * LEVELS)
            value, space, rest = text.partition(" ")
            spread, bracket, interval = rest.partition("[")
            small = [element("small", spread), " "] if spread else [], element("small", bracket, interval)
            shade = None if level is None else f"heat h{level}"
            cells.append(element("td", value, space, small if space else None, class_=shade))
        lines.append([*cells, *row[1 + len(ON) :]])
    caption = f"Trained on (rows), tested on (columns): {rendering.LEGEND} [two-sided 95% interval]"
    shown = table(caption, lines, class_="numbers")
    parts = element("h3", "Trained on, tested on"), shown, bullets(rendering.footnotes(group))
    return [element("div", element("div", *parts), page_figures.accuracy_figure(group), class_="beside")]


def _paired(finding: Finding) -> Html | None:
    if not finding.paired:
        return None
    caption = f"Images that one run alone classifies right: {rendering.PAIRED}"
    return join([element("h3", "Paired tests"), table(caption, rendering.paired_rows(finding), class_="numbers")])


def _cost(finding: Finding) -> Html | None:
    rows = cost_rows(finding.group, finding.cost)
    if not rows:
        return None
    caption = f"As {rendering.COST}, validation included"
    return join([element("h3", "Cost"), table(caption, [["what", "how much"], *(list(row) for row in rows)])])


def _provenance(group: Group) -> list[Html | None]:
    header, *rows = rendering.run_rows(group)
    named = [[run.name, *row[1:]] for run, row in zip(group.runs, rows, strict=True)]  # the folders stand below
    runs = table("Runs of the same settings have the same hash of them", [header, *named], class_="numbers")
    parts = [element("h3", "What the runs were"), runs, _settings(group)]
    tickets = {f"Tickets, method {method}": record for method, record in group.tickets.items()}
    for heading, record in tickets.items():
        rows = [["entry", "value"], *([name, _value(value)] for name, value in record.items())]
        parts.append(details(heading, table(f"{heading}, as their manifest records them", rows)))
    return [*parts, _surroundings(group)]


def _settings(group: Group) -> Html | None:
    """Every setting: a single value where all runs share it, else one per run; those that differ come first."""
    names = list(dict.fromkeys(name for run in group.runs for name in run.settings))
    rows = []
    for name in names:
        by_value: dict[str, list[str]] = {}
        for run in group.runs:
            by_value.setdefault(_value(run.settings.get(name)), []).append(run.name)
        if len(by_value) == 1:
            rows.append((1, [name, next(iter(by_value))]))
        else:
            differing = [element("div", f"{value}: {', '.join(found)}") for value, found in by_value.items()]
            rows.append((0, [name, element("td", differing, class_="differs")]))
    shown = [line for _, line in sorted(rows, key=lambda row: row[0])]
    count = sum(1 for first, _ in rows if first == 0)
    heading = f"Settings: {count} differ, {len(rows) - count} are shared"
    caption = "The recipe and what else the runs were trained with"
    return details(heading, table(caption, [["setting", "value"], *shown])) if rows else None


def _surroundings(group: Group) -> Html:
    """Where each run is, and where its weights came from: machine, versions, hash."""
    rows = [["folder", "hardware", "ranks", "versions", "SHA-256 of the weights"]]
    for run in group.runs:
        versions = ", ".join(f"{name} {version}" for name, version in (run.config.get("versions") or {}).items())
        weights = next((p.metadata.get("weights_sha256") for p in run.predictions.values()), None)
        cells = run.config.get("hardware"), run.config.get("ranks"), versions, weights and element("code", weights)
        rows.append([run.folder, *("-" if cell in (None, "") else cell for cell in cells)])
    return details("Folders, hardware, versions, weights", table("Where each run was made", rows))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
