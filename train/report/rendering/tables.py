"""The results as CSV, LaTeX and Markdown, to copy into another program or a paper."""

import csv
import io
from collections.abc import Iterator

from vit_tickets.train.report.analysis.bootstrap import Accuracy
from vit_tickets.train.report.analysis.comparison import Cell, Group
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.costs import macs_of_row, seconds_of_row

# Of report.csv, one line per row, column and budget; accuracies in percent, an empty field for what is not known.
FIELDS = (
    *("dataset", "model", "budget", "patches_kept", "patches", "trained_on", "tested_on", "top1", "low", "high", "sd"),
    *("seeds", "images", "epochs", "macs", "macs_of_dense", "seconds"),
)
HEADER = ("Trained on", "Patches", "Whole images", "Own input", "Mult-adds", "Seeds")
_ESCAPED = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "\\": "\\textbackslash{}",
}


def csv_text(findings: list[Finding]) -> str:
    """report.csv: the accuracy of every cell, with its two-sided 95% interval if it has one, and mean cost of a run."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for finding in findings:
        group = finding.group
        for cell, accuracy in group.accuracies.items():
            writer.writerow(_fields(group, cell, accuracy))
    return stream.getvalue()


def _fields(group: Group, cell: Cell, accuracy: Accuracy) -> dict[str, object]:
    row, on = cell
    runs = group.scored[cell]
    kept, patches = {(run.config.kept, run.config.num_patches) for run in runs}.pop() if runs else (None, None)
    epochs = {run.epochs for run in runs}
    macs, dense = macs_of_row(group, row), macs_of_row(group, "dense")
    return {
        "dataset": group.dataset,
        "model": group.model,
        "budget": group.budget.label if group.budget else "",
        "patches_kept": kept,
        "patches": patches,
        "trained_on": row,
        "tested_on": on,
        "top1": f"{accuracy.mean:.4f}",
        "low": "" if accuracy.unbounded else f"{accuracy.low:.4f}",
        "high": "" if accuracy.unbounded else f"{accuracy.high:.4f}",
        "sd": "" if accuracy.sd is None else f"{accuracy.sd:.4f}",
        "seeds": accuracy.seeds,
        "images": group.images,
        "epochs": epochs.pop() if len(epochs) == 1 else "",
        "macs": "" if macs is None else round(macs),
        "macs_of_dense": f"{macs / dense:.4f}" if macs is not None and dense else "",
        "seconds": "" if (seconds := seconds_of_row(group, row)) is None else f"{seconds:.1f}",
    }


def latex_text(findings: list[Finding]) -> str:
    """A `tabular` for booktabs: every row on whole images and on its own input, mean and deviation over seeds."""
    lines = ["% needs \\usepackage{booktabs}; top-1 in percent, mean and standard deviation over seeds"]
    lines += ["\\begin{tabular}{llrrrr}", "\\toprule", " & ".join(HEADER) + " \\\\"]
    for finding in findings:
        lines.append("\\midrule")
        if len(findings) > 1:
            lines.append(f"\\multicolumn{{{len(HEADER)}}}{{l}}{{{_escaped(_name(finding.group))}}} \\\\")
        for row in _lines(finding.group):
            lines.append(" & ".join(_escaped(cell).replace("±", "$\\pm$") for cell in row) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def markdown_text(findings: list[Finding]) -> str:
    """The table of `latex_text` in Markdown, a table for each group."""
    parts = []
    for finding in findings:
        rows = [list(HEADER), ["---"] * len(HEADER), *_lines(finding.group)]
        parts += [_name(finding.group), "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join(parts)


def _lines(group: Group) -> Iterator[list[str]]:
    dense = macs_of_row(group, "dense")
    for row in dict.fromkeys(row for row, _ in group.accuracies):
        config, macs = group.of(row)[0].config, macs_of_row(group, row)
        patches = f"{config.kept} of {config.num_patches}" if config.num_patches else "-"
        cells = [_accuracy(group, cell) for cell in (group.whole(row), group.own(row))]
        share = f"{100 * macs / dense:.0f}%" if macs is not None and dense else "-"
        seeds = max(found.seeds for (trained, _), found in group.accuracies.items() if trained == row)
        yield [row, patches, *cells, share, str(seeds)]


def _accuracy(group: Group, cell: Cell | None) -> str:
    if cell is None:
        return "-"
    found = group.accuracies[cell]
    return f"{found.mean:.1f}" + ("" if found.sd is None else f" ± {found.sd:.1f}")


def _name(group: Group) -> str:
    return ", ".join(str(part) for part in (group.dataset, group.model, group.budget) if part)


def _escaped(text: str) -> str:
    return "".join(_ESCAPED.get(character, character) for character in text)
