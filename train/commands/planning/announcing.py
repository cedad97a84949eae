"""What a sweep says before it starts: what it will run, on what, and about how long that takes on this machine."""

from collections.abc import Iterable
from typing import Any

import click

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.runs.paths import JUDGED
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.train.report.rendering.text import aligned
from vit_tickets.train.sweep.request import Request
from vit_tickets.train.sweep.steps import Step

HEADER = ["trained on", "runs", "what that is"]
FROM, TO = 0.7, 1.5  # times the estimate: where it may end


def announce(request: Request, todo: list[Step], devices: int | None) -> dict[str, float]:
    """Say what will be run, and return seconds by the title of a step, as far as they are known.

    Args:
        request: of a sweep.
        todo: the steps that remain.
        devices: of this machine, which share them; None where they run elsewhere.
    """
    for line in announcement(request):
        click.echo(line)
    if devices is None:
        click.echo("time: told once the first runs are on their way")
        return {}
    from vit_tickets.train.commands.planning.expecting import Expectation

    try:
        expectation = Expectation(request)
        expected = expectation.seconds()
    except UserError as error:
        click.echo(f"time: told once the first runs are on their way ({error})")
        return {}
    for line in expectation.settings():
        click.echo(f"each run of {line}")
    click.echo(time_line(sum(expected.get(step.title, 0.0) for step in todo), devices))
    return expected


def announcement(request: Request) -> list[str]:
    """Lines on images, tickets, runs and seeds of a sweep."""
    images = request.images
    splits = f"{images.splits['train']:,} to train on, {images.splits['val']:,} to test on (val)"
    lines = [f"images: {splits}, {counted(images.classes, 'class')}", *(f"  {line}" for line in images.lines)]
    weights = f" with the weights {request.weights}" if request.weights else ""
    why = f" ({request.selected_because})" if request.selected_because else ""
    lines.append(f"tickets: {_listed(request.all_budgets)}, chosen by {redacted(request.selector + weights)}{why}")
    start = "random weights (--init pretrained fine-tunes)"
    if request.init is not None:
        start = "their published weights" if request.init == PRETRAINED else f"the weights {redacted(request.init)}"
    lines.append(f"runs: {_listed(request.budgets)}, from {start}, {counted(request.seeds, 'seed')} each")
    trials = request.trials()
    shown = [[str(row), str(sum(trial.row == row for trial in trials)), row.meaning] for row in request.rows]
    lines += [f"  {line}" for line in aligned([HEADER, *shown])]
    paths = {row.path for row in request.rows}
    if lacking := [path for path in JUDGED if path not in paths]:
        lines.append(f"no verdicts without the rows {', '.join(lacking)}")
    elif request.seeds == 1:
        lines.append("one seed each gives no verdict, since another seed may turn the order; --seeds 2 does")
    return lines


def _listed(each: Iterable[Any]) -> str:
    *others, last = map(str, each)
    return f"{', '.join(others)} and {last}" if others else last


def time_line(seconds: float, devices: int) -> str:
    """What remains, and where it may end. seconds: of one device. devices: that share it."""
    shared = seconds / devices
    where = f"the {devices} GPUs of this machine" if devices > 1 else "this machine"
    band = f"{spoken(FROM * shared)} to {spoken(TO * shared)}"
    return f"time: about {spoken(shared)} on {where} ({band}), judged by a few steps of each model"


def spoken(seconds: float) -> str:
    """`40 s`, `12 min`, `2 h 10 min` or `3.5 days`, no more exact than an estimate is."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = seconds / 60
    if minutes < 57.5:
        return f"{round(minutes) if minutes < 20 else 5 * round(minutes / 5)} min"
    if minutes < 10 * 60:
        hours, rest = divmod(10 * round(minutes / 10), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 60 / 24:.1f} days"
