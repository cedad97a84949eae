"""The chart that the page is for: accuracy against the cost of training, every row at every budget, labelled."""

from collections.abc import Sequence
from dataclasses import dataclass

from vit_tickets.pipeline.runs.paths import TESTED_ON
from vit_tickets.train.report.analysis.frontier.tradeoff import COSTS, TESTED, Point, Tradeoff
from vit_tickets.train.report.analysis.notices import listed
from vit_tickets.train.report.page.charts import Axis, around, number, ticks
from vit_tickets.train.report.page.marks import Looks, mark, path
from vit_tickets.train.report.page.markup import Html, bullets, details, element, figure, table
from vit_tickets.train.report.rendering.placing import Box, Label, along, place, side_by_side, stairs
from vit_tickets.train.report.rendering.words.bounds import brackets

LETTER, HEIGHT = 7.6, 14.0  # of a label
TOP = 26  # room above for the numbers of patches
EQUAL = 4.0  # points nearer than this are set side by side
NOTE = (
    "Bars are two-sided 95% intervals{}. A line joins the budgets of one row. {}Runs of equal cost stand side by side."
)
FRONT = (
    "The stepped line is the Pareto front: no other run is at least as accurate for at most the same cost as those "
    "on it. "
)


@dataclass(frozen=True)
class Layout:
    """A size of the chart, in units that are about pixels where it is shown.

    Attributes:
        name: its class in the page.
        width: of the whole.
        height: of the whole.
        beside: distance of points of equal cost.
    """

    name: str
    width: float
    height: float
    beside: float


LAYOUTS = (Layout("desk", 900, 470, 14.0), Layout("phone", 380, 470, 7.0))


def tradeoff_figure(charts: Sequence[Tradeoff], look: Looks, name: str) -> Html:
    """The charts of one model, one of them seen at a time; name: of its controls, unlike any other on the page."""
    first = charts[0]
    controls = [
        _choice(f"{name}-cost", "Cost", [(unit, COSTS[unit]) for unit in dict.fromkeys(c.unit for c in charts)]),
        _choice(f"{name}-on", "Tested on", [(on, TESTED[on]) for on in dict.fromkeys(c.tested for c in charts)]),
    ]
    shown = [_chart(chart, look) for chart in charts]
    lacking = {unit: list(dict.fromkeys(row for c in charts if c.unit == unit for row in c.lacking)) for unit in COSTS}
    notes = [
        f"Not in the chart of {unit}, for their logs do not have all of them: {', '.join(rows)}."
        for unit, rows in lacking.items()
        if rows
    ]
    folded = details("The numbers of this chart", [_table(chart) for chart in charts])
    reasons = dict.fromkeys(why for c in charts for p in c.points if (why := p.accuracy.unbounded))
    front = FRONT if any(chart.front for chart in charts) else ""
    note = NOTE.format(f"; of {listed(list(reasons))} there is none" if reasons else "", front)
    about = element("p", note, class_="note"), bullets(notes)
    return figure(
        f"{first.name}: accuracy against the cost of training",
        element("div", controls, class_="controls") if any(controls) else None,
        shown,
        about,
        folded,
        class_="tradeoff",
    )


def _choice(name: str, legend: str, options: list[tuple[str, str]]) -> Html | None:
    if len(options) < 2:
        return None
    radios = [
        element(
            "label",
            element("input", type="radio", name=name, value=_slug(value), checked=number == 0, autocomplete="off"),
            said,
        )
        for number, (value, said) in enumerate(options)
    ]
    return element("fieldset", element("legend", legend), radios)


def _slug(text: str) -> str:
    return text.replace(" ", "-")


def _chart(chart: Tradeoff, look: Looks) -> Html:
    drawn = [element("div", _svg(chart, look, layout), class_=layout.name) for layout in LAYOUTS]
    return element("div", drawn, class_=f"chart of-{_slug(chart.unit)} on-{_slug(chart.tested)}")


def _svg(chart: Tradeoff, look: Looks, layout: Layout) -> Html:
    bottom, right = layout.height - 48, layout.width - 10
    x = Axis(chart.axis, *chart.costs, 52, right)
    ends = [end for p in chart.points for end in (p.accuracy.mean, *p.accuracy.ends)]
    y = Axis("top-1 (%)", *around(ends, (0.0, 100.0)), bottom, TOP + 6)
    at = _positions(chart.points, x, y, layout.beside)
    parts = [*_axes(x, y, bottom, right, layout), *_patches(chart.points, at, layout)]
    steps = stairs([at[p.key] for p in chart.front], right)
    parts += [element("path", d=path(steps), class_="front")] if steps else []
    boxes: list[Box] = []
    lines = along(steps)
    for row in chart.rows:
        points = [point for point in chart.points if point.row == row]
        places = [at[point.key] for point in points]
        if len(points) > 1:
            parts.append(element("path", d=path(places), class_=f"line joined {look(row, 'dense').colour}"))
            lines += along(places)
    for point in chart.points:
        middle = at[point.key]
        parts.append(_point(chart, point, middle, y, look))
        boxes.append(Box(middle[0] - 6, middle[1] - 6, middle[0] + 6, middle[1] + 6))
        low, high = point.accuracy.ends
        boxes.append(Box(middle[0] - 2, y(high), middle[0] + 2, y(low)))
    parts += _labels(chart, at, boxes, lines, Box(54, TOP, right, bottom - 2), look)
    box = f"0 0 {layout.width:g} {layout.height:g}"
    return element("svg", parts, viewBox=box, role="img", aria_label=_described(chart))


