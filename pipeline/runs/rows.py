"""The rows of a report: what runs were trained on, their names, and the options of `train` that make them.

A name is PATH[@SIZE][:PART]*: the path, the side of the view where that tells runs apart, and what differs from the
default, in this order: the method of the tickets (`lt:centre`), whose tickets they are (`lt:swapped`), the temperature
at which they are sampled (`lt:t0.3`), the kind of random subset (`rc:fresh`), the kind of scorer (`learned:mlp`), the
epochs on all patches at the end (`lt:finish1`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.runs.choices import RANDOM_SUBSETS, SCORERS, TICKETS
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.paths import OWN, PATHS, TrainingPath, path_of
from vit_tickets.pipeline.system.errors import UserError

FIXED, ITS_OWN, LINEAR = RANDOM_SUBSETS[0], "own", SCORERS[0]
# What `report` expects of runs on other tickets than an image's own; the path says it of all others. A class-swapped
# ticket is chosen by the label: to be tested on one would tell the answer.
TESTED = {"mean": ("dense", "lt", "rc", OWN), "swapped": ("dense", "lt", "rc", OWN), "class-swapped": ("dense", "lt")}
_TEMPERATURE, _FINISH = re.compile(r"t(\d+(?:\.\d+)?(?:e[-+]?\d+)?)"), re.compile(r"finish(\d+)")


@dataclass(frozen=True, kw_only=True)
class RowName:
    """A row's name, taken apart."""

    path: str
    #: Side of the view in pixels, in groups of runs that differ in it.
    size: int | None = None
    #: Method of the tickets.
    method: str = STAGED
    #: Whose tickets they are, one of `TICKETS`.
    ticket: str = ITS_OWN
    #: At which they are sampled; None for the tickets themselves.
    temperature: float | None = None
    #: Kind of random subset.
    rc: str = FIXED
    #: Kind of scorer that chooses the patches.
    scorer: str = LINEAR
    #: The last epochs, on all patches.
    finish_dense: int = 0

    @classmethod
    def of(cls, config: RunConfig, size: int | None = None) -> "RowName":
        """The row of a run. size: the side of its view in pixels, where the row is to say it."""
        path = PATHS[config.path]
        if not path.drops_patches:
            return cls(path=path.name, size=size, scorer=config.scorer or LINEAR)
        recipe = config.recipe or {}
        return cls(
            path=path.name,
            size=size,
            method=config.tickets.scored_by if config.tickets else STAGED,
            ticket=config.ticket if path.name == "lt" else ITS_OWN,
            temperature=recipe.get("temperature") if path.name == "lt" else None,
            rc=config.rc if path.name == "rc" else FIXED,
            finish_dense=recipe.get("finish_dense") or 0,
        )

    @classmethod
    def parse(cls, text: str) -> "RowName":
        """Read a name; a part of no other kind is a method. Raises UserError for a path or size that is none."""
        head, *parts = text.split(":")
        path, at, size = head.partition("@")
        if path not in PATHS or (at and not size.isdecimal()) or not all(parts):
            raise UserError(f"expected a row such as dense, lt:centre or rc@288, found {text!r}")
        name = cls(path=path, size=int(size) if at else None)
        for part in parts:
            name = replace(name, **_part(path, part))
        return name

    def __str__(self) -> str:
        parts = [
            self.method if self.method != STAGED else "",
            self.ticket if self.ticket != ITS_OWN else "",
            f"t{self.temperature:g}" if self.temperature is not None else "",
            self.rc if self.rc != FIXED else "",
            self.scorer if self.scorer != LINEAR else "",
            f"finish{self.finish_dense}" if self.finish_dense else "",
        ]
        return ":".join([self.path if self.size is None else f"{self.path}@{self.size}", *filter(None, parts)])

    @property
    def trained_on(self) -> TrainingPath:
        return PATHS[self.path]

    @property
    def tested_on(self) -> tuple[str, ...]:
        """The columns that `report` expects."""
        return TESTED.get(self.ticket, self.trained_on.tested_on)

    @property
    def is_drawn(self) -> bool:
        """Whether its patches depend on the mask seed."""
        return self.path == "rc" or self.temperature is not None or self.ticket not in (ITS_OWN, "mean")

    @property
    def validated_on(self) -> str:
        """What it is scored on while it trains: what it is trained on. Runs on class-swapped tickets are scored on
        tickets."""
        if OWN in self.tested_on:
            return OWN
        return self.path if self.trained_on.drops_patches else "dense"

    @property
    def options(self) -> tuple[str, ...]:
        """The words of `train` that make it, beside those that all runs have and `--tickets`, a manifest of `method`
        (`trained_on.uses_tickets`)."""
        given = {
            "--path": self.path,
            "--image-size": self.size,
            "--ticket": self.ticket if self.ticket != ITS_OWN else None,
            "--temperature": None if self.temperature is None else f"{self.temperature:g}",
            "--rc": self.rc if self.rc != FIXED else None,
            "--scorer": self.scorer if self.scorer != LINEAR else None,
            "--finish-dense": self.finish_dense or None,
        }
        return tuple(str(word) for pair in given.items() if pair[1] is not None for word in pair)

    @property
    def meaning(self) -> str:
        """One line for legends and tables."""
        plain = replace(self, size=None, temperature=None, finish_dense=0)
        said = self.trained_on.meaning
        if (known := ROWS.get(str(plain)) or ROWS.get(str(replace(plain, method=STAGED)))) is not None:
            said = known.meaning
        if self.method != STAGED and str(plain) not in ROWS:
            said += f", by method {self.method}"
        if self.temperature is not None:
            said += f", sampled at temperature {self.temperature:g}, anew for every view"
        if self.finish_dense:
            epochs = "epoch" if self.finish_dense == 1 else f"{self.finish_dense} epochs"
            said += f"; the last {epochs} on all patches"
        return said if self.size is None else f"{said}, at {self.size} px"


