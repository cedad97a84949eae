"""The rows of runs with fewer weights: how many weights were dropped, by what, and where training began.

The names are those of `SparseWeights.row`: `imp`, `imp:rewind5`, `imp:reinit`, `imp:shuffled`, `omp`, `gmp`, `svite`.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from vit_tickets.pipeline.weights.record import FOUND_ON, MASKED, SparseWeights
from vit_tickets.pipeline.weights.ticket import WeightTicket

DENSE, TICKET, REINIT, SHUFFLED = "dense", "imp", "reinit", "shuffled"
_REWIND, _DEPTH = re.compile(r"rewind(\d+)"), re.compile(r"depth(\d+)")
# In the order of tables; others follow by name.
METHODS = (TICKET, "omp", "tp", "soup", "gmp", "ssp", "static", "svite", "s2vite", "small-dense")
# What was trained, in sentences and legends; controls and rewinding add to it.
_MEANINGS = {
    DENSE: "all weights",
    TICKET: "the ticket of magnitude pruning, from the initial weights of its dense run",
    "omp": "magnitude pruning once, then more training from the pruned weights",
    "tp": "pruning once by a first-order Taylor score, then more training from the pruned weights",
    "soup": "masks of several short trainings, merged, then more training from the pruned weights",
    "gmp": "gradual magnitude pruning while training",
    "ssp": "heads and neurons removed once, then more training from the weights that are left",
    "static": "a random mask from the start",
    "svite": "a mask that drops and grows weights while training",
    "s2vite": "heads and neurons that are dropped and grown while training",
    "small-dense": "a network with fewer blocks",
}
# What holds if the ticket does no better than a row.
_MORALS = {
    "omp": "pruning once is as good as pruning in rounds",
    "tp": "pruning once is as good as pruning in rounds",
    "soup": "merging the masks of a few short trainings is as good",
    "gmp": "pruning while training is as good, and takes a single training",
    "ssp": "removing heads and neurons once is as good",
    "static": "a random mask is as good, and takes a single training",
    "svite": "a mask that changes while training is as good, and takes a single training",
    "s2vite": "dropping heads and neurons while training is as good, and takes a single training",
    "small-dense": "a smaller network is as good",
}
_OF_SHUFFLED = "how many weights each layer keeps matters, not which"
_OF_REWINDING = "the initial weights are as good as those of a later epoch"
_OF_PATCHES = "weights that matter on other patches matter on these, and their ticket need not be found on them"
_OF_REINIT = "the ticket's own weights do not matter, other initial ones do as well under its mask"


class Level(NamedTuple):
    """How many weights were dropped. Levels of one group are questions of their own.

    Attributes:
        percent: dropped share of the scope, to a tenth.
        scope: name of the set of parameters that it is of.
    """

    percent: float
    scope: str

    @property
    def label(self) -> str:
        """`83.2% of conv`."""
        return f"{self.percent:.1f}% of {self.scope}"


def level_of(weights: SparseWeights, ended: WeightTicket | None = None) -> Level:
    """The level of a run, as it was asked for; without that, of the masks that it `ended` with."""
    if weights.sparsity is not None:
        return Level(_percent(weights.sparsity), weights.scope or "weights")
    if ended is not None:
        return Level(_percent(ended.sparsity), ended.scope)
    return Level(_percent(weights.of_network or 0.0), "network")


def _percent(share: float) -> float:
    return round(100 * share, 1)


def rewind_of(row: str) -> int:
    """The epoch whose weights the ticket of a row was rewound to; 0 for the initial ones."""
    return next((int(found[1]) for part in row.split(":") if (found := _REWIND.fullmatch(part))), 0)


def found_on(row: str) -> str | None:
    """What the ticket of a row was found on, `whole images` or as `lt-s0.75`, where it was trained on others."""
    found = next((part.removeprefix(FOUND_ON) for part in row.split(":") if part.startswith(FOUND_ON)), None)
    return "whole images" if found == DENSE else found


def is_ticket(row: str) -> bool:
    """Whether a row is trained from a ticket's own weights under its own mask: `imp` or `imp:rewind5`."""
    return row == TICKET or row == f"{TICKET}:rewind{rewind_of(row)}"


def meaning_of(row: str) -> str:
    """What was trained, in words."""
    method, *parts = row.split(":")
    if parts and (fewer := _DEPTH.fullmatch(parts[-1])):
        return f"{meaning_of(':'.join([method, *parts[:-1]]))}, of a network of {fewer[1]} blocks"
    if MASKED in parts:
        return "weights that were dropped after training, tested as they are"
    if found := found_on(row):
        control = ", its mask on other initial weights" if REINIT in parts else ""
        return f"the ticket of magnitude pruning that was found on {found}{control}"
    if REINIT in parts:
        return "the ticket's mask on other initial weights"
    if SHUFFLED in parts:
        return "a random mask that keeps as many weights of each layer as the ticket's"
    if rewind := rewind_of(row):
        return f"the ticket of magnitude pruning in rounds, each rewound to the weights of epoch {rewind}"
    return _MEANINGS.get(method, method)


def moral_of(row: str) -> str:
    """What holds if the ticket does no better than `row`; empty for rows that are no doubt about it."""
    parts = row.split(":")
    if is_ticket(row):
        return _OF_REWINDING
    if MASKED in parts:
        return ""
    if found_on(row):
        return "" if REINIT in parts else _OF_PATCHES
    if REINIT in parts:
        return _OF_REINIT
    return _OF_SHUFFLED if SHUFFLED in parts else _MORALS.get(parts[0], "")


def place(row: str) -> tuple[int, int, int, str]:
    """Where a row stands in tables: tickets, their controls, other methods."""
    method, *parts = row.split(":")
    known = METHODS.index(method) if method in METHODS else len(METHODS)
    controls = [part for part in parts if not _REWIND.fullmatch(part)]
    return known, len(controls), rewind_of(row), row


def in_order(rows: Iterable[str]) -> list[str]:
    """Each of `rows` once, in the order of tables."""
    return sorted(dict.fromkeys(rows), key=place)
