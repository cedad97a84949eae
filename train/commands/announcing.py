"""What a sweep says before it starts: what it will run, on what, and about how long that takes."""

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.runs.paths import JUDGED
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.train.report.rendering.text import aligned
from vit_tickets.train.sweep.request import Request

HEADER = ["trained on", "runs", "what that is"]


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


def _listed(each) -> str:
    *others, last = map(str, each)
    return f"{', '.join(others)} and {last}" if others else last
