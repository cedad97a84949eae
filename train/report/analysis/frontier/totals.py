"""What one training of a row takes: multiply-adds and measured seconds, means over its runs."""

from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.results import RunResult


def macs_of(run: RunResult) -> int | None:
    """Multiply-adds of all training steps of a finished run; None where an epoch has none, as in older runs."""
    counts = [line.get("macs") for line in run.epochs_log]
    known = [count for count in counts if count is not None]
    return sum(known) if run.finished and known and len(known) == len(counts) else None


def seconds_of(run: RunResult) -> float | None:
    """Measured seconds of all its epochs, validation included; None for an unfinished run."""
    return run.seconds


def macs_of_row(group: Group, row: str) -> float | None:
    """Multiply-adds of one training of `row`, the mean of its runs; None if those of any are unknown."""
    return _mean([macs_of(run) for run in group.of(row)])


def seconds_of_row(group: Group, row: str) -> float | None:
    """Measured seconds of one training of `row`, the mean of its runs; None if those of any are unknown."""
    return _mean([seconds_of(run) for run in group.of(row)])


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
