"""Accuracy against cost in report.png: the page's chart, drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vit_tickets.train.report.analysis.bootstrap import Accuracy
from vit_tickets.train.report.analysis.frontier.tradeoff import TESTED, Point, Tradeoff
from vit_tickets.train.report.rendering.encoding import INK, SHAPES, STROKES, Encoded
from vit_tickets.train.report.rendering.placing import Box, Label, along, place, side_by_side, stairs
from vit_tickets.train.report.rendering.words.bounds import BAR, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 7.5  # of labels, points
BESIDE, EQUAL = 8.0, 3.0  # points of equal cost, in points (1/72 inch)


def style_of(encoded: Encoded, on: str, line: bool = True) -> dict[str, Any]:
    """Marks and lines of a result, for matplotlib."""
    stroke, light = STROKES[on], encoded.colour.light
    return {
        "color": light,
        "marker": SHAPES[encoded.shape][1],
        "fillstyle": stroke.fill,
        "markerfacecoloralt": "white",
        "markeredgecolor": light,
        "markersize": 5,
        "linestyle": stroke.dashes if line else "none",
        "linewidth": 1.4,
    }


def reach(found: Accuracy) -> list[list[float]] | None:
    """Lengths of an error bar, below and above, for matplotlib; None where there is no interval to show.

    A skewed resampled distribution may leave the mean outside its quantiles by a hair.
    """
    low, high = found.ends
    return None if found.unbounded else [[max(0.0, found.mean - low)], [max(0.0, high - found.mean)]]


def frame(panel: Axes, chart: Tradeoff) -> None:
    """Axes of the chart, all but what is drawn into them: `fill` needs to know how large they turn out."""
    ends = [end for point in chart.points for end in (point.accuracy.mean, *point.accuracy.ends)]
    room = 0.08 * (max(ends) - min(ends)) or 1.0
    panel.set_xlim(*chart.costs)
    panel.set_ylim(min(ends) - room, max(ends) + room)
    if chart.points[0].share is not None:
        panel.xaxis.set_major_formatter("{x:g}%")
    panel.set_xlabel(chart.axis)
    panel.set_ylabel(f"top-1 (%), {named([point.accuracy for point in chart.points], BAR)}")
    panel.set_title(f"{chart.name}: accuracy against cost, on {TESTED[chart.tested]}", fontsize=10)


def fill(panel: Axes, chart: Tradeoff, encoded: dict[str, Encoded]) -> None:
    """Draw points with intervals, lines between budgets, the front and labels into a framed and laid out Axes."""
    scale = 72 / panel.figure.dpi  # from pixels to points
    whole = panel.get_window_extent()
    right, bottom, top = (scale * end for end in (whole.x1, whole.y0, whole.y1))

    def pixel(point: Point, value: float) -> tuple[float, float]:
        x, y = panel.transData.transform((point.shown_cost, value))
        return scale * x, scale * y

    centres = [pixel(point, point.accuracy.mean) for point in chart.points]
    beside = side_by_side([x for x, _ in centres], BESIDE, EQUAL, right - 4)
    at = {point.key: (x, y) for point, x, (_, y) in zip(chart.points, beside, centres, strict=True)}

    def back(places: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
        data = panel.transData.inverted().transform([(x / scale, y / scale) for x, y in places])
        return [float(x) for x, _ in data], [float(y) for _, y in data]

    front = stairs([at[point.key] for point in chart.front], right)
    if front:
        panel.plot(*back(front), color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1, in_layout=False)
    taken: list[Box] = []
    lines = along([(x, -y) for x, y in front], 4.0)
    for row in chart.rows:
        points = [point for point in chart.points if point.row == row]
        places = [at[point.key] for point in points]
        x, _ = back(places)
        style: dict[str, Any] = style_of(encoded[row], points[0].on, line=False) | {"markersize": 6, "in_layout": False}
        if len(points) > 1:
            panel.plot(*back(places), color=style["color"], linewidth=0.9, alpha=0.6, zorder=2, in_layout=False)
            lines += along([(x, -y) for x, y in places], 4.0)
        for place_x, point in zip(x, points, strict=True):
            a = point.accuracy
            panel.errorbar(place_x, a.mean, reach(a), label=row, zorder=3, **style)
            (middle_x, middle_y), ((_, low), (_, high)) = at[point.key], (pixel(point, end) for end in a.ends)
            taken.append(Box(middle_x - 4, -middle_y - 4, middle_x + 4, -middle_y + 4))
            taken.append(Box(middle_x - 1.5, -high, middle_x + 1.5, -low))
    _label(panel, chart, encoded, at, (taken, lines), Box(scale * whole.x0 + 2, -top, right, -bottom - 2))


def _label(
    panel: Axes,
    chart: Tradeoff,
    encoded: dict[str, Encoded],
    at: dict[tuple[str, str], tuple[float, float]],
    there: tuple[list[Box], list[Box]],
    within: Box,
) -> None:
    """Write the rows' names beside their points; boxes are in points, y downwards."""
    wanted = []
    for row in chart.rows:
        anchors = [(at[point.key][0], -at[point.key][1]) for point in chart.points if point.row == row]
        wanted.append(Label(anchors, 0.6 * SIZE * len(row) + 2, 1.25 * SIZE))
    from matplotlib.patheffects import withStroke

    taken, lines = there
    halo = withStroke(linewidth=2, foreground="white")
    for row, placed in zip(chart.rows, place(wanted, taken, within, lines, gap=4.5), strict=True):
        box, (x, y) = placed.box, placed.anchor
        arrow = {"arrowstyle": "-", "color": encoded[row].colour.light, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        panel.annotate(
            row,
            (x, -y),
            ((box.left + box.right) / 2, -(box.top + box.bottom) / 2),
            xycoords="figure points",
            textcoords="figure points",
            ha="center",
            va="center",
            fontsize=SIZE,
            color=encoded[row].colour.light,
            arrowprops=arrow if placed.leads else None,
            in_layout=False,
            zorder=4,
            path_effects=[halo],
        )
