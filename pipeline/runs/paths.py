"""The training paths, in one table: commands, checks, reports and figures derive their lists from it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

OWN = "own"  # the column of runs whose patches no other column shows
TESTED_ON = {
    "dense": "all patches",
    "lt": "the ticket",
    "rc": "a random subset",
    OWN: "what the run was trained on",
}
ON = ("dense", "lt", "rc")  # the columns of every report, as `evaluate --on` names them


@dataclass(frozen=True, kw_only=True)
class TrainingPath:
    """What a network is trained on, how its runs are tested, and how reports show them.

    Attributes:
        name: as `train --path` and config.json have it.
        meaning: one line for help texts.
        title: its name in sentences; empty if it is `name`.
        label: its name below the axis of report.png; empty if it is `name`.
        tested_on: what `report` expects its runs to be tested on.
        is_trained: whether `train` makes its runs.
        is_judged: whether a verdict compares it.
        has_budget: whether runs of different budgets differ.
        uses_tickets: whether tickets decide which patches, or how many, it is trained on.
        drops_patches: whether it is trained on some of the patches; `train` then requires tickets.
        chooses_patches: whether a scorer inside the network, which learns along, chooses the patches that it sees.
        low_resolution: whether it is trained on smaller images with as many patches as a ticket.
        same_cost: whether it is trained for fewer epochs, at the cost of training on tickets.
        prunes_tokens: whether it prunes tokens inside the network, to make a selector; reports leave it out.
    """

    name: str
    meaning: str
    title: str = ""
    label: str = ""
    tested_on: tuple[str, ...] = ("dense",)
    is_trained: bool = True
    is_judged: bool = False
    has_budget: bool = True
    uses_tickets: bool = False
    drops_patches: bool = False
    chooses_patches: bool = False
    low_resolution: bool = False
    same_cost: bool = False
    prunes_tokens: bool = False

    @property
    def sees_part(self) -> bool:
        """Whether it is trained on a part of each image's patches, whoever chooses them."""
        return self.drops_patches or self.chooses_patches


# In the order of every table and figure.
_TABLE = (
    TrainingPath(name="dense", meaning="all patches", tested_on=ON, has_budget=False, is_judged=True),
    TrainingPath(
        name="lt",
        meaning="each image's ticket",
        title="LT",
        label="lt\n(ticket)",
        tested_on=ON,
        is_judged=True,
        uses_tickets=True,
        drops_patches=True,
    ),
    TrainingPath(
        name="rc",
        meaning="a random subset of the same size",
        title="RC",
        label="rc\n(random)",
        tested_on=ON,
        is_judged=True,
        uses_tickets=True,
        drops_patches=True,
    ),
    TrainingPath(
        name="small",
        meaning="all of the image at a lower resolution with as many patches",
        label="small\n(low res.)",
        uses_tickets=True,
        low_resolution=True,
    ),
    TrainingPath(
        name="short",
        meaning="all patches, for as many epochs as cost what training on tickets costs",
        label="short\n(fewer epochs)",
        tested_on=ON,
        uses_tickets=True,
        same_cost=True,
    ),
    TrainingPath(
        name="learned",
        meaning="the patches that a scorer chooses, which learns along with the network (SViTE+)",
        label="learned\n(scorer)",
        tested_on=("dense", OWN),
        uses_tickets=True,
        chooses_patches=True,
    ),
    TrainingPath(name="selector", meaning="all patches, with token pruning, to make a selector", prunes_tokens=True),
    TrainingPath(
        name="weights",
        meaning="plain weights, scored by `evaluate` without a run",
        title="the published weights",
        label="published\nweights",
        is_trained=False,
        has_budget=False,
    ),
)

PATHS = {path.name: path for path in _TABLE}
TRAINED = tuple(path.name for path in _TABLE if path.is_trained)
COMPARED = tuple(path.name for path in _TABLE if path.is_trained and not path.prunes_tokens)
JUDGED = tuple(path.name for path in _TABLE if path.is_judged)
DROPPING = tuple(path.name for path in _TABLE if path.drops_patches)
PARTIAL = tuple(path.name for path in _TABLE if path.sees_part)


def path_of(row: str) -> TrainingPath:
    """The path of a report's row, which may say more than its path: `lt:centre`, `rc:fresh`, `lt@288`.

    Raises KeyError for a name that is not in `PATHS`. `rows.RowName` reads the rest.
    """
    return PATHS[_path_in(row)]


def is_of_path(row: str) -> bool:
    """Whether a row is named after a path, as those of runs with fewer weights (`imp`, `gmp`) are not."""
    return _path_in(row) in PATHS


def _path_in(row: str) -> str:
    return re.split("[@:]", row, maxsplit=1)[0]


def columns(found: Iterable[str]) -> tuple[str, ...]:
    """The columns of a table of results that were tested on `found`: `ON`, and others where there are any."""
    found = set(found)
    return tuple(on for on in TESTED_ON if on in ON or on in found)
