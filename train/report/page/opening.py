"""The top of the page: what it is of and how it was made, what was found, accuracy against cost, the matrices."""

import importlib.metadata
import os
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.runs.paths import TESTED_ON
from vit_tickets.train.report.analysis.bounds.known import FEW
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.contrasts.findings import Finding, NamedVerdict
from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.analysis.frontier.tradeoff import tradeoffs
from vit_tickets.train.report.analysis.weights.groups import WeightGroup
from vit_tickets.train.report.page import figures as page_figures
from vit_tickets.train.report.page.marks import Look, Looks, dot, sample
from vit_tickets.train.report.page.markup import Html, bullets, details, element, table
from vit_tickets.train.report.page.tradeoff import tradeoff_figure
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.rendering.encoding import STROKES, meaning_of
from vit_tickets.train.report.rendering.footnotes import footnotes
from vit_tickets.train.report.rendering.words.bounds import named
from vit_tickets.train.report.rendering.words.headline import headline
from vit_tickets.train.report.rendering.words.overall import overall

LEVELS = 10  # shades of the matrix
MATRICES_SHOWN = 4  # more are folded away
SETTLED = {"wins": "good", "beats": "good", "loses": "bad", "trails": "bad"}
NAMES = "In sentences, “LT on dense” is the network that was trained on tickets (LT), tested on whole images (dense)."
INTERVALS = (
    "The bar of an accuracy is its two-sided 95% interval. That of a difference reaches from one one-sided 95% bound "
    "to the other, and all of it on one side of the dashed line settles it. Both are of other images and other seeds. "
    f"Of one seed, or of {FEW}, there is no bar: nothing is settled."
)
NO_COST = (
    "No chart of accuracy against cost: the logs of these runs have no multiply-adds, and their seconds are of "
    "different machines or settings, or of fewer than two rows. Runs count multiply-adds since this chart is there."
)
EPOCH = "SOURCE_DATE_EPOCH"  # seconds since 1970 that stand for now: https://reproducible-builds.org/specs/


@dataclass(frozen=True)
class About:
    """How a page was made.

    Attributes:
        command: that makes it.
        date: in UTC, `29 November 2026`.
        version: of this package.
    """

    command: str
    date: str
    version: str


def about(command: str) -> About:
    """A page made now by this version."""
    now = time.gmtime(int(os.environ[EPOCH])) if os.environ.get(EPOCH, "").isdecimal() else time.gmtime()
    date = f"{now.tm_mday} {time.strftime('%B %Y', now)}"
    return About(command, date, importlib.metadata.version("vit-tickets"))


def section(name: str, heading: Any, *parts: Any, level: int = 2) -> Html:
    """A section with a heading that can be linked to."""
    return element("section", element(f"h{level}", heading), *parts, id=name)


def subject(group: Group) -> str:
    """`digits, deit_micro, sparsity 0.75`."""
    return ", ".join(str(part) for part in (group.dataset, group.model, group.budget) if part)


def masthead(heading: str, made: About, findings: Sequence[Finding | WeightFinding], introduction: str) -> list[Html]:
    """Title, date, version, data and command."""
    tested = dict.fromkeys(_data(finding.group) for finding in findings)
    entries = [("Data", "; ".join(tested)), ("Made", f"{made.date}, vit-tickets {made.version}")]
    shown = [(element("dt", name), element("dd", value)) for name, value in entries if value]
    command = (
        element("dt", "Command"),
        element("dd", element("pre", element("code", made.command), tabindex="0"), _copy("Copy the command")),
    )
    return [
        element("h1", heading),
        element("p", introduction, class_="introduction"),
        element("dl", shown, command if made.command else None, class_="about"),
    ]


def _copy(label: str) -> Html:
    return element("button", label, type="button", class_="copy", hidden=True)


def _data(group: Group | WeightGroup) -> str:
    if group.reference is None:
        return f"{group.dataset}: no predictions"
    shared = group.reference.provenance
    return f"{group.dataset}: {rendering.counted(group.images, 'image')} of {shared.split}, view {shared.view}"


def summary(findings: list[Finding], names: list[str]) -> Html:
    """One card per group: its headline and verdict, with a link to the reasons. names: of the groups' sections."""
    items = []
    for finding, name in zip(findings, names, strict=True):
        first, *others = headline(finding)
        heading = element("h3", element("a", subject(finding.group), href=f"#{name}")) if len(findings) > 1 else None
        verdicts = [
            element(
                "li", f"{sentence_case(verdict.name)}: ", badge(rendering.verdict_label(verdict), label_of(verdict))
            )
            for verdict in finding.verdicts
        ]
        said = element("p", first, class_="first"), element("p", " ".join(others)) if others else None
        judged = element("ul", verdicts) if verdicts else None
        items.append(element("div", heading, said, judged, class_="card"))
    alone = " alone" if len(findings) == 1 else ""
    said = overall(findings)
    first = element("p", said, class_="first") if said else None
    return section("found", "What was found", first, element("div", items, class_=f"cards{alone}"))


def sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def costs(findings: list[Finding], look: Looks) -> Html:
    """Accuracy against cost, a figure for each model; or why there is none."""
    models = tradeoffs([finding.group for finding in findings])
    shown = [tradeoff_figure(charts, look, f"chart-{number}") for number, charts in enumerate(models, start=1)]
    said = None if shown else element("p", NO_COST)
    return section("cost", "Accuracy against cost", shown, said, _key(findings, look))


def _key(findings: list[Finding], look: Looks) -> Html:
    """What colours, shapes, fillings and lines mean in all charts."""
    rows = dict.fromkeys(row for finding in findings for row in finding.group.rows)
    tested = {on for finding in findings for _, on in finding.group.accuracies}
    trained = [(dot(look(row, "dense")), meaning_of(row)) for row in rows]
    strokes = [
        (sample(Look("c-ink", "circle", stroke.fill, stroke.line)), f"{on}: {TESTED_ON.get(on, on)}")
        for on, stroke in STROKES.items()
        if on in tested
    ]
    named = ("Colour and shape: trained on", trained), ("Filling and line: tested on", strokes)
    lists = [
        (element("strong", name), element("ul", [element("li", *item) for item in items], class_="legend"))
        for name, items in named
        if items
    ]
    return element("div", lists, class_="encoding")


def matrices(findings: list[Finding], look: Looks) -> Html:
    """Trained on x tested on, for every group."""
    shown = [element("div", element("h3", subject(f.group)), *_matrix(f.group, look)) for f in findings]
    first, rest = shown[:MATRICES_SHOWN], shown[MATRICES_SHOWN:]
    more = details(f"{len(rest):,} more", rest) if rest else None
    notes = [element("p", said, class_="note") for said in (NAMES, INTERVALS)]
    everything = element("button", "Copy or save all figures…", type="button", class_="take all", hidden=True)
    return section("matrix", "Trained on, tested on", everything, first, more, notes)


def _matrix(group: Group, look: Looks) -> list[Html | None]:
    header, *rows = rendering.matrix_rows(group, intervals=True)
    reference = group.accuracies.get((group.baseline, "dense"))
    away = [abs(a.mean - reference.mean) for a in group.accuracies.values()] if reference else []
    reach = max(away, default=0.0)
    lines: list[list[Any]] = [header]
    for row in rows:
        cells: list[Any] = []
        for name, text in zip(header, row, strict=True):
            accuracy = group.accuracies.get((row[0], name.removeprefix("on "))) if name.startswith("on ") else None
            shade = None
            if accuracy is not None and reference is not None and reach:
                by = accuracy.mean - reference.mean
                shade = f"heat {'above' if by > 0 else 'below'} h{round(abs(by) / reach * LEVELS)}"
            cells.append(stacked(text, shade) if accuracy is not None else text)
        lines.append(cells)
    brackets = named(group.accuracies.values())
    caption = f"Trained on (rows), tested on (columns): {rendering.legend([group])} [{brackets}]"
    shown = table(caption, lines, class_="numbers")
    key = _heat_key(group.baseline, reach) if reference and reach else None
    parts = element("div", shown, key, bullets(footnotes(group)))
    return [element("div", parts, page_figures.accuracy_figure(group, look), class_="beside wider")]


def _heat_key(baseline: str, reach: float) -> Html:
    swatches = element("i", class_="swatch heat below h10"), element("i", class_="swatch heat above h10")
    words = f" below or above {baseline} on dense, the full shade at {reach:.2f} points"
    return element("p", *swatches, words, class_="note")


def stacked(text: str, class_: str | None = None) -> Html:
    """A cell whose spread and interval stand below its value: `89.30 ± 0.40 (3) [88.95, 89.70]`."""
    value, space, rest = text.partition(" ")
    if not rest.startswith(("±", "[")):
        return element("td", text, class_=class_)
    spread, bracket, interval = rest.partition("[")
    lines = [element("small", line.strip()) for line in (spread, f"{bracket}{interval}") if line]
    return element("td", value, *([space, line] for line in lines), class_=class_)


def badge(text: str, label: str) -> Html:
    return element("span", text, class_=f"badge {SETTLED.get(label, 'open')}")


def label_of(named: NamedVerdict) -> str:
    return "none" if named.verdict is None else named.verdict.label


def grouped(pairs: Iterable[tuple[Hashable, str]]) -> dict[Any, list[str]]:
    """The names of each key."""
    found: dict[Any, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return found
