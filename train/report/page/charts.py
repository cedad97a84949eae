"""Charts as inline SVG: lines with bands, and values with intervals. Colours and dashes are classes of the style."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from vit_tickets.train.report.page.marks import INK, Look, legend, mark, path
from vit_tickets.train.report.page.markup import Html, element

WIDTH = 400  # units of every chart; a phone shows about one per pixel
LEFT = 58  # of the y axis
MARKED = 12  # marks on a line, at most
ROW, TALL_ROW = 20, 38  # of a chart of intervals; tall where the name stands above the bar
LETTERS, LETTER = 20, 7.6  # how many fit beside a row of intervals, and the width of one


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        look: of line and marks.
        points: (x, y), x ascending.
        band: (low, high) at each point.
        titles: tooltip of each point.
    """

    name: str
    look: Look
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    titles: Sequence[str] = ()


@dataclass(frozen=True)
class Interval:
    """One row of a chart: a value with its interval.

    Attributes:
        name: of the row; consecutive rows that share it show it once.
        value: where its mark is.
        ends: of the interval; None for a mark alone.
        title: its tooltip.
        look: of mark and interval.
        part: distinguishes rows of the same name.
    """

    name: str
    value: float
    ends: tuple[float, float] | None
    title: str
    look: Look = INK
    part: str = ""


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        label: what the values are, with their unit.
        low: value at `start`.
        high: value at `end`.
        start: pixel.
        end: pixel.
    """

    label: str
    low: float
    high: float
    start: float = field(default=0.0)
    end: float = field(default=1.0)

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    @property
    def ticks(self) -> list[float]:
        return ticks(self.low, self.high)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten) between `low` and `high`, at most `most`; low < high."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    for step in (power, 2 * power, 5 * power, 10 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def around(values: Iterable[float], within: tuple[float, float] = (-math.inf, math.inf)) -> tuple[float, float]:
    """Ends of an axis that shows all `values` with some room, and stays within `within` if they do."""
    known = list(values)
    low, high = min(known), max(known)
    room = 0.06 * (high - low) or max(0.5, 0.05 * abs(low))
    start = max(low - room, within[0]) if low >= within[0] else low - room
    end = min(high + room, within[1]) if high <= within[1] else high + room
    return (start, end) if start < end else (low - room, high + room)


def line_chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    describe: str,
    y_within: tuple[float, float] = (-math.inf, math.inf),
    whole_x: bool = False,
    y_also: Sequence[float] = (),
) -> Html:
    """Lines over x with their bands, and a legend.

    Args:
        lines: what is drawn.
        x_label: of the axis.
        y_label: of the axis.
        describe: a text alternative.
        y_within: bounds of the values, such as (0, 100).
        whole_x: whether x is a count, with whole ticks.
        y_also: further values to leave room for, so that neighbouring charts share an axis.
    """
    bottom = 244
    known = sorted({x for line in lines for x, _ in line.points})
    x = Axis(x_label, *around(known), LEFT, WIDTH - 14)
    y = Axis(y_label, *around([*heights(lines), *y_also], y_within), bottom, 12)
    at = (
        known
        if _apart(x, known)
        else [tick for tick in x.ticks if not whole_x or (tick == int(tick) and tick >= known[0])]
    )
    parts = [y_axis(y, LEFT, WIDTH - 14), x_axis(x, bottom, at)]
    parts += [_band(line, x, y) for line in lines if line.band]
    parts += [_line(line, x, y) for line in lines]
    named = legend((line.name, line.look) for line in lines)
    return element("div", svg(bottom + 46, describe, parts), named, class_="chart")


def _apart(x: Axis, values: list[float]) -> bool:
    """Whether `values` are few and far enough from each other for a tick at each."""
    return len(values) <= 6 and all(x(b) - x(a) > 36 for a, b in pairwise(values))


def heights(lines: Iterable[Line]) -> list[float]:
    """All values of the lines and their bands."""
    return [y for line in lines for y in (*(y for _, y in line.points), *(end for ends in line.band for end in ends))]


def interval_chart(
    rows: Sequence[Interval],
    x_label: str,
    describe: str,
    reference: tuple[float, str] | None = None,
    above: bool = False,
) -> Html:
    """A value with its interval per row.

    Args:
        rows: what is drawn.
        x_label: of the axis.
        describe: a text alternative.
        reference: position and meaning of a vertical line.
        above: whether names are above their bars, in full length, instead of at their left.
    """
    left, height = (14, TALL_ROW) if above else (_margin(rows), ROW)
    top = 24 if reference else 8
    bottom = top + height * len(rows)
    seen = [value for row in rows for value in (row.value, *(row.ends or ()))]
    x = Axis(x_label, *around([*seen, *([reference[0]] if reference else [])]), left, WIDTH - 22)
    parts: list[Any] = [x_axis(x, bottom, ticks(x.low, x.high, 5), grid=top)]
    if reference:
        at = x(reference[0])
        parts.append(element("line", x1=at, x2=at, y1=top - 6, y2=bottom, class_="reference"))
        anchor = "start" if at < 150 else "end" if at > WIDTH - 110 else "middle"
        parts.append(element("text", reference[1], x=at, y=top - 11, text_anchor=anchor, class_="small"))
    said = None
    for number, row in enumerate(rows):
        start = top + height * number
        middle = start + (TALL_ROW - 11 if above else ROW / 2)
        if above:
            wide = min(LETTER * len(row.name), WIDTH - left) + 8
            parts.append(element("rect", x=left - 4, y=start + 1, width=f"{wide:g}", height=17, class_="plate"))
            parts.append(element("text", row.name, x=left, y=start + 14))
        else:
            parts += _names(row, left, middle, row.name != said)
            said = row.name
        marks = [
            _bar(x(row.ends[0]), x(row.ends[1]), middle) if row.ends else None,
            mark(row.look, x(row.value), middle),
        ]
        parts.append(element("g", element("title", row.title), *marks, class_=row.look.colour))
    return element("div", svg(bottom + 42, describe, parts), class_="chart")


def _bar(low: float, high: float, middle: float) -> Html:
    reach = f"M{low} {middle}H{high}M{low} {middle - 4}v8M{high} {middle - 4}v8"
    return element("path", d=reach, class_="line")


def _margin(rows: Sequence[Interval]) -> float:
    """Room at the left for the longest name, and for the longest part."""
    parts = max(len(row.part) for row in rows)
    return 20 + LETTER * (min(LETTERS, max(len(row.name) for row in rows)) + (parts + 1 if parts else 0))


def _names(row: Interval, left: float, middle: float, named: bool) -> list[Html]:
    """The part beside a row and, if `named`, its name: left of the part, or in its place."""
    at, anchor = (2, "start") if row.part else (left - 10, "end")
    shown = row.name if len(row.name) <= LETTERS else f"{row.name[: LETTERS - 1]}…"
    said = element("text", shown, element("title", row.name), x=at, y=middle + 4, text_anchor=anchor)
    part = element("text", row.part, x=left - 10, y=middle + 4, text_anchor="end", class_="small")
    return [*([said] if named else []), *([part] if row.part else [])]


def number(value: float) -> str:
    """As short as possible: 10, 0.5, 1e+06."""
    return f"{value:.6g}"


def svg(height: float, describe: str, parts: list) -> Html:
    return element("svg", parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=describe)


def y_axis(y: Axis, left: float, right: float) -> list[Html]:
    parts = [element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid") for tick in y.ticks]
    parts += [element("text", number(tick), x=left - 7, y=y(tick) + 4, text_anchor="end") for tick in y.ticks]
    middle = (y.start + y.end) / 2
    return [*parts, element("text", y.label, transform=f"translate(13 {middle:g}) rotate(-90)", text_anchor="middle")]


def x_axis(x: Axis, bottom: float, at: list[float], grid: float | None = None) -> list[Html]:
    parts = [element("line", x1=x.start, x2=x.end, y1=bottom, y2=bottom, class_="axis")]
    if grid is not None:
        parts += [element("line", x1=x(tick), x2=x(tick), y1=grid, y2=bottom, class_="grid") for tick in at]
    parts += [element("text", f"{tick:.4g}", x=x(tick), y=bottom + 17, text_anchor="middle") for tick in at]
    middle = (x.start + x.end) / 2
    return [*parts, element("text", x.label, x=middle, y=bottom + 36, text_anchor="middle")]


def _band(line: Line, x: Axis, y: Axis) -> Html:
    there = [(x(at), y(high)) for (at, _), (_, high) in zip(line.points, line.band, strict=True)]
    back = [(x(at), y(low)) for (at, _), (low, _) in zip(line.points, line.band, strict=True)]
    return element("path", d=f"{path([*there, *reversed(back)])}Z", class_=f"{line.look.colour} band")


def _line(line: Line, x: Axis, y: Axis) -> Html:
    at = [(x(a), y(b)) for a, b in line.points]
    marks = []
    for place, point in enumerate(at):
        said = element("title", line.titles[place]) if line.titles else None
        seen = mark(line.look, *point) if place % math.ceil(len(at) / MARKED) == 0 else None
        marks.append(element("g", said, seen, element("circle", cx=point[0], cy=point[1], r=8, class_="hit")))
    stroke = element("path", d=path(at), class_=f"line {line.look.line}")
    return element("g", stroke, marks, class_=line.look.colour)