def patches_of(config: RunConfig) -> str | None:
    """What a run was trained on, with its budget: `lt-s0.75`, `rc:fresh-s0.5`; None for all patches of whole images."""
    name = RowName.of(config)
    return f"{name}-{Budget.of(vars(config)).label}" if name.trained_on.has_budget and config.budget else None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row that comparisons have.

    Attributes:
        name: as reports and `sweep --without` have it.
        meaning: what was trained on, one line for help texts and tables.
        null: the doubt about tickets that holds where it does no worse than they do; empty for what it is measured by.
        by_default: whether `sweep` trains it unless it is told not to.
    """

    name: str
    meaning: str
    null: str = ""
    by_default: bool = True

    @property
    def parsed(self) -> RowName:
        return RowName.parse(self.name)

    @property
    def path(self) -> str:
        """Its path, whose look it has in figures."""
        return path_of(self.name).name


# In the order of tables. Further ones follow by grammar: lt:METHOD, lt:tT, :finishE behind any that drops patches.
_TABLE = (
    Row(name="dense", meaning=PATHS["dense"].meaning),
    Row(name="lt", meaning=PATHS["lt"].meaning),
    Row(
        name="rc",
        meaning="a random subset of the same size, fixed for each image",
        null="any patches do, as long as they stay the same",
    ),
    Row(
        name="rc:fresh",
        meaning="a random subset of the same size, drawn anew in every step (PatchDropout)",
        null="dropping patches at random is as good, and needs no selector",
    ),
    Row(
        name="small",
        meaning=PATHS["small"].meaning,
        null="a smaller picture holds as much as the best patches",
    ),
    Row(
        name="short",
        meaning=PATHS["short"].meaning,
        null="training shorter on everything is as good for the same cost",
    ),
    Row(
        name="lt:centre",
        meaning="the patches nearest the centre",
        null="a ticket finds no more than the photographer put into the middle",
    ),
    Row(
        name="lt:mean",
        meaning="one fixed mask for every image: the cells that most tickets hold",
        null="one fixed mask is as good, and a ticket need not be of its image",
    ),
    Row(
        name="lt:swapped",
        meaning="the ticket of another image",
        null="another image's ticket is as good, and a ticket is not its image's own",
    ),
    Row(
        name="lt:class-swapped",
        meaning="the ticket of another image of the same class",
        null="a ticket is one of its class, not of its image",
        by_default=False,
    ),
    Row(
        name="rc:aligned",
        meaning="a random subset of the same size, carried along with crops and flips like a ticket",
        null="staying with the image helps, not what is chosen",
        by_default=False,
    ),
    Row(
        name="learned",
        meaning=PATHS["learned"].meaning,
        null="a scorer that learns along with the network is as good, and needs no selector",
        by_default=False,
    ),
    Row(
        name="learned:mlp",
        meaning="the patches that a scorer of two layers chooses, which learns along with the network",
        null="a scorer that learns along with the network is as good, and needs no selector",
        by_default=False,
    ),
)
ROWS = {row.name: row for row in _TABLE}
DEFAULT_ROWS = tuple(row.name for row in _TABLE if row.by_default)


def in_order(names: Iterable[str]) -> list[str]:
    """Row names in the order of tables: by path, then as in `ROWS`, then by name."""
    paths, table = list(PATHS), list(ROWS)

    def place(name: str) -> tuple[int, int, str]:
        plain = str(replace(RowName.parse(name), size=None))
        return paths.index(path_of(name).name), table.index(plain) if plain in ROWS else len(table), name

    return sorted(names, key=place)


def _part(path: str, part: str) -> dict[str, object]:
    if path == "rc" and part in RANDOM_SUBSETS:
        return {"rc": part}
    if path == "lt" and part in TICKETS:
        return {"ticket": part}
    if path == "lt" and (found := _TEMPERATURE.fullmatch(part)):
        return {"temperature": float(found[1])}
    if path == "learned" and part in SCORERS:
        return {"scorer": part}
    if found := _FINISH.fullmatch(part):
        return {"finish_dense": int(found[1])}
    return {"method": part}
