"""Accuracy for cost in tables and sentences: the Pareto front, and what other rows needed for the ticket's accuracy."""

from vit_tickets.train.report.analysis.bounds.known import FEW, MIN_IMAGES
from vit_tickets.train.report.analysis.contrasts.findings import Finding
from vit_tickets.train.report.analysis.frontier.equal import EqualAccuracy, equal_accuracy
from vit_tickets.train.report.analysis.frontier.tradeoff import Point, tradeoffs
from vit_tickets.train.report.analysis.notices import counted, listed
from vit_tickets.train.report.rendering.words.bounds import untold
from vit_tickets.train.report.rendering.words.columns import Rows

_MARKS = "* on the Pareto front: no row is as accurate for as little; ~ within error of it"
AT_LENGTH = (
    "read off the accuracy after each epoch of the whole schedule; one cut to that length, as row `short` has it, may "
    "reach more"
)


def marks_of(findings: list[Finding]) -> str:
    """What the marks of `cost_tables` mean, and where they tell nothing; or why there are none."""
    if all(finding.group.images < MIN_IMAGES for finding in findings):
        return f"no Pareto front: {FEW}"
    return _MARKS + untold(accuracy for finding in findings for accuracy in finding.group.accuracies.values())


def cost_tables(findings: list[Finding]) -> list[tuple[str, Rows]]:
    """(heading, table with a header) for each dataset and model: by multiply-adds, or by seconds if there are none."""
    tables = []
    for charts in tradeoffs([finding.group for finding in findings]):
        first, *_ = charts
        columns = {chart.tested: chart for chart in charts if chart.unit == first.unit}
        points = {tested: {point.key: point for point in chart.points} for tested, chart in columns.items()}
        rows = [["trained on", "patches", "cost", *(f"on {tested}" for tested in columns)]]
        for key in dict.fromkeys(key for of in points.values() for key in of):
            point = next(of[key] for of in points.values() if key in of)
            rows.append([point.row, point.patches, _cost(point), *(_reached(of.get(key)) for of in points.values())])
        tables.append((f"accuracy for cost, {first.name}: {first.axis}", rows))
    return tables


def _cost(point: Point) -> str:
    return f"{point.cost:.3g}" if point.share is None else f"{point.share:.0f}%"


def _reached(point: Point | None) -> str:
    if point is None:
        return "-"
    return f"{point.accuracy.mean:.2f}{' *' if point.is_best else ' ~' if point.is_near else ''}"


def equal_sentence(finding: Finding) -> str | None:
    """`cost at equal accuracy (81.2%, ...): dense reached it after 7 of 12 epochs, at 1.14 times the ticket's ...`."""
    found = equal_accuracy(finding.group)
    if not found:
        return None
    said = [_spent(of) for of in found if of.epoch is not None]
    if never := [of.row for of in found if of.epoch is None]:
        said.append(f"{listed(never)} never did")
    accuracy, unit = found[0].accuracy, found[0].unit
    where = f"the ticket's {accuracy:.2f}%, each on its own input, and times the ticket's {unit}"
    return f"cost at equal accuracy ({where}): {'; '.join(said)}"


def _spent(of: EqualAccuracy) -> str:
    return f"{of.row} reached it after {of.epoch} of {counted(of.epochs, 'epoch')}, at {of.share:.2f} times"
