"""Groups of runs with fewer weights in report.md and in the terminal."""

from vit_tickets.train.report.analysis.contrasts.of_weights import WeightFinding
from vit_tickets.train.report.rendering.weights import growth, rounds
from vit_tickets.train.report.rendering.weights.tables import cell_rows, null_rows, verdict_rows
from vit_tickets.train.report.rendering.weights.words import bounds, footnotes, legend, questions, title
from vit_tickets.train.report.rendering.words.columns import aligned, table
from vit_tickets.train.report.rendering.words.verdicts import verdict_label, verdict_reasons


def text(finding: WeightFinding) -> str:
    """One group, for the terminal."""
    group = finding.group
    lines = [title(group)]
    if rows := rounds.round_rows(group):
        lines += [f"{rounds.HEADING.lower()}, {rounds.CAPTION}:", *(f"  {line}" for line in aligned(rows)), ""]
    lines += [*aligned(cell_rows(finding, intervals=False)), f"({legend(finding)})"]
    lines += [*(f"({sentence})" for sentence in footnotes(finding)), ""]
    if finding.tickets:
        lines += [
            f"{questions(finding)}; {bounds(finding)}:",
            *(f"  {line}" for line in aligned(verdict_rows(finding))),
        ]
    for ticket in finding.tickets:
        named = ticket.named
        reasons = verdict_reasons(named)
        lines += [f"{named.name}: {verdict_label(named)}", *(f"  - {line}" for line in reasons)]
    if len(rows := null_rows(finding)) > 1:
        lines += [f"null hypotheses, {bounds(finding)}:", *(f"  {line}" for line in aligned(rows))]
    if finding.growth:
        lines += [f"{growth.HEADING}, {growth.caption(finding)}:"]
        lines += [f"  {line}" for line in aligned(growth.growth_rows(finding))]
    lines += [f"missing: {sentence}" for sentence in group.missing]
    lines += [f"warning: {sentence}" for sentence in group.warnings]
    return "\n".join(lines)


def section(finding: WeightFinding) -> list[str]:
    """One group, in report.md."""
    group = finding.group
    lines = [f"## {title(group)}", ""]
    if rows := rounds.round_rows(group):
        lines += [f"### {rounds.HEADING}", "", f"{sentence_case(rounds.CAPTION)}.", "", *table(rows), ""]
        lines += ["### Rows", ""]
    lines += [f"{sentence_case(legend(finding))}.", ""]
    lines += [*table(cell_rows(finding, intervals=True)), "", *(f"- {said}" for said in footnotes(finding)), ""]
    if finding.tickets:
        lines += [
            "### Verdicts",
            "",
            f"{questions(finding)}; {bounds(finding)}.",
            "",
            *table(verdict_rows(finding)),
            "",
        ]
    for ticket in finding.tickets:
        reasons = verdict_reasons(ticket.named)
        lines += [
            f"#### {ticket.named.name}: {verdict_label(ticket.named)}",
            "",
            *(f"- {line}" for line in reasons),
            "",
        ]
    if len(rows := null_rows(finding)) > 1:
        lines += ["### The ticket against simpler rows", "", f"{sentence_case(bounds(finding))}.", "", *table(rows), ""]
        lines += [
            f"- `{null.name}`, {ticket.named.name}: {null.sentence}."
            for ticket in finding.tickets
            for null in ticket.nulls
        ]
        lines.append("")
    if finding.growth:
        lines += [f"### {growth.HEADING}", "", f"{sentence_case(growth.caption(finding))}.", ""]
        lines += [*table(growth.growth_rows(finding)), ""]
        lines += [*(f"- {said}." for said in growth.sentences(finding)), ""]
    lines += ["### Runs", "", *table(run_rows(finding)), ""]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            lines += [f"### {heading}", "", *(f"- {sentence}" for sentence in sentences), ""]
    return lines


def run_rows(finding: WeightFinding) -> list[list[str]]:
    """What each run was, with a header."""
    rows = [["run", "row", "seed", "epochs", "from epoch", "mask", "seconds", "hardware"]]
    for run in finding.group.runs:
        weights = run.config.weights
        mask = (weights.masks_sha256 or "")[:12] if weights else ""
        shown = [run.seed, run.epochs, weights.start_epoch if weights else 0, mask or None]
        seconds = "-" if run.seconds is None else f"{run.seconds:,.1f}"
        cells = ("-" if value is None else str(value) for value in shown)
        rows.append([run.folder, weights.row if weights else run.row, *cells, seconds, str(run.hardware or "-")])
    return rows


def sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]
