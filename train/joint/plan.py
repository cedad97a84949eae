"""The steps of a grid of weights x patches, beside those of the sweep that trains all weights.

A ticket of weights (`imp`) is found on every row of patches by itself, and trained there. The one that was found on
whole images is trained on tickets of patches, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.pipeline.weights.record import REINIT
from vit_tickets.train.joint.entries import IMP, NONE, OMP, Entry
from vit_tickets.train.lottery.request import to_sparsity
from vit_tickets.train.lottery.rounds import prune, rounds, ticket_of
from vit_tickets.train.sweep import plan as of_patches
from vit_tickets.train.sweep.plan import Beginning
from vit_tickets.train.sweep.request import Fewer, Request, Trial
from vit_tickets.train.sweep.steps import Step, keeps_initial, words

WHOLE = RowName(path="dense")


@dataclass(frozen=True)
class Halves:
    """The two trainings of `omp`, which together are as long as another.

    Attributes:
        first: epochs with all weights.
        second: epochs after pruning.
        recipe: of both; trained on from given weights, a run would have another.
    """

    first: int
    second: int
    recipe: str

    @property
    def share(self) -> float:
        """The first as a share of both."""
        return self.first / (self.first + self.second)


@dataclass(frozen=True)
class Grid:
    """The plan of a sweep over weights and patches.

    Attributes:
        request: of patches, with all weights.
        entries: how weights are made few; `NONE` is among them.
        steps: all, those of `request` first.
        trials: the trainings with fewer weights, and those that they begin with.
        compared: those of them that the report is of.
    """

    request: Request
    entries: tuple[Entry, ...]
    steps: list[Step] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    compared: list[Trial] = field(default_factory=list)

    @property
    def record(self) -> dict[str, list[str]]:
        """An entry of request.json, which may differ when a sweep is resumed."""
        return {"fewer_weights": [str(entry) for entry in self.entries]}

    def check(self) -> None:
        """Raise UserError for a finished run without the initial weights that its ticket is to start from."""
        for trial in self.request.trials():
            run = self.request.run(trial)
            initial = files.join(run, epoch_weights(0))
            if (
                keeps_initial(self.request, trial)
                and files.exists(files.join(run, FINAL))
                and not files.exists(initial)
            ):
                raise UserError(
                    f"--weights {IMP}: expected the initial weights of a finished run in {initial}, found none, as a "
                    "sweep without this entry does not keep them; another --out trains with them"
                )


def plan(request: Request, entries: tuple[Entry, ...], halves: Callable[[str], Halves]) -> Grid:
    """The grid of `request` x `entries`; with `NONE` alone its steps are those of the sweep.

    request: keeps initial weights where `IMP` is among the entries. halves: of a model, asked for where `OMP` is.
    """
    grid = Grid(request, entries, of_patches.plan(request))
    begun, by_title = Beginning.of(request), {step.title: step for step in grid.steps}
    found_on_whole: dict[tuple[str, int, Entry], tuple[str, Step]] = {}
    for trial in request.trials():
        bench = _Bench(grid, trial, begun)
        dense = by_title[bench.title("train")]
        for entry in (*entries, *_controls(entries)):
            if entry.method == IMP:
                last = bench.lottery(entry, dense)
                if trial.row == WHOLE:
                    found_on_whole[trial.model, trial.seed, entry] = last
                elif trial.row.path == "lt" and (found := found_on_whole.get((trial.model, trial.seed, entry))):
                    bench.carried(*found)
            elif entry.method == OMP:
                bench.prune_once(entry, halves(trial.model))
            elif entry.method != NONE:
                bench.while_training(entry)
    return grid


def _controls(entries: tuple[Entry, ...]) -> list[Entry]:
    """The random masks that entries have to beat, beside those that are among them."""
    nulls = [entry.null for entry in entries if entry.null]
    return [entry for entry in dict.fromkeys(nulls) if entry not in entries]


@dataclass
class _Bench:
    """The runs with fewer weights of one trial; see `lottery.rounds.Bench`."""

    grid: Grid
    trial: Trial
    begun: Beginning
    _by_title: dict[str, Trial] = field(default_factory=dict)

    def title(self, said: str) -> str:
        verb, _, rest = said.partition(" ")
        return f"{verb} {(replace(self.trial, weights=Fewer(rest, '')) if rest else self.trial).title}"

    def ticket(self, stem: str) -> str:
        run = self.grid.request.run(replace(self.trial, weights=Fewer("", stem)))
        return files.join(self.grid.request.out, "masks", files.name_of(run))

    def train(self, said: str, stem: str, pruned: Step | None = None, start: str | None = None) -> Step:
        options = words({"masks": pruned and ticket_of(pruned), "start": start})
        return self._train(said, stem, options, (pruned.title,) if pruned else ())

    def evaluate(self, training: Step) -> Step:
        request, trial = self.grid.request, self._by_title[training.title]
        self.grid.compared.append(trial)
        return of_patches.evaluate(
            request, trial, trial.budget or request.budgets[trial.model][0], training, self.begun
        )

    def lottery(self, entry: Entry, dense: Step) -> tuple[str, Step]:
        """Plan the rounds of `imp`; returns what they are called, and what makes the last ticket."""
        chain = to_sparsity(entry.shares[0], "scope", entry.rounds, None)
        steps = list(rounds(self, chain, dense, controls=(REINIT,), of=IMP))
        self.grid.steps.extend(steps)
        last = [step for step in steps if step.command[0] == "prune"][-1]
        return f"{IMP}-{chain.variant(entry.rounds)}", last

    def carried(self, stem: str, pruned: Step) -> None:
        """Train the ticket that was found on whole images."""
        self._add(self.train(f"train {stem.replace('-', ' ')}, found on {WHOLE}", f"{stem}-found-on-{WHOLE}", pruned))

    def while_training(self, entry: Entry) -> None:
        """A method that chooses weights while training."""
        self._add(self._train(f"train {str(entry).replace(':', ' ')}", entry.stem, words(entry.options)))

    def prune_once(self, entry: Entry, halves: Halves) -> None:
        """Train all weights for half of the epochs, prune, and go on for the other half."""
        first = self._train(
            f"train {OMP}, all weights", f"{OMP}-all", words({"epochs": halves.first}), (), halves.share
        )
        if first.title not in {step.title for step in self.grid.steps}:  # which other shares begin with, too
            self.grid.steps.append(first)
        said, stem = str(entry).replace(":", " "), f"{entry.method}-{entry.shares[0]:g}"
        options = {"weight_sparsity": f"{entry.shares[0]:g}", "of": "scope", "rewind": "none"}
        pruned = prune(self, f"prune {said}", first, options, stem)
        self.grid.steps.append(pruned)
        given = {"masks": ticket_of(pruned), "init": first.run, "recipe": halves.recipe, "epochs": halves.second}
        self._add(self._train(f"train {said}", stem, words(given), (first.title, pruned.title), 1 - halves.share))

    def _train(
        self, said: str, stem: str, options: tuple[str, ...], needs: tuple[str, ...] = (), share: float = 1.0
    ) -> Step:
        fewer = Fewer(said.partition(" ")[2], stem, options, needs, share)
        trial = replace(self.trial, weights=fewer)
        step = of_patches.train(self.grid.request, trial, self.begun)
        if step.title not in self._by_title:
            self.grid.trials.append(trial)
        self._by_title[step.title] = trial
        return step

    def _add(self, training: Step) -> None:
        self.grid.steps.extend((training, self.evaluate(training)))
