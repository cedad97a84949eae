"""The sections of the page on runs with fewer weights."""

from collections.abc import Sequence
from typing import Any

from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.page.markup import Html, bullets, details, element, table
from vit_tickets.train.report.page.opening import badge, label_of, section, sentence_case, stacked
from vit_tickets.train.report.page.weight_charts import sparsity_figures
from vit_tickets.train.report.rendering.weights import growth, rounds
from vit_tickets.train.report.rendering.weights.tables import cell_rows, null_rows, verdict_rows
from vit_tickets.train.report.rendering.weights.text import run_rows
from vit_tickets.train.report.rendering.weights.words import bounds, footnotes, headline, legend, questions, title
from vit_tickets.train.report.rendering.words.verdicts import verdict_label, verdict_reasons


def sections(findings: Sequence[WeightFinding]) -> list[Html]:
    """A section for each group: what was found, every row, the verdicts with their reasons, the runs."""
    return [_section(finding, f"weights-{number}") for number, finding in enumerate(findings, start=1)]


def names(findings: Sequence[WeightFinding]) -> list[tuple[str, str]]:
    """(id, words) of each section, for links to it."""
    several = len(findings) > 1
    return [
        (f"weights-{number}", f"Weights {number}" if several else "Weights") for number in range(1, len(findings) + 1)
    ]


def _section(finding: WeightFinding, name: str) -> Html:
    group = finding.group
    first, *others = headline(finding)
    said = element("p", first, class_="first"), element("p", " ".join(others)) if others else None
    parts: list[Any] = [element("div", element("div", said, class_="card"), class_="cards alone")]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            parts.append(element("div", element("h3", heading), bullets(sentences), class_="notice"))
    if rows := rounds.round_rows(group):
        parts += [element("h3", rounds.HEADING), table(sentence_case(rounds.CAPTION), rows, class_="numbers")]
    header, *lines = cell_rows(finding, intervals=True)
    shown = [[line[0], *map(stacked, line[1:])] for line in lines]
    parts.append(table(sentence_case(legend(finding)), [header, *shown], class_="numbers"))
    parts.append(bullets(footnotes(finding)))
    parts.append(element("div", sparsity_figures(group), class_="figures"))
    if finding.tickets:
        caption = sentence_case(f"{questions(finding)}; {bounds(finding)}")
        parts += [element("h3", "Verdicts"), _stacked(caption, verdict_rows(finding))]
    for ticket in finding.tickets:
        badged = badge(verdict_label(ticket.named), label_of(ticket.named))
        parts += [element("h4", f"{ticket.named.name}: ", badged), bullets(verdict_reasons(ticket.named))]
    rows = null_rows(finding)
    if len(rows) > 1:
        sentences = [
            f"{of.name}, {ticket.named.name}: {of.sentence}." for ticket in finding.tickets for of in ticket.nulls
        ]
        parts += [element("h3", "The ticket against simpler rows"), _stacked(sentence_case(bounds(finding)), rows)]
        parts.append(details("Each in words", bullets(sentences)))
    if finding.growth:
        parts += [element("h3", growth.HEADING)]
        parts += [_stacked(sentence_case(growth.caption(finding)), growth.growth_rows(finding))]
        parts.append(details("Each in words", bullets([f"{said}." for said in growth.sentences(finding)])))
    parts.append(details("Runs", table("What each run was", run_rows(finding), class_="numbers names")))
    return section(name, title(group), *parts)


def _stacked(caption: str, rows: list[list[str]]) -> Html:
    header, *lines = rows
    return table(caption, [header, *([line[0], *map(stacked, line[1:])] for line in lines)], class_="numbers")
