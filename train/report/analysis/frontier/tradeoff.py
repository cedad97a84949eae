"""Accuracy against the cost of training, as picture and page draw it: one point per row and budget of a model.

Points have the costs of their runs' own logs: multiply-adds where every epoch has them, seconds where all runs are
comparable.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from vit_tickets.pipeline.runs.paths import path_of
from vit_tickets.train.report.analysis.bootstrap import Accuracy, Contrast, contrast
from vit_tickets.train.report.analysis.bounds.known import FEW
from vit_tickets.train.report.analysis.comparison import Cell, Group, cell_name
from vit_tickets.train.report.analysis.costs import macs_of, seconds_of
from vit_tickets.train.report.analysis.results import RunResult

MACS, SECONDS = "multiply-adds", "seconds"
WHOLE, OWN_INPUT = "whole images", "its own input"  # what is tested on: as deployed, or as trained

COSTS = {MACS: "multiply-adds of training", SECONDS: "seconds of training, as measured"}
TESTED = {WHOLE: "whole images, as deployed", OWN_INPUT: "what each was trained on"}


@dataclass(frozen=True)
class Point:
    """One row at one budget.

    Attributes:
        row: what was trained on.
        on: what it was tested on.
        budget: of its group, as in names of folders (`s0.5`); empty where its runs have none.
        patches: `9 of 36`; a dash where its runs see all of them.
        accuracy: with its interval.
        cost: of training one run, the mean over seeds.
        share: the same in percent of dense training; None without a dense run.
        is_best: whether no other point has at least this accuracy for at most this cost; False for all where one is of
            too few images to tell.
        is_near: whether, if it is not, it is within error of the front: the two-sided 95% interval of what it lacks to
            each of the points that are on the front for at most its cost holds 0. False where there is no interval.
    """

    row: str
    on: str
    budget: str
    patches: str
    accuracy: Accuracy
    cost: float
    share: float | None = None
    is_best: bool = False
    is_near: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Unlike that of any other point of its chart."""
        return self.row, self.budget

    @property
    def shown_cost(self) -> float:
        """Its place on the axis of cost."""
        return self.cost if self.share is None else self.share


@dataclass(frozen=True)
class Tradeoff:
    """A chart of accuracy against cost.

    Attributes:
        dataset: of all points.
        model: of all points.
        unit: of the cost, `MACS` or `SECONDS`.
        tested: `WHOLE` or `OWN_INPUT`.
        points: row by row, by cost.
        lacking: rows that have an accuracy and no cost.
    """

    dataset: str
    model: str
    unit: str
    tested: str
    points: list[Point]
    lacking: list[str]

    @property
    def name(self) -> str:
        return f"{self.dataset}, {self.model}"

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(point.row for point in self.points))

    @property
    def costs(self) -> tuple[float, float]:
        """Ends of the axis of cost: from zero, unless all costs lie close together."""
        shown = [point.shown_cost for point in self.points]
        low, high = min(shown), max(shown)
        room = 0.07 * (high - low) or 0.1 * high
        return (0.0 if low < 0.35 * high else max(0.0, low - room)), high + room

    @property
    def axis(self) -> str:
        """What the axis of cost shows."""
        return f"{COSTS[self.unit]}{'' if self.points[0].share is None else ', dense = 100%'}"

    @property
    def front(self) -> list[Point]:
        """The best points, by cost; none of too few images."""
        return sorted((point for point in self.points if point.is_best), key=lambda point: point.cost)


def tradeoffs(groups: list[Group]) -> list[list[Tradeoff]]:
    """For each dataset and model its charts: on its own input first, as in the headline; none without costs.

    Multiply-adds stand before seconds.
    """
    models: dict[tuple[str, str, bool], list[Group]] = {}
    for group in groups:
        models.setdefault((group.dataset, group.model, group.cross_fit), []).append(group)
    found = []
    for of_model in models.values():
        costs = [(MACS, macs_of), *([(SECONDS, seconds_of)] if are_comparable(of_model) else [])]
        charts = [
            _tradeoff(of_model, unit, cost, tested, columns)
            for tested, columns in ((OWN_INPUT, Group.own), (WHOLE, Group.whole))
            for unit, cost in costs
        ]
        found.append([chart for chart in charts if len(chart.points) > 1])
    return [charts for charts in found if charts]


