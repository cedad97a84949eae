"""Rows of cells as columns of the terminal, as a Markdown table; accuracies as text."""

from vit_tickets.train.report.analysis.bootstrap import Accuracy
from vit_tickets.train.report.rendering.words.bounds import brackets

Rows = list[list[str]]


def aligned(rows: Rows) -> list[str]:
    """Columns padded to their widest entry, two spaces between them."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def table(rows: Rows) -> list[str]:
    """A Markdown table; the first row is its header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]]


def accuracy_text(accuracy: Accuracy | None, interval: bool = False) -> str:
    """`89.30 ± 0.40 (3)`, with its interval in brackets if asked for and there is one; a dash for None."""
    if accuracy is None:
        return "-"
    spread = "" if accuracy.sd is None else f" ± {accuracy.sd:.2f} ({accuracy.seeds})"
    return f"{accuracy.mean:.2f}{spread}" + (brackets(accuracy, accuracy.low, accuracy.high) if interval else "")
