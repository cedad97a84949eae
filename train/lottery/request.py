"""What `lth` was asked for: the levels, how they are reached, the controls; and the folders that they fill.

OUT/runs/<run>            runs, by their usual names
OUT/masks/<ticket>        weight tickets
OUT/logs/<step>.log       output of each step
OUT/request.json          the request
OUT/report.md, ...        the report
"""

from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.record import REINIT

LTH = "lth"
SHUFFLED = "shuffled"
ALL_PATCHES = Budget(sparsity=0.0)
CONTROLS = {
    REINIT: "the ticket's mask on other initial weights (RR)",
    SHUFFLED: "a random mask that keeps as many weights of each layer, on the ticket's initial weights",
}


@dataclass(frozen=True)
class Round:
    """One pruning, of the weights that the round before it was trained to.

    Attributes:
        number: from 1.
        share: that is dropped.
        of: what it is a share of, as `prune --of` has it.
        is_reported: whether its ticket is compared.
    """

    number: int
    share: float
    of: str
    is_reported: bool


@dataclass(frozen=True)
class Chain:
    """Rounds of pruning one after the other, from dense weights on.

    Attributes:
        name: part of the names of its runs that tells it from other chains; may be empty.
        rounds: in their order.
        scope: as `prune --prune-scope` has it; None for the model's own.
    """

    name: str
    rounds: tuple[Round, ...]
    scope: str | None = None

    def variant(self, number: int) -> str:
        """What names of runs and tickets say of a round."""
        is_alone = self.name and len(self.rounds) == 1
        return self.name if is_alone else "-".join(filter(None, [self.name, f"round{number}"]))

    def title(self, number: int) -> str:
        """The same in titles: `round 3 of 14`, `msa 0.12`."""
        name = self.name.replace("-", " ")
        is_alone = self.name and len(self.rounds) == 1
        return name if is_alone else " ".join(filter(None, [name, f"round {number} of {len(self.rounds)}"]))


@dataclass(frozen=True, kw_only=True)
class Lottery:
    """A plan of tickets of weights.

    Attributes:
        dataset: its folder.
        name: of the dataset.
        model: as `train --model` names it.
        out: the folder of everything that is made.
        chains: of rounds.
        rewinds: epochs whose weights tickets start from, 0 for the initial ones.
        controls: some of `CONTROLS`.
        rates: learning rates; None for the recipe's.
        seeds: number of runs of everything.
        train_options: words for every `train`, as typed.
        device: the one among `train_options`, for the other commands.
        workers: the number among `train_options`, for `evaluate`.
        path: what all runs are trained on.
        tickets: the manifest of patches, as `train --tickets` takes it.
        budget: of its runs; of no meaning for a path without one.
        asked_budget: that among the options; None for the manifest's.
        record: what request.json holds.
    """

    dataset: str
    name: str
    model: str
    out: str
    chains: tuple[Chain, ...]
    rewinds: tuple[int, ...] = (0,)
    controls: tuple[str, ...] = tuple(CONTROLS)
    rates: tuple[float | None, ...] = (None,)
    seeds: int = 1
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    path: str = "dense"
    tickets: str | None = None
    budget: Budget = ALL_PATCHES
    asked_budget: Budget | None = None
    record: dict[str, Any] = field(default_factory=dict)

    def stem(self, rate: float | None, *parts: str) -> str:
        """What the names of a run and of its ticket say besides dataset, model and seed."""
        shown = [] if rate is None else [f"lr{rate:g}"]
        return "-".join(filter(None, [*shown, *parts]))

    def run(self, stem: str, seed: int) -> str:
        """The folder of a run."""
        return files.join(self.out, run_name(self.name, self.model, self.path, self.budget, seed, stem))

    @property
    def on(self) -> str:
        """What the runs are tested on: what they are trained on."""
        return RowName(path=self.path).validated_on

    def ticket(self, stem: str, seed: int) -> str:
        """The folder of a weight ticket."""
        if self.path != "dense":
            stem = "-".join(filter(None, [self.path, self.budget.label, stem]))
        return files.join(self.out, "masks", f"{short_name(self.model)}-{stem}-seed{seed}")


def in_rounds(share: float, rounds: int, report_at: tuple[int, ...], scope: str | None) -> Chain:
    """`rounds` prunings that each drop `share` of what is alive."""
    return Chain("", tuple(Round(n, share, "alive", n in report_at) for n in range(1, rounds + 1)), scope)


def to_sparsity(sparsity: float, of: str, rounds: int, scope: str | None, of_all: float = 1.0) -> Chain:
    """`rounds` prunings that each drop the same share of what is alive, until `sparsity` of the scope or network is
    dropped.

    of_all: the scope's share of what `sparsity` is of: 1 of itself. It has to be above `sparsity`.
    """
    shares = [of_all * (1 - (1 - sparsity / of_all) ** (number / rounds)) for number in range(1, rounds)]
    made = tuple(Round(n, round(share, 6), of, n == rounds) for n, share in enumerate([*shares, sparsity], start=1))
    of_what, in_several = "" if of == "scope" else f"of-{of}", f"in{rounds}" if rounds > 1 else ""
    return Chain("-".join(filter(None, [scope, f"{sparsity:g}", of_what, in_several])), made, scope)
