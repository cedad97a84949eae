"""The rows that a comparison has by default and this one lacks, and how they are made."""

import shlex

from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS, RowName
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.notices import listed, row_options


def lacking_rows(findings: list[Finding]) -> list[str]:
    """Rows of every comparison that some group with a ticket lacks, in the order of tables.

    Comparisons of several image sizes have rows of their own.
    """
    groups = [finding.group for finding in findings if finding.group.of(finding.group.ticket)]
    groups = [group for group in groups if not any(RowName.parse(row).size for row in group.rows)]
    return [row for row in DEFAULT_ROWS if any(row not in _present(group.rows) for group in groups)]


def lacking_sentence(findings: list[Finding]) -> str | None:
    """`not compared with rc:fresh, small and short, ...: train them like these runs, with --path rc --rc fresh, ...`.

    None where nothing is lacking. Once for all groups.
    """
    rows = lacking_rows(findings)
    if not rows:
        return None
    options = "; ".join(f"`{shlex.join(row_options(row))}`" for row in rows)
    return (
        f"not compared with {listed(rows)}, as comparisons are by default: `vit-tickets sweep` makes all rows, "
        f"`vit-tickets train` with the options of these runs and {options} makes {'it' if len(rows) == 1 else 'each'}"
    )


def _present(rows: list[str]) -> set[str]:
    """The rows that are there; plain weights stand in for dense."""
    return {"dense" if row == "weights" else row for row in rows}
