"""The report of a sweep, as Markdown, as JSON, as a picture and as text: all groups of runs that there are."""

from collections.abc import Iterable

from vit_tickets.pipeline.runs.paths import columns
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report import report
from vit_tickets.train.report.analysis.comparison import Group, group_runs
from vit_tickets.train.report.analysis.contrasts.findings import Finding, NamedVerdict, find
from vit_tickets.train.report.analysis.joint.found import FewerWeights
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.page import page
from vit_tickets.train.report.page.class_names import ClassNames
from vit_tickets.train.report.rendering import figure
from vit_tickets.train.report.rendering import joint as of_joint
from vit_tickets.train.report.rendering import text as rendering
from vit_tickets.train.report.rendering.text import legend, verdict_label, verdict_reasons
from vit_tickets.train.report.rendering.words.columns import Rows, accuracy_text, aligned, table
from vit_tickets.train.report.rendering.words.contrasts import against_rows, morals, null_rows
from vit_tickets.train.report.rendering.words.frontier import cost_tables, marks_of
from vit_tickets.train.report.rendering.words.overall import overall, paragraphs

FORMAT_VERSION = 1
REPORT, RECORD, PICTURE, PAGE = "sweep.md", "sweep.json", "sweep.png", "sweep.html"


def compare(folders: Iterable[list[str]]) -> tuple[list[Finding], list[str]]:
    """Compare each list of run folders, those of one model at one budget; with a sentence per list that cannot be."""
    findings, refused = [], []
    for compared in folders:
        try:
            findings += [find(group) for group in group_runs([read_run(folder) for folder in compared])]
        except UserError as error:
            refused.append(f"not compared: {error}")
    return findings, refused


def write(
    out: str,
    dataset: str,
    findings: list[Finding],
    lacking: list[str],
    total: int,
    done: int,
    html: bool = False,
    command: str = "",
    classes: ClassNames | None = None,
    fewer: FewerWeights | None = None,
) -> str:
    """Write OUT/sweep.md, .json, .csv and .tex and, with matplotlib, .png; returns the text for the terminal.

    Args:
        out: folder of the sweep.
        dataset: its name.
        findings: of every group.
        lacking: sentences on what failed or was left out.
        total: number of trainings.
        done: number of finished trainings.
        html: whether to write sweep.html, too.
        command: that makes it.
        classes: what sweep.html calls classes; a note says so if they do not fit.
        fewer: what is found of runs with fewer weights, where the sweep has some.
    """
    fewer = fewer or FewerWeights()
    notes = figure.drawn(findings, files.join(out, PICTURE)) if findings else []
    picture = PICTURE if findings and not notes else None
    classes, unfit = page.fitting(findings, classes)
    notes += unfit
    state = f"{done} of {total} trainings done"
    with files.atomic_write(files.join(out, REPORT)) as stream:
        stream.write(_markdown(dataset, findings, lacking, state, picture, fewer).encode())
    record = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "trainings": {"done": done, "total": total},
        "headline": overall(findings),
        "groups": [report.record(finding) for finding in findings],
        **report.fewer_records(fewer),
        "tradeoffs": report.tradeoff_records(findings),
        "lacking": lacking,
        "notes": notes,
    }
    report.write_tables(out, "sweep", findings)
    files.write_json(files.join(out, RECORD), record)
    if html:
        heading = f"Sweep of {dataset}: {state}"
        page.write(files.join(out, PAGE), heading, findings, record, command, classes=classes, weights=fewer.weights)
    lines = [*paragraphs(findings), ""] if findings else []
    for heading, costs in cost_tables(findings):
        lines += [heading, *aligned(costs), f"({marks_of(findings)})", ""]
    lines += [*aligned(rows(findings)), f"({_legend(findings)})", ""] if findings else []
    for finding in findings:
        for verdict in finding.verdicts:
            lines += [_verdict_line(finding, verdict), *(f"  - {reason}" for reason in verdict_reasons(verdict))]
        if len(against := null_rows(finding)) > 1:
            lines.append(f"{finding.group.model}, {_budget(finding.group)}, null hypotheses, {against_rows(finding)}:")
            lines += [*(f"  {line}" for line in aligned(against)), *(f"  - {moral}" for moral in morals(finding))]
        lines += [f"  warning: {sentence}" for sentence in finding.group.warnings]
    for found in fewer.joint:
        lines += ["", of_joint.text(found)]
    lines += ["", of_joint.agreement_text(fewer.agreement)] if fewer.agreement else []
    lines += [f"lacking: {sentence}" for sentence in lacking] + [f"note: {note}" for note in notes]
    written = f"report: {files.join(out, REPORT)}" + (f"; page: {files.join(out, PAGE)}" if html else "")
    return "\n".join([*lines, f"{state}; {written}"])


def rows(findings: list[Finding]) -> Rows:
    """Model, budget and path by what it was tested on, with a header; a dash if there are no predictions."""
    tested_on = columns(on for finding in findings for _, on in finding.group.accuracies)
    shown = [["model", "budget", "patches", "trained on", *(f"on {on}" for on in tested_on), "runs"]]
    for finding in findings:
        group = finding.group
        for path in dict.fromkeys(path for path, _ in group.accuracies):
            cells = [accuracy_text(group.accuracies.get((path, on))) for on in tested_on]
            count = max(len(correct_Sn) for (trained, _), correct_Sn in group.matrix.items() if trained == path)
            shown.append([group.model, _budget(group), group.patches, path, *cells, str(count)])
    return shown


def _legend(findings: list[Finding]) -> str:
    return legend([finding.group for finding in findings])


def _budget(group: Group) -> str:
    return str(group.budget) if group.budget else "-"


def _verdict_line(finding: Finding, verdict: NamedVerdict) -> str:
    return f"{finding.group.model}, {_budget(finding.group)}, {verdict.name}: {verdict_label(verdict)}"


def _markdown(
    dataset: str, findings: list[Finding], lacking: list[str], state: str, picture: str | None, fewer: FewerWeights
) -> str:
    lines = [f"# Sweep of {dataset}", "", *([f"**{said}**", ""] if (said := overall(findings)) else [])]
    lines += [f"{state[0].upper()}{state[1:]}.", ""]
    if picture:
        lines += [f"![Accuracy against sparsity, with 95% bands]({picture})", ""]
    lines += [*table(rows(findings)), "", f"{_legend(findings)}.", ""]
    for finding in findings:
        lines += [f"- {_verdict_line(finding, verdict)}" for verdict in finding.verdicts]
    if lacking:
        lines += ["", "## Lacking", "", *(f"- {sentence}" for sentence in lacking)]
    lines += [line for found in fewer.joint for line in ("", *of_joint.section(found))]
    return "\n".join([*lines, "", rendering.markdown(findings, [], None, fewer.weights, fewer.agreement)])
