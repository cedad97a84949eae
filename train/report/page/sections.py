"""The sections of the page in words and tables, with the content of report.md."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from vit_tickets.pipeline.runs.paths import ON, TESTED_ON
from vit_tickets.train.report.analysis import paper
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.costs import cost_rows
from vit_tickets.train.report.analysis.findings import Finding, NamedVerdict
from vit_tickets.train.report.page import figures as page_figures
from vit_tickets.train.report.page.charts import Look, sample
from vit_tickets.train.report.page.markup import Html, bullets, details, element, join, table
from vit_tickets.train.report.rendering import paper_table as table_rendering
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.rendering.encoding import STROKES, colours, meaning_of

LEVELS = 10  # shades of the matrix
RUNS_SHOWN, NOTICES_SHOWN = 12, 6  # more are folded away
SETTLED = {"wins": "good", "beats": "good", "loses": "bad", "trails": "bad"}
NAMES = "In sentences, “LT on dense” is the network that was trained on tickets (LT), tested on whole images (dense)."
INTERVALS = (
    "The bar of an accuracy is its two-sided 95% interval. That of a difference reaches from one one-sided 95% bound "
    "to the other, and all of it on one side of the dashed line settles it if both paths have several seeds. "
    "Both are of other images and other seeds; of one seed they know nothing of others, and settle nothing."
)
CLASSES = (
    "Bars are 95% intervals over images, for these very runs, one class at a time: of twenty classes expect one whose "
    "interval misses its true difference."
)
TRAINING = "A line is the mean of the runs on a path, its band reaches from the lowest of them to the highest."


def section(name: str, heading: str, *parts: Any, level: int = 2) -> Html:
    """A section with a heading that can be linked to."""
    return element("section", element(f"h{level}", heading), *parts, id=name)


def summary(findings: list[Finding], names: list[str]) -> Html:
    """One line per verdict and baseline, with a link to its reasons. names: of the groups' sections."""
    items = []
    for finding, name in zip(findings, names, strict=True):
        where = element("a", subject(finding.group), href=f"#{name}")
        shown = [_badge(rendering.verdict_label(verdict), _label(verdict)) for verdict in finding.verdicts]
        spoken = [_in_words(verdict, len(finding.verdicts) > 1) for verdict in finding.verdicts]
        badges = _grouped((_badge(rendering.against(null), null.label), null.name) for null in finding.nulls)
        nulls = [element("li", badge, f" {_hypotheses(of).lower()}") for badge, of in badges.items()]
        verdicts = [element("li", badge, words) for badge, words in zip(shown, spoken, strict=True)]
        if not verdicts and not nulls:
            verdicts = [element("li", "no ticket to judge")]
        items.append(element("div", element("h3", where), element("ul", verdicts, nulls), class_="card"))
    notes = [element("p", said, class_="note") for said in (NAMES, INTERVALS)]
    return section("verdicts", "Verdicts", element("div", items, class_="cards"), _key(findings), notes)


def _key(findings: list[Finding]) -> Html:
    """What colours, marks and lines mean in all charts."""
    rows = dict.fromkeys(row for finding in findings for row in finding.group.rows)
    tested = {on for finding in findings for _, on in finding.group.accuracies}
    trained = [(element("i", class_=f"swatch c-{of.name}"), meaning_of(row)) for row, of in colours(rows).items()]
    strokes = [
        (sample(Look("c-ink", stroke.mark, stroke.line)), f"{on}: {TESTED_ON[on]}")
        for on, stroke in STROKES.items()
        if on in tested
    ]
    named = ("Colour: trained on", trained), ("Mark and line: tested on", strokes)
    lists = [
        (element("strong", name), element("ul", [element("li", *item) for item in items], class_="legend"))
        for name, items in named
        if items
    ]
    return element("div", lists, class_="encoding")


