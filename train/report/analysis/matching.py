"""Whether runs were tested on the same images and the same tickets, so that they can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_tickets.pipeline.geometry.patches import KINDS_OF_BUDGET, Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.paths import DROPPING
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.results import RunResult

# What tickets of two methods must share, so that only the choice of patches differs.
SHARED = ("dataset", "num_patches", *KINDS_OF_BUDGET, "mask_seed", "view", "kept")


@dataclass(frozen=True)
class WantedTickets:
    """The tickets that the runs of a group are to be tested on.

    Attributes:
        budget: None for a group without one.
        cross_fit: whether the tickets are cross-fitted.
        method: of the runs without tickets.
        by_method: predictions on the tickets of each method.
    """

    budget: Budget | None
    cross_fit: bool
    method: str
    by_method: dict[str, Predictions]

    def difference(self, run: RunResult, predictions: Predictions) -> str | None:
        """How the tickets of `predictions` differ: in budget, method or kind of selection; None if they are wanted.

        Raises UserError if they differ in anything else.
        """
        found = predictions.tickets or TicketProvenance()
        if run.budget is None and not _is_of_budget(found, self.budget):
            return "budget"
        method = run.method if run.path in DROPPING else self.method
        if predictions.method != method:
            return "method"
        if predictions.cross_fit != self.cross_fit:
            return f"selection, which was {'not ' if self.cross_fit else ''}cross-fitted"
        expected = self.by_method.get(method)
        if different := difference(_entries(expected), found.entries):
            where = f"the tickets that {expected.path} is on" if expected else "tickets"
            raise UserError(f"{predictions.path}: expected {where}; they differ in {different}")
        return None


def wanted_tickets(runs: list[RunResult], budget: Budget | None, cross_fit: bool) -> WantedTickets:
    """The tickets of each method: those that a run trained with them was tested on, otherwise those of any run.

    Raises UserError if tickets of two methods differ in more than the choice of patches.
    """
    methods = [run.method for run in runs if run.path in DROPPING]
    method = STAGED if STAGED in methods else next(iter(methods), STAGED)
    on_tickets = [
        (run, predictions)
        for run in runs
        for on, predictions in run.predictions.items()
        if on != "dense" and predictions.tickets and predictions.cross_fit == cross_fit
    ]
    found: dict[str, Predictions] = {}
    for run, predictions in on_tickets:
        if run.path in DROPPING and run.method == predictions.method:
            found.setdefault(run.method, predictions)
    for _, predictions in on_tickets:
        tickets = predictions.tickets or TicketProvenance()
        if predictions.method == method and _is_of_budget(tickets, budget):
            found.setdefault(method, predictions)
    for predictions in found.values() if method in found else ():
        expected, other = ({name: _entries(p).get(name) for name in SHARED} for p in (found[method], predictions))
        if different := difference(expected, other):
            raise UserError(
                f"{predictions.path}: expected tickets that differ from those that {found[method].path} is on in their "
                f"method alone; they differ in {different}"
            )
    return WantedTickets(budget, cross_fit, method, found)


def _is_of_budget(tickets: TicketProvenance, budget: Budget | None) -> bool:
    return budget is None or all(getattr(tickets, kind) == getattr(budget, kind) for kind in KINDS_OF_BUDGET)


def _entries(predictions: Predictions | None) -> Mapping[str, Any]:
    return predictions.tickets.entries if predictions and predictions.tickets else {}


def check_same_images(expected: Predictions, found: Predictions, same_size: bool) -> None:
    """Raise UserError unless both hold the same keys with the same labels, seen in the same view.

    same_size: False for a path with its own resolution.
    """
    names = ("dataset", "split", "view", *(("preprocessing",) if same_size else ()))
    ours, theirs = ({name: getattr(p.provenance, name) for name in names} for p in (expected, found))
    todo = "evaluate both with the same --tickets"
    if expected.method != found.method:
        todo = "tickets of both methods have to be of the same images"
    where = f"{found.path}: expected the images that {expected.path} is of"
    if different := difference(ours, theirs):
        raise UserError(f"{where}; they differ in {different}; {todo}")
    if not expected.keys.equals(found.keys):
        wanted, given = set(expected.keys.to_pylist()), set(found.keys.to_pylist())
        lacking, extra = sorted(wanted - given), sorted(given - wanted)
        parts = ((lacking, "missing"), (extra, "new"))
        shown = [f"{len(part)} images are {word} (such as {part[0]!r})" for part, word in parts if part]
        raise UserError(f"{where}; {' and '.join(shown)}; {todo}")
    if (other := np.flatnonzero(expected.labels != found.labels)).size:
        first = int(other[0])
        raise UserError(
            f"{where}; {other.size} labels differ, the first of {expected.keys[first].as_py()!r}: "
            f"expected {expected.labels[first]}, found {found.labels[first]}"
        )
