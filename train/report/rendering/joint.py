"""Weights x patches in words and tables: one line for every cell, the verdicts, how far weight tickets agree."""

from collections.abc import Sequence
from typing import Any

from vit_tickets.train.report.analysis.bootstrap import Contrast
from vit_tickets.train.report.analysis.joint.agreement import ALL, Agreement
from vit_tickets.train.report.analysis.joint.grid import REFERENCE, JointFinding, JointRow
from vit_tickets.train.report.analysis.joint.sums import LABELS, MARGIN, Interaction
from vit_tickets.train.report.analysis.weights.rows import DENSE
from vit_tickets.train.report.rendering.words.bounds import BOUNDS, brackets, named
from vit_tickets.train.report.rendering.words.columns import Rows, accuracy_text, aligned, table
from vit_tickets.train.report.rendering.words.contrasts import bounded_text
from vit_tickets.train.report.rendering.words.verdicts import verdict_label, verdict_reasons

QUESTIONS = {"patches": "on patches", "weights": "on weights", "both": "on both"}
HEADER = (
    *("patches", "weights", "dropped", "counted", "executed", "top-1, own input", "whole images", "minus dense"),
    *("minus rc", "minus RR or static", "beyond the sum", "verdict"),
)
ABOUT = (
    "Counted are the multiply-adds of an image in which dead weights cost nothing, executed those of the network as it "
    "was trained. Minus dense is on its own input, minus all weights on whole images. Minus rc is beside random "
    "subsets with the same weights, both on tickets; minus RR or static beside the ticket's mask on other weights, of "
    "other methods beside random masks. Beyond the sum is what both lose together, minus what weights and patches lose "
    f"alone: {LABELS['add']} where its bounds are within {MARGIN:g} points of 0; above 0, {LABELS['less']}."
)
ABOUT_MASKS = (
    "IoU of the weights that two tickets keep: those in both by those in either. By chance is of random masks that "
    "keep as many of each layer, (1 - s) / (1 + s) where both drop the share s of it."
)


def title(finding: JointFinding) -> str:
    group = finding.group
    about = ", ".join(filter(None, [group.dataset, group.model, group.budget]))
    return f"{about}: weights x patches, {group.images:,} images"


def rows(finding: JointFinding) -> Rows:
    """A line for every cell, with a header; columns that hold dashes alone are left out."""
    shown = [list(HEADER), *(_line(row) for row in finding.rows)]
    kept = [at for at in range(len(HEADER)) if any(line[at] != "-" for line in shown[1:])]
    return [[line[at] for at in kept] for line in shown]


def _line(row: JointRow) -> list[str]:
    patches, weights, level = row.cell
    return [
        patches,
        "all" if weights == DENSE else weights,
        level or "-",
        "-" if row.counted is None else f"{row.counted:,.0f}",
        "-" if row.executed is None else f"{row.executed:,.0f}",
        accuracy_text(row.own),
        accuracy_text(row.whole),
        _difference(row.minus_dense),
        _difference(row.nulls.get("patches")),
        _difference(row.nulls.get("weights")),
        "-" if row.adds is None else adds_text(row.adds),
        "-" if row.named is None else label(row),
    ]


def _difference(found: Contrast | None) -> str:
    return "-" if found is None else bounded_text(found)


def adds_text(found: Interaction) -> str:
    """`-0.10 [-0.30, +0.10] the losses add`; of one seed the difference alone."""
    return f"{found.estimate:+.2f}{brackets(found, found.lower, found.upper)} {LABELS[found.label]}".rstrip()


def label(row: JointRow) -> str:
    """`wins, on both`, `inconclusive, on weights`; of one seed `level with dense in these runs, on patches`."""
    if row.named is None:
        return ""
    return f"{verdict_label(row.named).removeprefix('LT ')}, {QUESTIONS[row.wins_on]}"


def bounds(finding: JointFinding) -> str:
    """What the figures in brackets are."""
    shown = [of for row in finding.rows for of in (row.minus_dense, *row.nulls.values(), row.adds) if of]
    return f"top-1 %, mean ± standard deviation over seeds (their number); points [{named(shown, BOUNDS)}]"


def text(finding: JointFinding) -> str:
    """For the terminal."""
    lines = [title(finding), *aligned(rows(finding)), f"({bounds(finding)})"]
    for row in finding.rows:
        if row.named:
            lines += [f"{row.named.name}: {label(row)}", *(f"  - {said}" for said in verdict_reasons(row.named))]
    return "\n".join(lines)


def section(finding: JointFinding) -> list[str]:
    """In report.md."""
    said = bounds(finding)
    lines = [f"## {title(finding)}", "", f"{said[0].upper()}{said[1:]}. {ABOUT}", "", *table(rows(finding)), ""]
    for row in finding.rows:
        if row.named:
            lines += [f"### {row.named.name}: {label(row)}", ""]
            lines += [*(f"- {reason}" for reason in verdict_reasons(row.named)), ""]
    return lines


def record(finding: JointFinding) -> dict[str, Any]:
    """All numbers, for JSON; its dataclasses are still to be taken apart."""
    group = finding.group
    shown = [
        {
            "patches": row.cell[0],
            "weights": None if row.cell[1] == DENSE else row.cell[1],
            "level": row.cell[2] or None,
            "macs": {"counted": row.counted, "executed": row.executed},
            "own_input": row.own,
            "whole_images": row.whole,
            "minus_dense": row.minus_dense,
            "minus_null": row.nulls,
            "beyond_the_sum": row.adds,
            "losses": row.adds and row.adds.label,
            "verdict_on": row.wins_on or None,
            "verdict": row.named,
            "is_reference": row.cell == REFERENCE,
        }
        for row in finding.rows
    ]
    about = {"dataset": group.dataset, "model": group.model, "budget": group.budget}
    return about | {"images": group.images, "rows": shown}


def agreement_rows(found: Sequence[Agreement], layers: bool) -> Rows:
    """A line for every pair of ways to find a ticket, with a header; with `layers` one for every layer."""
    several = len({(of.dataset, of.model) for of in found}) > 1
    shown = [["level", "tickets of", "pairs", *(["layer"] if layers else []), "IoU", "by chance"]]
    for of in found:
        name = ", ".join([*([of.dataset, of.model] if several else []), of.level])
        for layer, overlap in of.layers.items():
            if layers or layer == ALL:
                numbers = [f"{overlap.iou:.3f}", f"{overlap.chance:.3f}"]
                shown.append([name, of.between, str(of.pairs), *([layer] if layers else []), *numbers])
    return shown


def agreement_text(found: Sequence[Agreement]) -> str:
    """For the terminal, without single layers."""
    return "\n".join(["weight tickets found on different patches:", *aligned(agreement_rows(found, layers=False))])


def agreement_section(found: Sequence[Agreement]) -> list[str]:
    """In report.md, with every layer."""
    heading = "## Weight tickets found on different patches"
    return [heading, "", ABOUT_MASKS, "", *table(agreement_rows(found, layers=True)), ""]