def _grouped(pairs: Iterable[tuple[Hashable, str]]) -> dict[Any, list[str]]:
    """The names of each key."""
    found: dict[Any, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return found


def _hypotheses(names: list[str]) -> str:
    return f"Null {'hypothesis' if len(names) == 1 else 'hypotheses'} {', '.join(names)}"


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
    """The paper's table 4 for these runs; None if no group has a ticket, and a model and classes as in the paper."""
    rows = [
        table_rendering.Row(group.model, group.budget, finding, paper.row_of(group.model, group.budget), "")
        for finding in findings
        for group in [finding.group]
        if group.budget and group.kept and paper.could_be(group.model, group.labels)
    ]
    if not rows:
        return None
    notes = [
        rendering.legend([finding.group for finding in findings]),
        table_rendering.COLUMNS,
        *paper.notes([row.model for row in rows]),
    ]
    header, *lines = table_rendering.cells(rows)
    lines = [[model, *map(_stacked, rest)] for model, *rest in lines]
    shown = table("Accuracies of these runs, as the paper's table 4 has them", [header, *lines], class_="numbers")
    return section("table4", "The paper's table 4, for these runs", shown, bullets(notes))


def _stacked(text: str, class_: str | None = None) -> Html:
    """A cell whose spread and interval stand below its value: `89.30 ± 0.40 (3) [88.95, 89.70]`."""
    value, space, rest = text.partition(" ")
    if not rest.startswith(("±", "[")):
        return element("td", text, class_=class_)
    spread, bracket, interval = rest.partition("[")
    lines = [element("small", line.strip()) for line in (spread, f"{bracket}{interval}") if line]
    return element("td", value, *([space, line] for line in lines), class_=class_)


def group_section(finding: Finding, name: str, classes: list[str] | None) -> Html:
    """Everything about one group. classes: their names, if known."""
    group = finding.group
    parts: list[Any] = [element("p", rendering.title(group).removeprefix(f"{subject(group)}, "), class_="lead")]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            first, rest = sentences[:NOTICES_SHOWN], sentences[NOTICES_SHOWN:]
            more = details(f"{len(rest):,} more", bullets(rest)) if rest else None
            parts.append(element("div", element("h3", heading), bullets(first), more, class_="notice"))
    parts += [_verdicts(finding), *_matrix(group), _paired(finding)]
    parts += [_figures(name, "classes", "Classes", page_figures.class_figures(finding, classes), CLASSES)]
    parts += [_training(name, group)]
    parts += [_cost(finding), *_provenance(group)]
    return section(name, subject(group), *parts)


def _figures(group: str, name: str, heading: str, charts: list[Html], note: str, *more: Html) -> Html | None:
    if not charts:
        return None
    parts = element("p", note, class_="note"), element("div", charts, class_="figures")
    return section(f"{group}-{name}", heading, *parts, *more, level=3)


def _training(name: str, group: Group) -> Html | None:
    others = page_figures.other_methods(group.rows)
    charts = page_figures.training_figures(group, [row for row in group.rows if row not in others])
    more = page_figures.training_figures(group, ["lt", *others]) if others else []
    folded = [details("On the tickets of other methods", element("div", more, class_="figures"))] if more else []
    return _figures(name, "training", "Training", charts, TRAINING, *folded)


def _verdicts(finding: Finding) -> Html | None:
    words = []
    for named in finding.verdicts:
        heading = f"{named.name[0].upper()}{named.name[1:]}: "
        words.append(element("h3", heading, _badge(rendering.verdict_label(named), _label(named))))
        words.append(bullets(rendering.verdict_reasons(named)))
    alike = _grouped(
        ((_badge(rendering.against(null), null.label), null.sentence), null.name) for null in finding.nulls
    )
    for (badge, sentence), names in alike.items():
        words += [element("h3", f"{_hypotheses(names)}: ", badge), element("p", f"{sentence}.")]
    if not words:
        return None
    charts = element("div", page_figures.contrast_figures(finding), class_="contrasts")
    return element("div", element("div", words), charts, class_="beside")


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
            cells.append(_stacked(text, None if level is None else f"heat h{level}"))
        lines.append([*cells, *row[1 + len(ON) :]])
    caption = f"Trained on (rows), tested on (columns): {rendering.legend([group])} [two-sided 95% interval]"
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
        by_value = _grouped((_value(record.get(name)), owner) for owner, record in records)
        if len(by_value) == 1:
            shared.append([name, next(iter(by_value))])
        else:
            lines = [element("div", f"{value}: {_owners(owners)}") for value, owners in by_value.items()]
            differing.append([name, element("td", lines, class_="differs")])
    if not shared and not differing:
        return None
    counts = f": {len(differing)} differ, {len(shared)} are shared" if len(records) > 1 else ""
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
