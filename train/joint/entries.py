"""The entries of `sweep --weights`: all weights, or a method by which runs have fewer, and how many."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass

from vit_tickets.pipeline.commands.suggestions import did_you_mean
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.methods import METHODS

NONE, IMP, OMP, STATIC = "none", "imp", "omp", "static"
PER_ROUND = 0.2  # of the living weights, about, where the number of rounds is not said
MEANINGS = {
    NONE: "all weights",
    IMP: "magnitude pruning in rounds, back to the initial weights after each (the lottery ticket)",
    OMP: "half of the epochs with all weights, magnitude pruning once, the other half",
    **{name: method.meaning for name, method in METHODS.items()},
}
EXPECTED = (
    f"a list such as none,imp:0.8,svite:0.5 of {NONE}, {IMP}:S or {IMP}:S@ROUNDS, "
    + ", ".join(f"{name}:{'H/N' if 'head_sparsity' in of.needs else 'S'}" for name, of in METHODS.items())
    + f" and {OMP}:S"
)
_LIKE_AN_ENTRY = re.compile(r"\w+:[\d.]+(/[\d.]+)?(@\d+)?")


@dataclass(frozen=True)
class Entry:
    """How the weights of a run are made few.

    Attributes:
        method: one of `MEANINGS`.
        shares: of the weights that are dropped; of `s2vite` of the heads, and of the neurons; none of `none`.
        rounds: of `imp`, in which its share is reached.
    """

    method: str
    shares: tuple[float, ...] = ()
    rounds: int = 1

    def __str__(self) -> str:
        return self.method + (":" + "/".join(f"{share:g}" for share in self.shares) if self.shares else "")

    @property
    def null(self) -> "Entry | None":
        """The random masks that a method has to beat, as sparse; None of `imp`, whose control is its own mask on other
        weights, of random masks themselves, and where there are none such."""
        return Entry(STATIC, self.shares) if self.method in (OMP, "gmp", "svite") else None

    @property
    def options(self) -> dict[str, str]:
        """Of `train`, by which a method that chooses weights while training is asked for."""
        needs = METHODS[self.method].needs
        return {"weight_method": self.method, **dict(zip(needs, map("{:g}".format, self.shares), strict=True))}

    @property
    def stem(self) -> str:
        """What folders are named after: `w0.5-svite`."""
        return "-".join([f"w{self.shares[0]:g}", *map("{:g}".format, self.shares[1:]), self.method])


def is_list(text: str) -> bool:
    """Whether `text` is meant as a list of entries, well-formed or not, and not as the name of a file."""
    words = [word.strip() for word in text.split(",")]
    return any(word == NONE or word.partition(":")[0] in MEANINGS or _LIKE_AN_ENTRY.fullmatch(word) for word in words)


def parse_entries(text: str) -> tuple[Entry, ...]:
    """The entries of a list, `none` first, which is always among them.

    Raises UserError for what is no entry, and for a method that stands twice with the same share.
    """
    found = [_entry(word.strip()) for word in text.split(",") if word.strip()]
    asked = [str(entry) for entry in found]
    if twice := next((word for word in asked if asked.count(word) > 1), None):
        raise UserError(f"--weights: expected every method once with a share, found {twice} twice")
    return tuple(sorted({Entry(NONE), *found}, key=lambda entry: [NONE, *asked].index(str(entry))))


def _entry(word: str) -> Entry:
    method, colon, rest = word.partition(":")
    if method not in MEANINGS:
        raise UserError(f"--weights: expected {EXPECTED}, found {word!r}{did_you_mean(method, tuple(MEANINGS))}")
    if method == NONE:
        if colon:
            raise UserError(f"--weights: expected {NONE} alone, as it drops no weights, found {word}")
        return Entry(NONE)
    shares, at, rounds = rest.partition("@")
    if at and (method != IMP or not rounds.isdecimal() or not int(rounds)):
        raise UserError(f"--weights: expected rounds of {IMP} from 1 on, such as {IMP}:0.8@7, found {word}")
    of_units = method in METHODS and "head_sparsity" in METHODS[method].needs
    found: list[float] = []
    with suppress(ValueError):
        found = [float(share) for share in shares.split("/")]
    if len(found) != 1 + of_units or not all(0 <= share < 1 for share in found) or not any(found):
        like = f"{method}:0.3/0.4 (heads/neurons)" if of_units else f"{method}:0.5"
        raise UserError(f"--weights: expected shares to drop below 1, such as {like}, found {word}")
    if method == IMP:
        return Entry(IMP, tuple(found), int(rounds) if at else rounds_to(found[0]))
    return Entry(method, tuple(found))


def rounds_to(sparsity: float) -> int:
    """How many rounds of about a fifth of the living weights drop `sparsity` of all: 2 for 0.36, 7 for 0.8."""
    return max(1, round(math.log(1 - sparsity) / math.log(1 - PER_ROUND)))
