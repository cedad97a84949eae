"""The table as Markdown, as JSON and as text for the terminal: ours beside the paper's."""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.system import files
from vit_tickets.train.report.analysis import paper
from vit_tickets.train.report.analysis.comparison import group_runs
from vit_tickets.train.report.analysis.contrasts.findings import Finding, find
from vit_tickets.train.report.analysis.paper import PaperRow
from vit_tickets.train.report.analysis.results import read_run
from vit_tickets.train.report.rendering.text import (
    accuracy_text,
    aligned,
    legend,
    table,
    verdict_label,
    verdict_reasons,
)

FORMAT_VERSION = 1
TWO_VERDICTS = "two verdicts on models that see dropped patches masked: on whole images, as in the paper / on tickets"


class Figure(NamedTuple):
    """A column of accuracies.

    Attributes:
        heading: the paper's.
        trained_on: row of the matrix.
        tested_on: column of the matrix.
        field: its name in `PaperRow` and table.json.
    """

    heading: str
    trained_on: str
    tested_on: str
    field: str


SUBSETS = {"dense": "all patches", "lt": "tickets", "rc": "random subsets"}
FIGURES = (
    Figure("Pretrain", "dense", "dense", "pretrain"),
    Figure("LT-Sparse", "lt", "lt", "lt_sparse"),
    Figure("LT-Dense", "lt", "dense", "lt_dense"),
    Figure("RC-Dense", "rc", "dense", "rc_dense"),
    Figure("RC-Sparse", "rc", "lt", "rc_sparse"),
)


COLUMNS = "; ".join(
    f"{figure.heading}: trained on {SUBSETS[figure.trained_on]}, tested on {SUBSETS[figure.tested_on]}"
    for figure in FIGURES
)


@dataclass(frozen=True)
class Row:
    """A model at a budget.

    Attributes:
        model: short name.
        budget: of its tickets.
        finding: what the report says about its runs.
        paper: its figures in the paper; None if it has none.
        report: folder of the report.
    """

    model: str
    budget: Budget
    finding: Finding
    paper: PaperRow | None
    report: str

    @property
    def title(self) -> str:
        return f"{self.model}, {self.budget}"


def make_row(model: str, budget: Budget, runs: list[str], report: str) -> Row:
    """The row of a group of run folders; raises UserError if they cannot be compared."""
    (group,) = group_runs([read_run(folder) for folder in runs])
    return Row(group.model, budget, find(group), paper.row_of(model, budget), report)


def write(out: str, dataset: str, rows: list[Row]) -> str:
    """Write OUT/table.md and OUT/table.json; returns the text for the terminal."""
    notes = _notes(rows)
    with files.atomic_write(files.join(out, "table.md")) as stream:
        stream.write(_markdown(dataset, rows, notes).encode())
    record = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "paper": paper.SOURCE,
        "rows": [_record(row) for row in rows],
        "notes": notes,
    }
    files.write_json(files.join(out, "table.json"), record)
    return _text(out, rows, notes)


def cells(rows: list[Row]) -> list[list[str]]:
    """The table with its header; a measured figure is followed by the paper's, if there is one."""
    shown = [["model", "keep rate", "sparsity %", "patches", *(figure.heading for figure in FIGURES), "verdict"]]
    for row in rows:
        group, said = row.finding.group, row.paper
        keep_rate = "-" if row.budget.keep_rate is None else f"{row.budget.keep_rate:g}"
        sparsity = _beside(f"{group.dropped:.1f}", said and said.sparsity)
        figures = [
            _beside(accuracy_text(group.accuracies.get(figure[1:3])), said and getattr(said, figure.field))
            for figure in FIGURES
        ]
        verdicts = " / ".join(verdict_label(verdict) for verdict in row.finding.verdicts)
        shown.append([row.model, keep_rate, sparsity, group.patches, *figures, verdicts])
    return shown


def _beside(ours: str, theirs: float | None) -> str:
    return ours if theirs is None else f"{ours} / {theirs:g}"


def _notes(rows: list[Row]) -> list[str]:
    two = [TWO_VERDICTS] if any(len(row.finding.verdicts) > 1 for row in rows) else []
    theirs = paper.notes([row.model for row in rows]) if any(row.paper for row in rows) else []
    return [legend([row.finding.group for row in rows]), COLUMNS, *two, *theirs]


def _sentences(row: Row) -> list[tuple[str, list[str]]]:
    """(heading, sentences): the reasons of the verdicts, then what is missing, then warnings."""
    finding = row.finding
    parts = [(f"{row.title}, {each.name}: {verdict_label(each)}", verdict_reasons(each)) for each in finding.verdicts]
    for name, sentences in (("missing", finding.group.missing), ("warnings", finding.group.warnings)):
        if sentences:
            parts.append((f"{row.title}, {name}", sentences))
    return parts


def _text(out: str, rows: list[Row], notes: list[str]) -> str:
    lines = [*aligned(cells(rows)), *(f"({note})" for note in notes)]
    for row in rows:
        for heading, sentences in _sentences(row):
            lines += ["", heading, *(f"  - {sentence}" for sentence in sentences)]
    return "\n".join([*lines, "", f"table: {files.join(out, 'table.md')}; a report of each row in {out}/reports"])


def _markdown(dataset: str, rows: list[Row], notes: list[str]) -> str:
    lines = [f"# Tickets on {dataset}", "", *table(cells(rows)), "", *(f"- {note}" for note in notes), ""]
    for row in rows:
        for heading, sentences in _sentences(row):
            lines += [f"## {heading}", "", *(f"- {sentence}" for sentence in sentences), ""]
        lines += [
            f"Its [report](reports/{files.name_of(row.report)}/report.md) has all paths, intervals and costs.",
            "",
        ]
    return "\n".join(lines)


def _record(row: Row) -> dict[str, Any]:
    """All numbers of a row, for table.json; percent and points."""
    group, said = row.finding.group, row.paper
    kept, num_patches = group.kept or (None, None)
    figures = {}
    for figure in FIGURES:
        ours = group.accuracies.get(figure[1:3])
        theirs = said and getattr(said, figure.field)
        figures[figure.field] = {"measured": ours and dataclasses.asdict(ours), "paper": theirs}
    return {
        "model": row.model,
        "budget": row.budget.in_full(),
        "sparsity": {"measured": group.dropped, "paper": said and said.sparsity},
        "kept": kept,
        "num_patches": num_patches,
        "images": group.images,
        "figures": figures,
        "verdicts": [dataclasses.asdict(verdict) for verdict in row.finding.verdicts],
        "missing": group.missing,
        "warnings": group.warnings,
        "report": row.report,
    }
