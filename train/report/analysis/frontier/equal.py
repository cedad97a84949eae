"""Cost at equal accuracy: what another row had spent when it was first as accurate as the ticket in the end."""

from dataclasses import dataclass
from itertools import accumulate

from vit_tickets.train.report.analysis.comparison import Group
from vit_tickets.train.report.analysis.costs import macs_of, seconds_of
from vit_tickets.train.report.analysis.frontier.tradeoff import MACS, SECONDS, are_comparable

VAL = "val_top1"
ALIKE = 0.1  # points between the last line of the log and the evaluation, of the same weights on the same images


@dataclass(frozen=True)
class EqualAccuracy:
    """How far a row had to be trained for the ticket's accuracy, each on its own input.

    The accuracy after an epoch is that of a schedule made for all epochs: one that is cut to so many, as that of row
    `short` is, may reach more with them.

    Attributes:
        row: what was trained on.
        accuracy: the ticket's after all its epochs, percent.
        epoch: the first after which the mean of the row's runs was as accurate; None if none was.
        epochs: of the row's runs.
        unit: of the costs, `MACS` or `SECONDS`.
        cost: what the row had spent after that epoch, or after all.
        share: the same, the ticket's being 1.
    """

    row: str
    accuracy: float
    epoch: int | None
    epochs: int
    unit: str
    cost: float
    share: float


def equal_accuracy(group: Group) -> list[EqualAccuracy]:
    """Of every row whose log says its accuracy on its own input after every epoch; none without a tested ticket.

    A log that ends with another accuracy than the evaluation found is of other images, another view or other weights,
    and tells nothing.
    """
    ticket = group.own(group.ticket)
    if ticket is None:
        return []
    target = group.accuracies[ticket].mean
    for unit in (MACS, *([SECONDS] if are_comparable([group]) else [])):
        found = [_of_row(group, row, target, unit) for row in group.rows if row != group.ticket]
        if known := [of for of in found if of is not None]:
            return known
    return []


def _of_row(group: Group, row: str, target: float, unit: str) -> EqualAccuracy | None:
    ours, spent, curve = _spent(group, group.ticket, unit), _spent(group, row, unit), _curve(group, row)
    if not ours or not spent or len(spent) != len(curve):
        return None
    epoch = next((number for number, reached in enumerate(curve, start=1) if reached >= target), None)
    cost = spent[(epoch or len(spent)) - 1]
    return EqualAccuracy(row, target, epoch, len(curve), unit, cost, cost / ours[-1])


def _curve(group: Group, row: str) -> list[float]:
    """Mean accuracy of the row's runs after each epoch, percent; empty where it is not known of each."""
    cell = group.own(row)
    logs = [[line.get(VAL) for line in run.epochs_log] for run in group.of(row)]
    if cell is None or not logs or any(None in log for log in logs) or len({len(log) for log in logs}) > 1:
        return []
    means = [sum(each) / len(logs) for each in zip(*logs, strict=True)]
    return means if means and abs(means[-1] - group.accuracies[cell].mean) < ALIKE else []


def _spent(group: Group, row: str, unit: str) -> list[float]:
    """What one run had spent after each epoch, the mean of the row's runs; empty where it is not known of each."""
    total, name = (macs_of, "macs") if unit == MACS else (seconds_of, "seconds")
    runs = group.of(row)
    if not runs or any(total(run) is None for run in runs) or len({len(run.epochs_log) for run in runs}) > 1:
        return []
    of_runs = [list(accumulate(line[name] for line in run.epochs_log)) for run in runs]
    return [sum(each) / len(runs) for each in zip(*of_runs, strict=True)]
