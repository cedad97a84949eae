"""How report.png and report.html draw a result: colour and shape say what was trained on, filling and line what it was
tested on.

Variants of a path share its hue. The colours differ with every kind of colour vision, and have a contrast of 3 to 1
with their paper (`tests/train/report/rendering/test_encoding.py`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from vit_tickets.pipeline.runs.paths import TESTED_ON, path_of
from vit_tickets.pipeline.runs.rows import RowName

INK = "#1b1f27"  # of report.png
KEY = "colour and shape: trained on; filling and line: tested on"


@dataclass(frozen=True)
class Colour:
    """A colour.

    Attributes:
        name: of its class in the page.
        light: on white paper, and in report.png.
        dark: on the dark paper of the page.
    """

    name: str
    light: str
    dark: str


@dataclass(frozen=True)
class Stroke:
    """How what a result was tested on is drawn.

    Attributes:
        fill: how much of a mark is filled: full, none, left or bottom, as matplotlib has it.
        line: the class of its line in the page.
        dashes: matplotlib's of the line.
    """

    fill: str
    line: str
    dashes: str | tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class Encoded:
    """How what a run was trained on is drawn.

    Attributes:
        colour: of its path, or the further shade of it.
        shape: a key of `SHAPES`.
    """

    colour: Colour
    shape: str


# Of each path the colour of itself, then that of every second of its variants.
HUES = {
    "dense": (Colour("dense", "#4a5160", "#c4cad4"),),
    "short": (Colour("short", "#1f2126", "#f4f7fc"),),
    "lt": (Colour("lt", "#d55e00", "#f58a3c"), Colour("lt-2", "#a9481a", "#ab4415")),
    "rc": (Colour("rc", "#0072b2", "#3f9fdc"), Colour("rc-2", "#3e97ee", "#0d68af")),
    "small": (Colour("small", "#b28391", "#b28391"), Colour("small-2", "#93607a", "#8a6070")),
    "learned": (Colour("learned", "#500069", "#8c4ffb"),),
    "weights": (Colour("weights", "#0b4410", "#8dfc8e"),),
}
ALL_COLOURS = tuple(colour for of_path in HUES.values() for colour in of_path)
# Differences: above, below. None of the colours of what was trained on.
DIVERGING = Colour("above", "#00796b", "#5fd6c4"), Colour("below", "#7b3294", "#c98ae8")


def _regular(corners: int, radius: float, turn: float = 0.0, inner: float | None = None) -> tuple:
    """The corners of a regular polygon, or of a star, clockwise from the top."""
    radii = (radius,) if inner is None else (radius, inner)
    count = corners * len(radii)
    angles = [turn + 2 * math.pi * corner / count for corner in range(count)]
    return tuple(
        (round(radii[place % len(radii)] * math.sin(angle), 2), round(-radii[place % len(radii)] * math.cos(angle), 2))
        for place, angle in enumerate(angles)
    )


_PLUS = ((-1.7, -5), (1.7, -5), (1.7, -1.7), (5, -1.7), (5, 1.7), (1.7, 1.7))
_TURN = math.sqrt(0.5)
# Corners around the middle in units of the page's charts (y downwards), and matplotlib's marker.
SHAPES: dict[str, tuple[tuple, str]] = {
    "circle": (_regular(20, 4.4), "o"),
    "square": (((-4, -4), (4, -4), (4, 4), (-4, 4)), "s"),
    "triangle": (((0, -5.2), (5, 4), (-5, 4)), "^"),
    "diamond": (((0, -5.6), (5.6, 0), (0, 5.6), (-5.6, 0)), "D"),
    "down": (((0, 5.2), (5, -4), (-5, -4)), "v"),
    "star": (_regular(5, 6.2, 0.0, 2.6), "*"),
    "plus": ((*_PLUS, *((-x, -y) for x, y in _PLUS)), "P"),
    "pentagon": (_regular(5, 5.2), "p"),
    "cross": (
        tuple(
            (round(_TURN * (x - y), 2), round(_TURN * (x + y), 2)) for x, y in (*_PLUS, *((-x, -y) for x, y in _PLUS))
        ),
        "X",
    ),
    "left": (((-5.2, 0), (4, -5), (4, 5)), "<"),
    "hexagon": (_regular(6, 5), "h"),
    "right": (((5.2, 0), (-4, -5), (-4, 5)), ">"),
}
OWN_SHAPES = {
    "dense": "circle",
    "short": "down",
    "lt": "square",
    "rc": "triangle",
    "small": "diamond",
    "learned": "star",
    "weights": "pentagon",
}
# Broken lines and marks that are not full for parts of an image.
STROKES = {
    "dense": Stroke("full", "solid", "solid"),
    "lt": Stroke("none", "dashed", (0, (5, 2))),
    "rc": Stroke("left", "dotted", (0, (1, 2))),
    "own": Stroke("bottom", "mixed", (0, (6, 2, 1, 2))),
}


def encode(rows: Iterable[str]) -> dict[str, Encoded]:
    """The look of each of `rows`, by name.

    A path has one look whatever the other rows are; its variants (`lt:centre`, `rc:fresh`, `lt@288`) take the other
    shapes in turn and the shades of its hue alternately, in the order of `rows`: 22 of one path differ.
    """
    found: dict[str, Encoded] = {}
    variants: dict[str, int] = {}
    for row in dict.fromkeys(rows):
        path = path_of(row).name
        hue = HUES.get(path, HUES["weights"])
        own = OWN_SHAPES.get(path, "pentagon")
        if row == path:
            found[row] = Encoded(hue[0], own)
            continue
        number = variants.get(path, 0)
        variants[path] = number + 1
        others = [shape for shape in SHAPES if shape != own]
        shade = (number + 1) % len(hue)
        found[row] = Encoded(hue[shade], others[(number + 2) % len(others)])
    return found


def name_of(row: str, on: str) -> str:
    """Name of a result in legends: `lt, tested on the ticket`."""
    return f"{row}, tested on {TESTED_ON[on]}"


def meaning_of(row: str) -> str:
    """What a row was trained on, in legends: `lt: each image's ticket`."""
    return f"{row}: {RowName.parse(row).meaning}"
