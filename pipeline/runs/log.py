"""The log of a run, one line per epoch in metrics.jsonl, read back."""

import json
from typing import Any

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import fields_fault

METRICS = "metrics.jsonl"
NUMBERS: dict[str, type] = dict.fromkeys(("epoch", "step", "loss", "lr", "seconds", "val_top1", "holdout_top1"), float)


def read_log(run: str) -> list[dict[str, Any]]:
    """Lines of RUN/metrics.jsonl in order of epochs, the last of each epoch (a resumed run may repeat one).

    Empty without the file. A last line that was cut off is left out; raises UserError for any other malformed one.
    """
    path = files.join(run, METRICS)
    if not files.exists(path):
        return []
    *whole, rest = files.read_bytes(path).split(b"\n")
    lines = {}
    for number, text in enumerate([*whole, rest], start=1):
        fault = None
        try:
            line = json.loads(text) if text.strip() else None
            if line is not None:
                lines[int(line["epoch"])] = line
                fault = fields_fault(line, NUMBERS)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            if number <= len(whole):
                raise UserError(f"{path}, line {number}: expected a JSON object with an epoch") from None
        if fault:
            raise UserError(f"{path}, line {number}: {fault}")
    return [lines[epoch] for epoch in sorted(lines)]


def seconds_of(runs: list[str]) -> float | None:
    """Sum of the `training_seconds` of runs, by their folders; None where there is no run, or no log of one."""
    seconds = [training_seconds(read_log(run)) for run in runs]
    return _sum(seconds)


def training_seconds(epochs_log: list[dict[str, Any]]) -> float | None:
    """Sum of the epochs' `seconds`; None where an epoch has none, or there are no epochs."""
    return _sum([line.get("seconds") for line in epochs_log])


def _sum(seconds: list[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return float(sum(known)) if known and len(known) == len(seconds) else None
