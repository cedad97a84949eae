"""Where points and their labels go in a chart: points of equal place side by side, labels on nothing else."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

DIRECTIONS = ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, -1), (0, 1))  # the first are preferred
STEPS = 12  # distances that are tried
FAR = 9.0  # from a point, beyond which a line leads to it
HARD, SOFT = 40.0, 1.0  # what a unit of area on a label or mark costs, and on a line


class Box(NamedTuple):
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Their common area."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0


class Label(NamedTuple):
    """A text to place.

    Attributes:
        anchors: the points that it may stand beside.
        width: of the text.
        height: of the text.
    """

    anchors: Sequence[tuple[float, float]]
    width: float
    height: float


class Placed(NamedTuple):
    """Where a label stands.

    Attributes:
        box: of the text.
        anchor: the point that it names.
        leads: whether it is so far from it that a line should lead there.
    """

    box: Box
    anchor: tuple[float, float]
    leads: bool


def place(
    labels: Sequence[Label], taken: Sequence[Box], within: Box, lines: Sequence[Box] = (), gap: float = 7.0
) -> list[Placed]:
    """A place for each label, in their order: near one of its points, and on as little else as can be.

    Those with the least room are placed first. All in the same units.

    Args:
        labels: what is to be placed.
        taken: boxes of marks and intervals.
        within: what no label may leave.
        lines: boxes along lines, which labels avoid where they can.
        gap: between a point and its label.
    """
    fixed = list(taken)
    order = sorted(range(len(labels)), key=lambda n: _crowd(labels[n], labels), reverse=True)
    found: dict[int, Placed] = {}
    for number in order:
        best = min(_candidates(labels[number], within, gap), key=lambda at: _price(at, fixed, lines))
        found[number] = best
        fixed.append(best.box)
    return [found[number] for number in range(len(labels))]


def _crowd(label: Label, labels: Sequence[Label]) -> float:
    """How many points of others are near those of `label`."""
    others = [point for other in labels if other is not label for point in other.anchors]
    return max(sum(math.dist(anchor, point) < 3 * label.height for point in others) for anchor in label.anchors)


def _candidates(label: Label, within: Box, gap: float) -> list[Placed]:
    found = []
    for x, y in label.anchors:
        for step in range(STEPS):
            for dx, dy in DIRECTIONS:
                away = gap + step * label.height * 0.6
                middle_x = x + dx * (away * (0.75 if dy else 1) + label.width / 2)
                middle_y = y + dy * (away * (0.75 if dx else 1) + label.height / 2)
                left = min(max(middle_x - label.width / 2, within.left), within.right - label.width)
                top = min(max(middle_y - label.height / 2, within.top), within.bottom - label.height)
                box = Box(left, top, left + label.width, top + label.height)
                found.append(Placed(box, (x, y), distance(box, x, y) > gap + FAR))
    return found


def distance(box: Box, x: float, y: float) -> float:
    """From a point to the nearest of a box."""
    return math.hypot(max(box.left - x, 0, x - box.right), max(box.top - y, 0, y - box.bottom))


def _price(at: Placed, fixed: Sequence[Box], lines: Sequence[Box]) -> float:
    covered = HARD * sum(at.box.overlap(box) for box in fixed) + SOFT * sum(at.box.overlap(box) for box in lines)
    return covered + distance(at.box, *at.anchor) ** 1.5


def side_by_side(places: Sequence[float], beside: float, equal: float, most: float) -> list[float]:
    """`places` along an axis, in their order; those nearer than `equal` to each other spread around their mean.

    beside: distance between them then. most: what no place exceeds.
    """
    clusters: list[list[int]] = []
    for number in sorted(range(len(places)), key=lambda n: places[n]):
        if clusters and places[number] - places[clusters[-1][-1]] < equal:
            clusters[-1].append(number)
        else:
            clusters.append([number])
    found = list(places)
    for cluster in clusters:
        if len(cluster) > 1:
            reach = beside * (len(cluster) - 1)
            start = min(sum(places[n] for n in cluster) / len(cluster) - reach / 2, most - reach)
            for step, number in enumerate(sorted(cluster)):
                found[number] = round(start + beside * step, 2)
    return found


def along(points: Sequence[tuple[float, float]], side: float = 6.0) -> list[Box]:
    """Small boxes along straight lines between `points`."""
    found = []
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = max(1, int(max(abs(x1 - x0), abs(y1 - y0)) / side))
        for step in range(steps + 1):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            found.append(Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    return found


def stairs(points: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """Corners of the line through `points` that goes level from each to the place of the next, and on to `end`."""
    found = list(points[:1])
    for (_, y0), (x1, y1) in pairwise(points):
        found += [(x1, y0), (x1, y1)]
    return [*found, (end, found[-1][1])] if found else []
