"""Charts of runs with fewer weights: accuracy against sparsity, with bands."""

from itertools import count

from vit_tickets.train.report.analysis.bootstrap import Accuracy
from vit_tickets.train.report.analysis.weights.groups import ALL_WEIGHTS, WeightGroup
from vit_tickets.train.report.analysis.weights.rows import DENSE, REINIT, in_order, is_ticket
from vit_tickets.train.report.page.charts import Line, line_chart
from vit_tickets.train.report.page.marks import Look
from vit_tickets.train.report.page.markup import Html, figure
from vit_tickets.train.report.rendering.encoding import SHAPES
from vit_tickets.train.report.rendering.words.bounds import BAND, brackets, named

# Tickets, their mask on other weights, and the rest: colours of lt, rc and small, whose part in a report they have.
COLOURS = {"ticket": ("c-lt", "c-lt-2"), "control": ("c-rc", "c-rc-2"), "other": ("c-small", "c-small-2", "c-weights")}


def sparsity_figures(group: WeightGroup) -> list[Html]:
    """A chart for every scope that has several levels: a line for each row, and one for all weights."""
    look = looks(in_order(row for row, _ in group.cells if row != DENSE))
    scopes = dict.fromkeys(level.scope for level in group.levels.values())
    return [chart for scope in scopes if (chart := _figure(group, scope, look)) is not None]


def looks(rows: list[str]) -> dict[str, Look]:
    """The look of each row: a colour of its kind, and a shape of its own."""
    found = {DENSE: Look("c-dense", "circle", "full", "solid")}
    taken = {kind: count() for kind in COLOURS}
    shapes = [shape for shape in SHAPES if shape != "circle"]
    for row, number in zip(rows, count()):
        kind = "ticket" if is_ticket(row) else "control" if REINIT in row.split(":") else "other"
        colours, line = COLOURS[kind], "solid" if kind == "ticket" else "dashed"
        found[row] = Look(colours[next(taken[kind]) % len(colours)], shapes[number % len(shapes)], "full", line)
    return found


def _figure(group: WeightGroup, scope: str, look: dict[str, Look]) -> Html | None:
    percents = {label: level.percent for label, level in group.levels.items() if level.scope == scope}
    by_row: dict[str, list[tuple[float, Accuracy]]] = {}
    for (row, label), found in group.accuracies.items():
        if label in percents:
            by_row.setdefault(row, []).append((percents[label], found))
    known = [percent for points in by_row.values() for percent, _ in points]
    if len(set(known)) < 2:
        return None
    if (dense := group.accuracies.get(ALL_WEIGHTS)) is not None:
        by_row = {DENSE: [(min(known), dense), (max(known), dense)], **by_row}
    lines = [_line(row, look[row], sorted(points, key=lambda point: point[0])) for row, points in by_row.items()]
    accuracies = [found for points in by_row.values() for _, found in points]
    described = f"Lines of accuracy against the share of weights dropped in {scope}; the table holds the numbers."
    chart = line_chart(
        lines, f"weights of {scope} dropped (%)", f"top-1 (%), {named(accuracies, BAND)}", described, (0.0, 100.0)
    )
    return figure(f"Accuracy against sparsity, {scope}", chart)


def _line(row: str, look: Look, points: list[tuple[float, Accuracy]]) -> Line:
    titles = [f"{row}, {x:.1f}% dropped: {of.mean:.2f}%{brackets(of, of.low, of.high)}" for x, of in points]
    band = () if all(of.unbounded for _, of in points) else [of.ends for _, of in points]
    return Line(row, look, [(x, of.mean) for x, of in points], band, titles)
