"""What makes a comparison of runs with fewer weights doubtful: rows whose runs differ, controls that had less."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_tickets.train.report.analysis import notices
from vit_tickets.train.report.analysis.results import RunResult
from vit_tickets.train.report.analysis.weights.rows import REINIT, SHUFFLED

# Entries `weights` of config.json that a row does not name, and that its seeds should share.
OF_ROW = (
    *("allocation", "rounds", "update_every", "head_sparsity", "neuron_sparsity", "unit_multiple"),
    *("start_epoch", "rewind_epoch"),
)


def doubts(cells: Mapping[tuple[str, str], Sequence[RunResult]]) -> list[str]:
    """Sentences on the runs of each (row, label of the level), whose results are averaged, and on its controls."""
    unlike = [sentence for cell, runs in cells.items() for sentence in _unlike(_title(cell), runs)]
    return [*unlike, *(sentence for cell in cells for sentence in _shorter(cell, cells))]


def _title(cell: tuple[str, str]) -> str:
    row, label = cell
    return f"{row} at {label}" if label else row


def _unlike(title: str, runs: Sequence[RunResult]) -> list[str]:
    found: dict[str, dict[Any, list[str]]] = {}
    for run in runs:
        values = {name: getattr(run.config.weights, name, None) for name in OF_ROW}
        values |= {"epochs": run.epochs, "initial weights": "random" if run.config.init is None else "--init"}
        for name, value in values.items():
            found.setdefault(name, {}).setdefault(value, []).append(run.name)
    differing = {name: of for name, of in found.items() if len(of) > 1}
    shown = {
        name: ", ".join(f"{value} ({notices.listed(of[value])})" for value in of) for name, of in differing.items()
    }
    return [f"the runs of {title} differ in {name}: {values}" for name, values in shown.items()]


def _shorter(cell: tuple[str, str], cells: Mapping[tuple[str, str], Sequence[RunResult]]) -> list[str]:
    """A control that was trained for fewer epochs than its ticket makes that look better."""
    row, label = cell
    ticket, _, control = row.rpartition(":")
    if control not in (REINIT, SHUFFLED) or (ticket, label) not in cells:
        return []
    own, of_ticket = ([run.epochs for run in cells[each] if run.epochs] for each in (cell, (ticket, label)))
    if not own or not of_ticket or min(own) >= max(of_ticket):
        return []
    longest = notices.counted(max(of_ticket), "epoch")
    return [f"{_title(cell)} was trained for {notices.counted(min(own), 'epoch')}, {ticket} for {longest}: it had less"]