def are_comparable(groups: list[Group]) -> bool:
    """Whether all runs that were trained had the same hardware and options of speed, so that seconds compare."""
    return len({run.config.environment.speed for group in groups for run in group.runs if run.seconds is not None}) == 1


def _tradeoff(
    groups: list[Group],
    unit: str,
    cost: Callable[[RunResult], float | None],
    tested: str,
    column: Callable[[Group, str], Cell | None],
) -> Tradeoff:
    points: dict[tuple[str, str], Point] = {}
    owners: dict[tuple[str, str], Group] = {}
    lacking: list[str] = []
    for group in groups:
        for row in group.rows:
            cell = column(group, row)
            if cell is None:
                continue
            costs = [cost(run) for run in group.scored[cell]]
            known = [value for value in costs if value is not None]
            if not known or len(known) < len(costs):
                lacking.append(row)
                continue
            of_group = path_of(row).has_budget and group.budget is not None
            budget = group.budget.label if of_group and group.budget else ""
            fewer = path_of(row).sees_part or path_of(row).low_resolution
            patches = group.patches_of(row) if budget and fewer else "-"
            mean = sum(known) / len(known)
            points[row, budget] = Point(row, cell[1], budget, patches, group.accuracies[cell], mean)
            owners[row, budget] = group
    dense = points.get(("dense", ""))
    shared = [replace(p, share=100 * p.cost / dense.cost if dense and dense.cost else None) for p in points.values()]
    told = all(point.accuracy.unbounded != FEW for point in shared)
    best = [replace(point, is_best=told and not any(_beats(other, point) for other in shared)) for point in shared]
    best = [replace(p, is_near=told and not p.is_best and _is_near(p, best, owners)) for p in best]
    rows = list(dict.fromkeys(point.row for point in best))
    best.sort(key=lambda point: (rows.index(point.row), point.cost))
    return Tradeoff(groups[0].dataset, groups[0].model, unit, tested, best, list(dict.fromkeys(lacking)))


def _beats(one: Point, other: Point) -> bool:
    """Whether `one` is at least as accurate for at most the same cost, and better in one of them."""
    first, second = (one.accuracy.mean, -one.cost), (other.accuracy.mean, -other.cost)
    return first != second and first[0] >= second[0] and first[1] >= second[1]


def _is_near(point: Point, points: list[Point], owners: dict[tuple[str, str], Group]) -> bool:
    """Whether nothing on the front that costs no more is clearly more accurate."""
    above = [other for other in points if other.is_best and _beats(other, point)]
    return all(_are_alike(other, point, owners) for other in above)


def _are_alike(one: Point, other: Point, owners: dict[tuple[str, str], Group]) -> bool:
    """Whether one point is not clearly above another, which may be of another budget, and so of another group."""
    first, second = owners[one.key], owners[other.key]
    cells = (one.row, one.on), (other.row, other.on)
    if first is second:
        return _holds_zero(first.contrast(*cells))
    if not first.keys.equals(second.keys):  # tickets of one budget failed on other images than those of another
        bounded = not (one.accuracy.unbounded or other.accuracy.unbounded)
        return bounded and one.accuracy.low <= other.accuracy.high
    seeds = len(first.seeds(cells[0])), len(second.seeds(cells[1]))
    of = [(cell_name(*cell), group.matrix[cell]) for cell, group in zip(cells, (first, second), strict=True)]
    return _holds_zero(contrast(*of[0], *of[1], seeds))


def _holds_zero(found: Contrast) -> bool:
    return found.unbounded is None and found.low <= 0
