"""Marks and strokes of the page's charts, and legends made of them; `encoding` says which."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from vit_tickets.train.report.page.markup import Html, element
from vit_tickets.train.report.rendering.encoding import SHAPES, STROKES, encode


class Look(NamedTuple):
    """How a result is drawn: a colour and a line (classes of the style), a shape of `SHAPES` and its filling."""

    colour: str
    shape: str
    fill: str
    line: str


Looks = Callable[[str, str], Look]
INK = Look("c-ink", "circle", "full", "solid")


def side(low: float, high: float, threshold: float = 0.0) -> Look:
    """The look of a difference: in the colour of the side of `threshold` that all of its interval is on, if any."""
    name = "above" if low > threshold else "below" if high < threshold else "ink"
    return INK._replace(colour=f"c-{name}")


def looks(rows: Iterable[str]) -> Looks:
    """The look of a result by its row, one of `rows`, and by what it was tested on."""
    encoded = encode(rows)

    def look(row: str, on: str) -> Look:
        found, stroke = encoded[row], STROKES[on]
        return Look(f"c-{found.colour.name}", found.shape, stroke.fill, stroke.line)

    return look


def mark(look: Look, x: float, y: float) -> Html | list[Html]:
    """The mark of a result, in the colour of what it stands in."""
    if look.shape == "circle" and look.fill in ("full", "none"):
        return element("circle", cx=x, cy=y, r=4.2, class_="mark" if look.fill == "full" else "mark hollow")
    corners = SHAPES[look.shape][0]
    whole = element("path", d=_outline(corners, x, y), class_="mark" if look.fill == "full" else "mark hollow")
    if look.fill in ("full", "none"):
        return whole
    half = _below(corners)
    if look.fill == "left":
        turned = [(cy, -cx) for cx, cy in corners]  # left becomes below
        half = [(-cy, cx) for cx, cy in _below(turned)]
    return [whole, element("path", d=_outline(half, x, y), class_="mark half")]


def _below(corners: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a polygon below its middle (y downwards)."""
    points, kept = list(corners), []
    for place, (x, y) in enumerate(points):
        x0, y0 = points[place - 1]
        if (y0 > 0) != (y > 0):
            kept.append((x0 + (x - x0) * y0 / (y0 - y), 0.0))
        if y > 0:
            kept.append((x, y))
    return kept


def _outline(corners: Iterable[tuple[float, float]], x: float, y: float) -> str:
    return f"{path([(round(x + dx, 2), round(y + dy, 2)) for dx, dy in corners])}Z"


def path(points: Iterable[tuple[float, float]]) -> str:
    """Straight lines through `points`, for `d` of an SVG path."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def sample(look: Look) -> Html:
    """A stretch of a line with its mark, for legends."""
    stroke = element("path", d="M1 8H43", class_=f"line {look.line}"), mark(look, 22, 8)
    return element("svg", stroke, viewBox="0 0 44 16", class_=f"sample {look.colour}", aria_hidden="true")


def dot(look: Look) -> Html:
    """A mark alone, for legends of what was trained on."""
    return element("svg", mark(look, 8, 8), viewBox="0 0 16 16", class_=f"dot {look.colour}", aria_hidden="true")


def legend(items: Iterable[tuple[str, Look]]) -> Html:
    """What each line of a chart is."""
    named = dict(items)
    return element("ul", [element("li", sample(look), name) for name, look in named.items()], class_="legend")
