"""Whether runs were tested on the same images and the same tickets, so that they can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vit_tickets.pipeline.geometry.patches import KINDS_OF_BUDGET, Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.paths import DROPPING, PARTIAL, PATHS
from vit_tickets.pipeline.runs.predictions import Predictions
from vit_tickets.pipeline.runs.provenance import GIVEN, TicketProvenance
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.report.analysis.notices import counted, listed
from vit_tickets.train.report.analysis.results import RunResult

# What tickets of two methods must share, so that only the choice of patches differs.
SHARED = ("dataset", "num_patches", *KINDS_OF_BUDGET, "mask_seed", "view", "kept")
# The same of runs at different image sizes: their tickets may be carried from one manifest, or be of their own.
BETWEEN_SIZES = ("dataset", "mask_seed", "view", "kept")


def of_sizes(runs: list[RunResult], budget: Budget | None) -> list[RunResult]:
    """The runs that a group of `budget` compares; those at another image size than dense training get `size`.

    As many tokens cost a network as much at every image size, so only groups of a number of tokens have several sizes.
    The size of dense training is that of the dense run with as many patches, or of the smallest one. With another
    budget, runs without one (dense) are left out at other sizes than those of the runs with one, where they can be.
    """
    full = [run for run in runs if run.config.image_size and not PATHS[run.path].low_resolution]
    dense = [run for run in full if run.budget is None]
    if budget is None or budget.tokens is None:
        sizes = {run.config.image_size for run in full if run.budget is not None}
        fitting = [run for run in runs if run.budget is not None or run.config.image_size in sizes]
        return fitting if sizes & {run.config.image_size for run in dense} else runs
    as_many = [run for run in dense if run.config.num_patches == budget.tokens]
    reference = min((run.config.image_size for run in as_many or dense or full), default=None)
    return [_of_size(run, reference, budget) for run in runs]


def _of_size(run: RunResult, reference: int | None, budget: Budget) -> RunResult:
    """`run` with the `size` that tells it from those at `reference`, and with what there is to test it on.

    Of a dense run with as many patches as tickets have, a ticket would be all of the image.
    """
    if PATHS[run.path].low_resolution:
        return run
    if run.config.image_size != reference:
        run = replace(run, size=run.config.image_size)
    if run.budget is not None or (run.size is None and run.config.num_patches != budget.tokens):
        return run
    whole = {on: found for on, found in run.predictions.items() if on == "dense"}
    return replace(run, predictions=whole, expected=("dense",))


@dataclass(frozen=True)
class WantedTickets:
    """The tickets that the runs of a group are to be tested on.

    Attributes:
        budget: None for a group without one.
        cross_fit: whether the tickets are cross-fitted.
        method: of the runs without tickets.
        found: predictions on the tickets of each method at each image size; None for the size of dense training.
    """

    budget: Budget | None
    cross_fit: bool
    method: str
    found: dict[tuple[str, int | None], Predictions]

    @property
    def by_method(self) -> dict[str, Predictions]:
        """Predictions on the tickets of each method, at the first size that has any."""
        by_method: dict[str, Predictions] = {}
        for (method, _), predictions in self.found.items():
            by_method.setdefault(method, predictions)
        return by_method

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
        check_same_tickets(self.found.get((method, run.size)), predictions)
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
        if run.on_tickets(on) and predictions.tickets and predictions.cross_fit == cross_fit
    ]
    found: dict[tuple[str, int | None], Predictions] = {}
    for run, predictions in on_tickets:
        if run.path in DROPPING and run.method == predictions.method:
            found.setdefault((run.method, run.size), predictions)
    for run, predictions in on_tickets:
        tickets = predictions.tickets or TicketProvenance()
        if predictions.method == method and _is_of_budget(tickets, budget):
            found.setdefault((method, run.size), predictions)
    first = [(size, predictions) for (of, size), predictions in found.items() if of == method][:1]
    for (_, size), predictions in found.items() if first else ():
        ((first_size, reference),) = first
        names = SHARED if size == first_size else BETWEEN_SIZES
        expected, other = ({name: _entries(p).get(name) for name in names} for p in (reference, predictions))
        if different := difference(expected, other):
            raise UserError(
                f"{predictions.path}: expected tickets that differ from those that {reference.path} is on in their "
                f"method alone; they differ in {different}"
            )
    return WantedTickets(budget, cross_fit, method, found)


def kept_apart(runs: list[RunResult]) -> list[str]:
    """That runs keep fewer or more of as many patches: a keep rate that one applies once, and others stage by stage."""
    kept: dict[int, dict[int, list[str]]] = {}
    for run in runs:
        if run.path in PARTIAL and run.config.num_patches:
            kept.setdefault(run.config.num_patches, {}).setdefault(run.config.kept, []).append(run.name)
    sentences = []
    for of, names_by_count in kept.items():
        shown = ", ".join(f"{count} of {of} ({listed(names)})" for count, names in names_by_count.items())
        sentences += [f"the runs keep different numbers of patches: {shown}"] if len(names_by_count) > 1 else []
    return sentences


def _is_of_budget(tickets: TicketProvenance, budget: Budget | None) -> bool:
    return budget is None or all(getattr(tickets, kind) == getattr(budget, kind) for kind in KINDS_OF_BUDGET)


def check_same_tickets(expected: Predictions | None, found: Predictions) -> None:
    """Raise UserError unless both are on the tickets of one manifest."""
    if different := difference(_entries(expected), _entries(found)):
        where = f"the tickets that {expected.path} is on" if expected else "tickets"
        raise UserError(f"{found.path}: expected {where}; they differ in {different}")


def _entries(predictions: Predictions | None) -> Mapping[str, Any]:
    """What their manifest records; whose of its tickets each image got is what the column says."""
    entries = predictions.tickets.entries if predictions and predictions.tickets else {}
    return {name: value for name, value in entries.items() if name not in GIVEN}


def check_same_images(expected: Predictions, found: Predictions, same_size: bool) -> None:
    """Raise UserError unless both hold the same keys with the same labels, seen in the same view.

    same_size: False for runs at another resolution.
    """
    names = ("dataset", "split", "view", *(("preprocessing",) if same_size else ()))
    ours, theirs = ({name: getattr(p.provenance, name) for name in names} for p in (expected, found))
    todo = "evaluate both with the same --tickets"
    if _sizes_differ(expected, found):
        todo = "runs of several image sizes are compared where all keep as many patches, by --tokens"
    if expected.method != found.method:
        todo = "tickets of both methods have to be of the same images"
    where = f"{found.path}: expected the images that {expected.path} is of"
    if different := difference(ours, theirs):
        raise UserError(f"{where}; they differ in {different}; {todo}")
    if not expected.keys.equals(found.keys):
        wanted, given = set(expected.keys.to_pylist()), set(found.keys.to_pylist())
        lacking, extra = sorted(wanted - given), sorted(given - wanted)
        parts = ((lacking, "missing"), (extra, "new"))
        shown = [f"{counted(len(part), 'image')} {word} (such as {part[0]!r})" for part, word in parts if part]
        raise UserError(f"{where}; {' and '.join(shown)}; {todo}")
    if (other := np.flatnonzero(expected.labels != found.labels)).size:
        first = int(other[0])
        raise UserError(
            f"{where}; other labels of {counted(other.size, 'image')}, the first {expected.keys[first].as_py()!r}: "
            f"expected {expected.labels[first]}, found {found.labels[first]}"
        )


def _sizes_differ(expected: Predictions, found: Predictions) -> bool:
    sizes = [(p.provenance.preprocessing or {}).get("image_size") for p in (expected, found)]
    return sizes[0] != sizes[1]
