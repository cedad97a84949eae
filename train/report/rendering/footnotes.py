"""Sentences below a matrix on the rows whose names say more than a path."""

from vit_tickets.pipeline.runs.paths import DROPPING
from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.notices import listed

# How random subsets were drawn that are not fixed per image, as `train --rc` has it.
SUBSETS = {
    "fresh": "its random subsets were drawn anew in every step",
    "aligned": "its random subsets went through every crop like a ticket",
}


def footnotes(group: Group) -> list[str]:
    """Sentences on the rows whose names say more than a path."""
    others = {run.row: run.method for run in group.runs if run.path in DROPPING and run.method != group.method}
    notes = []
    if others:
        found = f"method {next(iter(others.values()))} found" if len(others) == 1 else "the methods so named found"
        notes = [f"{', '.join(others)}: tickets that {found}, other than those of the other rows; on lt means these"]
    notes += _sizes(group)
    modes = {run.row: run.config.rc for run in group.runs if run.path == "rc"}
    return notes + [f"{row}: {SUBSETS[mode]}" for row, mode in modes.items() if mode in SUBSETS]


def _sizes(group: Group) -> list[str]:
    patches = {run.size: run.config.num_patches for run in group.runs if run.size}
    if not patches or not group.base_size:
        return []
    rows, counts = (
        listed([f"@{size}" for size in sorted(patches)]),
        listed([str(patches[size]) for size in sorted(patches)]),
    )
    kept = f"; of {counts} patches, tickets and random subsets keep {group.kept[0]}" if group.kept else ""
    return [f"{rows}: trained and tested at so many pixels a side, the other rows at {group.base_size}{kept}"]