def _positions(points: Sequence[Point], x: Axis, y: Axis, beside: float) -> dict[tuple[str, str], tuple[float, float]]:
    """Where each point stands."""
    places = side_by_side([x(point.shown_cost) for point in points], beside, EQUAL, x.end - 6)
    return {point.key: (place, y(point.accuracy.mean)) for point, place in zip(points, places, strict=True)}


def _axes(x: Axis, y: Axis, bottom: float, right: float, layout: Layout) -> list[Html]:
    sign = "%" if "100%" in x.label else ""
    parts = [element("line", x1=x.start, x2=right, y1=y(tick), y2=y(tick), class_="grid") for tick in y.ticks]
    parts += [element("text", number(tick), x=x.start - 7, y=y(tick) + 4, text_anchor="end") for tick in y.ticks]
    parts.append(element("line", x1=x.start, x2=right, y1=bottom, y2=bottom, class_="axis"))
    for tick in ticks(x.low, x.high, 6 if layout.name == "phone" else 11):
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(element("text", f"{tick:.4g}{sign}", x=x(tick), y=bottom + 18, text_anchor="middle"))
    middle = (y.start + y.end) / 2
    parts.append(element("text", x.label, x=(x.start + right) / 2, y=bottom + 40, text_anchor="middle"))
    parts.append(element("text", y.label, transform=f"translate(13 {middle:g}) rotate(-90)", text_anchor="middle"))
    return parts


def _patches(points: Sequence[Point], at: dict, layout: Layout) -> list[Html]:
    """The patches kept at each budget, above its points."""
    budgets: dict[str, list[float]] = {}
    for point in points:
        if point.patches != "-":
            budgets.setdefault(point.patches, []).append(at[point.key][0])
    short = layout.name == "phone" and len(budgets) > 1
    parts = [element("text", "patches", x=2, y=14, class_="small")] if short else []
    for patches, places in budgets.items():
        kept, _, _ = patches.partition(" ")
        above = {"x": round((min(places) + max(places)) / 2, 1), "y": 14, "text_anchor": "middle", "class_": "small"}
        parts.append(element("text", kept if short else f"{kept} patches", **above))
        parts.append(element("line", x1=min(places) - 5, x2=max(places) + 5, y1=20, y2=20, class_="axis"))
    return parts


def _point(chart: Tradeoff, point: Point, at: tuple[float, float], y: Axis, look: Looks) -> Html:
    x, middle = at
    drawn = look(point.row, point.on)
    low, high = point.accuracy.ends
    bar = None if point.accuracy.unbounded else element("path", d=f"M{x:g} {y(low):g}V{y(high):g}", class_="bar")
    return element(
        "g",
        element("title", said(chart, point)),
        bar,
        mark(drawn, x, middle),
        class_=drawn.colour,
    )


def said(chart: Tradeoff, point: Point) -> str:
    """A point in words, with its numbers."""
    kept = f", {point.patches} patches" if point.patches != "-" else ""
    of = "" if point.share is None else f", {point.share:.1f}% of dense training"
    a = point.accuracy
    return (
        f"{point.row}{kept}, tested on {TESTED_ON[point.on]}: {a.mean:.2f}%{brackets(a, a.low, a.high)} for "
        f"{point.cost:.4g} {chart.unit}{of}"
    )


def _labels(chart: Tradeoff, at: dict, boxes: list[Box], lines: list[Box], within: Box, look: Looks) -> list[Html]:
    wanted = []
    for row in chart.rows:
        anchors = [at[point.key] for point in chart.points if point.row == row]
        wanted.append(Label(anchors, LETTER * len(row) + 2, HEIGHT))
    parts = []
    for row, placed in zip(chart.rows, place(wanted, boxes, within, lines), strict=True):
        colour = look(row, "dense").colour
        box, (x, y) = placed.box, placed.anchor
        if placed.leads:
            near = min(max(x, box.left), box.right), min(max(y, box.top + 2), box.bottom - 2)
            parts.append(element("path", d=path([(x, y), near]), class_=f"leader {colour}"))
        middle = round((box.left + box.right) / 2, 1)
        parts.append(
            element("text", row, x=middle, y=round(box.bottom - 3, 1), text_anchor="middle", class_=f"label {colour}")
        )
    return parts


def _described(chart: Tradeoff) -> str:
    best = ", ".join(f"{p.row}{f' with {p.patches} patches' if p.patches != '-' else ''}" for p in chart.front)
    return (
        f"{chart.name}: top-1 against {COSTS[chart.unit]}, tested on {TESTED[chart.tested]}; {len(chart.points)} "
        f"points.{f' On the Pareto front, cheapest first: {best}.' if best else ''} The table below holds the numbers."
    )


def _table(chart: Tradeoff) -> Html:
    front = ["Pareto front"] if chart.front else []
    header = ["trained on", "patches", "tested on", chart.unit, "of dense", "top-1 %", "95% interval", *front]
    lines = [
        [
            point.row,
            point.patches,
            TESTED_ON[point.on],
            f"{point.cost:.4g}",
            "-" if point.share is None else f"{point.share:.1f}%",
            f"{point.accuracy.mean:.2f}",
            "-" if point.accuracy.unbounded else f"{point.accuracy.low:.2f} to {point.accuracy.high:.2f}",
            *(["yes" if point.is_best else "within error" if point.is_near else ""] if front else []),
        ]
        for point in chart.points
    ]
    caption = f"{chart.name}: top-1 and {COSTS[chart.unit]} of one run, tested on {TESTED[chart.tested]}"
    return table(caption, [header, *lines], class_="numbers")
