"""The report as Markdown and as text for the terminal: the same findings, the same words."""

from vit_tickets.train.bootstrap import Accuracy
from vit_tickets.train.comparison import Group
from vit_tickets.train.costs import cost_rows
from vit_tickets.train.findings import Finding, NamedVerdict, NullHypothesis
from vit_tickets.train.results import ON

Rows = list[list[str]]

LEGEND = "top-1 %, mean ± standard deviation (seeds)"
COST = "measured wall-clock seconds on the runs' own hardware"


def text(findings: list[Finding], left_out: list[str]) -> str:
    """Compact and aligned, for the terminal. left_out: sentences on runs that are not compared."""
    parts = []
    for finding in findings:
        group = finding.group
        lines = [title(group), *aligned(matrix_rows(group, intervals=False)), f"({LEGEND})", ""]
        for verdict in finding.verdicts:
            lines += [
                f"{verdict.name}: {verdict_label(verdict)}",
                *(f"  - {line}" for line in verdict_reasons(verdict)),
            ]
        if finding.small:
            lines += [f"null hypothesis small: {_against(finding.small)}", f"  - {finding.small.sentence}"]
        if costs := cost_rows(group, finding.cost):
            lines += [f"cost, {COST}:", *(f"  {line}" for line in aligned([list(row) for row in costs]))]
        lines += [f"missing: {sentence}" for sentence in group.missing]
        lines += [f"warning: {sentence}" for sentence in group.warnings]
        parts.append("\n".join(lines))
    if left_out:
        parts.append(f"left out: {'; '.join(left_out)}")
    return "\n\n".join(parts) + "\n"


def markdown(findings: list[Finding], left_out: list[str], figure: str | None) -> str:
    """report.md; `figure` is the picture beside it, None without one."""
    lines = ["# Tickets: the runs compared", ""]
    if figure:
        lines += [f"![Accuracy of each path, with 95% intervals]({figure})", ""]
    for finding in findings:
        lines += _section(finding)
    if left_out:
        lines += ["## Left out", "", *(f"- {sentence}" for sentence in left_out), ""]
    return "\n".join(lines)


def _section(finding: Finding) -> list[str]:
    group = finding.group
    lines = [f"## {title(group)}", "", f"{LEGEND} [two-sided 95% interval]. Rows: trained on; columns: tested on.", ""]
    lines += [*table(matrix_rows(group, intervals=True)), ""]
    if group.tickets:
        lines += [f"Tickets of {group.tickets.get('selector')}, {_digest(group.tickets.get('weights_sha256'))}.", ""]
    for verdict in finding.verdicts:
        name = verdict.name[0].upper() + verdict.name[1:]
        lines += [f"### {name}: {verdict_label(verdict)}", "", *(f"- {line}" for line in verdict_reasons(verdict)), ""]
    if finding.small:
        lines += [f"### Null hypothesis `small`: {_against(finding.small)}", "", f"{finding.small.sentence}.", ""]
    if costs := cost_rows(group, finding.cost):
        lines += ["### Cost", "", f"As {COST}, validation included.", ""]
        lines += [*table([["what", "how much"], *(list(row) for row in costs)]), ""]
    lines += ["### Runs", "", *table(run_rows(group)), ""]
    for heading, sentences in (("Missing", group.missing), ("Warnings", group.warnings)):
        if sentences:
            lines += [f"### {heading}", "", *(f"- {sentence}" for sentence in sentences), ""]
    return lines


def title(group: Group) -> str:
    """`digits, deit_micro, sparsity 0.75, 9 of 36 patches; 360 images of val, view center, 0 left out for errors`."""
    parts = [group.dataset, group.model]
    if group.budget:
        parts.append(str(group.budget))
    if group.kept:
        parts.append(f"{group.kept[0]} of {group.kept[1]} patches")
    if group.read_off:
        parts.append("read off the ranks of a manifest for another budget")
    if not group.can_drop_patches:
        parts.append("dropped patches set to zero")
    if group.reference is None:
        return f"{', '.join(parts)}; no predictions"
    shared = group.reference.metadata
    images = f"{group.images:,} images of {shared.get('split')}, view {shared.get('view')}"
    return f"{', '.join(parts)}; {images}, {group.errors:,} left out for errors"


def matrix_rows(group: Group, intervals: bool) -> Rows:
    """Trained on (rows) x tested on (columns), with a header; a dash where there are no predictions."""
    rows = [["trained on", *(f"on {on}" for on in ON), "runs", "epochs"]]
    for path in group.rows:
        runs = group.of(path)
        cells = (group.accuracies.get((path, on)) for on in ON)
        epochs = "/".join(dict.fromkeys("?" if run.epochs is None else str(run.epochs) for run in runs))
        rows.append([path, *(accuracy_text(cell, intervals) for cell in cells), str(len(runs)), epochs])
    return rows


def run_rows(group: Group) -> Rows:
    """What each run was, with a header."""
    rows = [["run", "path", "seed", "mask seed", "epochs", "settings", "seconds", "hardware"]]
    for run in group.runs:
        values = (run.seed, run.config.get("mask_seed"), run.epochs, run.recipe_hash)
        seconds = "-" if run.seconds is None else f"{run.seconds:,.1f}"
        shown = ("-" if value is None else str(value) for value in values)
        rows.append([run.folder, run.path, *shown, seconds, str(run.config.get("hardware") or "-")])
    return rows


def aligned(rows: Rows) -> list[str]:
    """Columns padded to their widest entry, two spaces between them."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def table(rows: Rows) -> list[str]:
    """A Markdown table; the first row is its header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def accuracy_text(accuracy: Accuracy | None, interval: bool = False) -> str:
    """`89.30 ± 0.40 (3)`, with its interval in brackets if asked for; a dash for None."""
    if accuracy is None:
        return "-"
    spread = "" if accuracy.sd is None else f" ± {accuracy.sd:.2f} ({accuracy.seeds})"
    return f"{accuracy.mean:.2f}{spread}" + (f" [{accuracy.low:.2f}, {accuracy.high:.2f}]" if interval else "")


def verdict_label(verdict: NamedVerdict) -> str:
    """`LT wins`, `LT loses`, `inconclusive` or `none yet`."""
    if verdict.verdict is None:
        return "none yet"
    return verdict.verdict.label if verdict.verdict.label == "inconclusive" else f"LT {verdict.verdict.label}"


def _against(small: NullHypothesis) -> str:
    return small.label if small.label == "inconclusive" else f"LT {small.label} it"


def verdict_reasons(verdict: NamedVerdict) -> list[str]:
    """Sentences: why the verdict is what it is and what it speaks of, or what is lacking."""
    return [verdict.lacking] if verdict.verdict is None else [*verdict.verdict.reasons, verdict.verdict.scope]


def _digest(weights_sha256: str | None) -> str:
    return f"weights {weights_sha256[:12]}" if weights_sha256 else "weights unknown"
