"""How report.png and report.html draw a result: its colour says what was trained on, its mark and line what it was
tested on.

The colours of any two paths differ with every kind of colour vision, and have a contrast of 3 to 1 with their paper
(`tests/train/report/rendering/test_encoding.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from vit_tickets.pipeline.runs.paths import PATHS, TESTED_ON

KEY = "colour: trained on; mark and line: tested on"


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
    """A mark and a line.

    Attributes:
        mark: its name in the page's charts.
        line: the class of its line in the page.
        marker: matplotlib's of the mark.
        dashes: matplotlib's of the line.
    """

    mark: str
    line: str
    marker: str
    dashes: str | tuple[int, tuple[int, int]]


TRAINED_ON = {
    "dense": Colour("dense", "#4a5160", "#c4cad4"),
    "lt": Colour("lt", "#d55e00", "#f58a3c"),
    "rc": Colour("rc", "#0072b2", "#3f9fdc"),
    "small": Colour("small", "#b28391", "#b28391"),
    "weights": Colour("weights", "#0b4410", "#8dfc8e"),
}
# In turn for rows that are named after more than their path: lt:centre, rc:fresh.
FURTHER = (
    Colour("1", "#9d5bf4", "#9d5bf4"),
    Colour("2", "#90502c", "#c06040"),
    Colour("3", "#758057", "#a6b186"),
    Colour("4", "#4d0154", "#bf2f52"),
    Colour("5", "#4138ce", "#6c5eba"),
    Colour("6", "#881f38", "#f2c14e"),
)
ALL_COLOURS = (*TRAINED_ON.values(), *FURTHER)
# Broken lines for parts of an image.
STROKES = {
    "dense": Stroke("round", "solid", "o", "solid"),
    "lt": Stroke("square", "dashed", "s", (0, (5, 2))),
    "rc": Stroke("triangle", "dotted", "^", (0, (1, 2))),
}


def colours(rows: Iterable[str]) -> dict[str, Colour]:
    """The colour of each of `rows`, by name, in their order: its path's, or the next of six for rows without one."""
    names = list(dict.fromkeys(rows))
    others = [name for name in names if name not in TRAINED_ON]
    further = {name: FURTHER[number % len(FURTHER)] for number, name in enumerate(others)}
    return {name: TRAINED_ON.get(name) or further[name] for name in names}


def name_of(row: str, on: str) -> str:
    """Name of a result in legends: `lt, tested on the ticket`."""
    return f"{row}, tested on {TESTED_ON[on]}"


def meaning_of(row: str) -> str:
    """What a row was trained on, in legends: `lt: each image's ticket`; of a row that says more, its name alone."""
    return f"{row}: {PATHS[row].meaning}" if row in PATHS else row
