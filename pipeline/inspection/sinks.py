"""Corners and rings of cells that tickets hold far more often than the cells beside them: probably attention sinks.

Attention collects on some tokens whatever the image shows there. How often tickets hold a cell changes gradually from
cell to cell where it follows objects, and mostly falls towards the border; a sink stands out from its neighbours.

Legend: G x G grid of N cells, C contrasts (a place minus one set of its neighbours), R images.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline.geometry.patches import grid_side, scaled_count
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import DECLARED

MIN_SIDE = 6  # on smaller grids the neighbours of a corner are the middle, and content itself often lies in corners
MIN_IMAGES = 16
POINTS, ODDS = 0.10, 2.0  # "far more often": by so much, and at so many times the odds
DEVIATIONS = 4.0  # standard errors that the excess must exceed
ALL_CORNERS = "the corners"
CORNERS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Place:
    """Cells that may stand out together.

    Attributes:
        name: in sentences.
        parts: bool (P, N): its corners, or its sides and corners. Each has to stand out, so that what is often at one
            side of the images does not count.
        beside: bool (B, N): the cells beside it; for an inner ring those outside and those inside.
        is_corner: whether it is one of the corners.
    """

    name: str
    parts: np.ndarray
    beside: np.ndarray
    is_corner: bool = False

    @property
    def cells(self) -> np.ndarray:
        """bool (N,)"""
        return np.logical_or.reduce(self.parts)


@dataclass(frozen=True)
class Sink:
    """A place that tickets hold far more often than the cells beside it.

    Attributes:
        name: of the place.
        kept: mean over its cells of the share of tickets that hold them.
        beside: the same over the cells beside it; for a ring on that side where it is greater.
    """

    name: str
    kept: float
    beside: float

    def said(self, method: str, unit: str = "images") -> str:
        """A sentence with the shares. method: that chose the tickets; unit: what each ticket belongs to."""
        verb = "are" if self.name == ALL_CORNERS else "is"
        shares = f"{self.name} {verb} kept in {self.kept:.0%} of {unit}, the cells beside in {self.beside:.0%}"
        if DECLARED[method].reads_attention:
            return f"{shares}: probably attention sinks, unless nearly all images show something just there"
        return f"{shares}: method {method} reads no attention; look whether nearly all images show something just there"


class Tally:
    """Counts over the images of a split from which its sinks are found."""

    def __init__(self, num_patches: int):
        self.places = places(grid_side(num_patches))
        self.images = 0
        self.kept_N = np.zeros(num_patches)  # float64: sum over images of the share of their tickets
        rows = [p.cells / p.cells.sum() - near / near.sum() for p in self.places for near in p.beside]
        self.weights_CN = np.array(rows).reshape(-1, num_patches)
        self.square_C = np.zeros(len(self.weights_CN))

    def add(self, share_RN: np.ndarray) -> None:
        """Add images: whether the ticket holds each cell, bool (R, N); for several tickets the share that hold it."""
        self.images += len(share_RN)
        self.kept_N += share_RN.sum(axis=0)
        self.square_C += ((share_RN @ self.weights_CN.T) ** 2).sum(axis=0)

    def sinks(self) -> list[Sink]:
        """The places that stand out; none for fewer than 16 images, or a grid of fewer than 6 x 6 cells.

        A place does if its cells are held at least 10 points more often than those beside it, at twice the odds, each
        of its parts more often than these, and if the excess is more than 4 standard errors: the larger of that seen
        over the images and that of random subsets. A corner is looked at alone unless all four stand out together.
        """
        if self.images < MIN_IMAGES or not self.places:
            return []
        found = list(self._standing_out())
        return [sink for sink, place in found if not (place.is_corner and found[0][1] is self.places[0])]

    def _standing_out(self) -> Iterator[tuple[Sink, Place]]:
        keep_N, N = self.kept_N / self.images, len(self.kept_N)
        mean = keep_N.mean()
        excess_C = self.weights_CN @ keep_N
        seen_C = np.maximum(self.square_C / self.images - excess_C**2, 0) / (self.images - 1)
        random_C = mean * (1 - mean) * N / (N - 1) * (self.weights_CN**2).sum(axis=1) / self.images
        is_clear_C = excess_C > DEVIATIONS * np.sqrt(np.maximum(seen_C, random_C))
        ends = np.cumsum([len(place.beside) for place in self.places])
        for place, is_clear in zip(self.places, np.split(is_clear_C, ends[:-1]), strict=True):
            kept = float(keep_N[place.cells].mean())
            beside = max(float(keep_N[near].mean()) for near in place.beside)
            weakest = min(float(keep_N[part].mean()) for part in place.parts)
            if is_clear.all() and kept - beside >= POINTS and _odds(kept) >= ODDS * _odds(beside) and weakest > beside:
                yield Sink(place.name, kept, beside), place


def _odds(share: float) -> float:
    return share / (1 - share) if share < 1 else math.inf


def places(side: int) -> list[Place]:
    """The corners of a grid of `side` x `side` cells, together and alone, and its rings outside the middle quarter."""
    return [*_corners(side), *_rings(side)] if side >= MIN_SIDE else []


def _corners(side: int) -> list[Place]:
    row, column = np.divmod(np.arange(side**2), side)
    ends = [(y, x) for y in (0, side - 1) for x in (0, side - 1)]
    distance = np.array([np.maximum(abs(row - y), abs(column - x)) for y, x in ends])
    is_it, is_beside = distance == 0, distance == 1
    alone = [Place(f"the {name} corner", is_it[[i]], is_beside[[i]], True) for i, name in enumerate(CORNERS)]
    return [Place(ALL_CORNERS, is_it, is_beside.any(axis=0, keepdims=True)), *alone]


def _rings(side: int) -> list[Place]:
    """The outermost ring has no corners here: they are places of their own."""
    row, column = np.divmod(np.arange(side**2), side)
    to_sides = np.array([row, side - 1 - row, column, side - 1 - column])
    depth = to_sides.min(axis=0)
    is_turn = (to_sides == depth).sum(axis=0) > 1
    rings = []
    for ring in range(math.floor(side / 4 - 0.5) + 1):
        sides = [(ends == ring) & (depth == ring) & ~is_turn for ends in to_sides]
        turns = [np.arange(side**2) == cell for cell in np.flatnonzero(is_turn & (depth == ring))]
        beside = np.array([depth == other for other in (ring + 1, ring - 1) if other >= 0])
        name = f"ring {ring + 1} from the border" if ring else "the border without its corners"
        rings.append(Place(name, np.array([*sides, *turns] if ring else sides), beside))
    return rings


def sinks_of(manifest: Manifest, split: str, kept: int, num_patches: int) -> list[Sink]:
    """The sinks among the tickets of `kept` of `num_patches` patches that are read off the ranks of a split.

    None for view crops:V, which has no ranks of the image. Raises UserError if the manifest cannot be read.
    """
    if manifest.view(split).num_views:
        return []
    N = manifest.num_patches_of(split)
    tally, k = Tally(N), scaled_count(kept, num_patches, N)
    for path, table in manifest.read_files(split, ["rank"]):
        rank_RN, valid_R = list_matrix(table["rank"], N, path)
        tally.add(rank_RN[valid_R] < k)
    return tally.sinks()
