"""The steps of a plan of tickets of weights, each after those that it needs.

LT of a round needs its ticket, which needs LT of the round before. RR and shuffled need a ticket alone, and seeds and
rewinds need nothing of each other: with several jobs they run side by side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.predictions import predictions_file
from vit_tickets.pipeline.runs.provenance import Provenance
from vit_tickets.pipeline.runs.weights import weights_sha256
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.pipeline.weights.record import RANDOM, REINIT
from vit_tickets.train.lottery.request import SHUFFLED, Chain, Lottery
from vit_tickets.train.sweep.steps import Step, all_there, words


def plan(asked: Lottery) -> list[Step]:
    """All steps, those that are done included; those of seed 0 come first."""
    found = []
    for seed in range(asked.seeds):
        for rate in asked.rates:
            found += _Seed(asked, seed, rate).steps()
    return found


def compared(steps: list[Step]) -> list[str]:
    """The folders that the report is of: of runs that are tested."""
    return [step.command[1] for step in steps if step.command[0] == "evaluate" and step.is_done()]


def trainings(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.command[0] == "train"]


@dataclass(frozen=True)
class _Seed:
    """The steps of one seed at one learning rate."""

    asked: Lottery
    seed: int
    rate: float | None

    def steps(self) -> list[Step]:
        dense = self._train("dense", "", keep=self.asked.rewinds)
        found = [dense, self._evaluate(dense)]
        for chain in self.asked.chains:
            for rewind in self.asked.rewinds:
                found += self._chain(chain, rewind, dense)
        return found

    def _chain(self, chain: Chain, rewind: int, dense: Step) -> Iterator[Step]:
        before, rewound = dense, f"rewind{rewind}" if rewind else ""
        words_of = f", rewound to epoch {rewind}" if rewind else ""
        for each in chain.rounds:
            stem, title = "-".join(filter(None, [chain.variant(each.number), rewound])), chain.title(each.number)
            out = self.asked.ticket(self.asked.stem(self.rate, stem), self.seed)
            options = {"weight_sparsity": f"{each.share:g}", "of": each.of, "prune_scope": chain.scope}
            pruned = self._prune(f"prune {title}{words_of}", before, options | {"rewind": rewind}, out)
            yield pruned
            before = self._train(f"{title}{words_of}", stem, pruned)
            yield before
            if each.is_reported:
                yield self._evaluate(before)
                yield from self._controls(f"{title}{words_of}", stem, pruned, dense, rewind)

    def _controls(self, title: str, stem: str, pruned: Step, dense: Step, rewind: int) -> Iterator[Step]:
        """What a ticket is compared with at its level."""
        if REINIT in self.asked.controls:
            other = self._train(f"{title}, other weights", f"{stem}-{REINIT}", pruned, start=REINIT)
            yield from (other, self._evaluate(other))
        if SHUFFLED in self.asked.controls and not rewind:
            out = self.asked.ticket(self.asked.stem(self.rate, stem, SHUFFLED), self.seed)
            options = {"criterion": RANDOM, "allocation": f"like:{_out(pruned)}", "rewind": 0}
            drawn = self._prune(f"draw {title}", dense, options | {"prune_scope": _given(pruned, "--prune-scope")}, out)
            drawn = Step(drawn.title, drawn.command, drawn.is_done, (*drawn.needs, pruned.title))
            shuffled = self._train(f"{title}, shuffled", f"{stem}-{SHUFFLED}", drawn)
            yield from (drawn, shuffled, self._evaluate(shuffled))

    def _prune(self, title: str, source: Step, options: dict, out: str) -> Step:
        given = words(options | {"device": None, "out": out})
        made = [files.join(out, INDEX)]
        title = self._title(title)
        return Step(title, ("prune", source.run or "", *given), partial(all_there, made), (source.title,))

    def _train(
        self, title: str, stem: str, pruned: Step | None = None, keep: tuple[int, ...] = (), start: str | None = None
    ) -> Step:
        asked = self.asked
        out = asked.run(asked.stem(self.rate, stem), self.seed)
        options = {
            "masks": pruned and _out(pruned),
            "start": start,
            "keep_epochs": ",".join(map(str, keep)) or None,
            "lr": self.rate,
            "seed": self.seed,
            "out": out,
        }
        given = ("train", asked.dataset, "--model", asked.model, "--path", "dense", *words(options), "--resume")
        made = [files.join(out, name) for name in (FINAL, *map(epoch_weights, keep))]
        needs = (pruned.title,) if pruned else ()
        title = self._title(f"train {title}")
        return Step(title, (*given, *asked.train_options), partial(all_there, made), needs, out)

    def _evaluate(self, training: Step) -> Step:
        run = training.run or ""
        options = {"on": "dense", "workers": self.asked.workers, "device": self.asked.device}
        title = training.title.replace("train ", "evaluate ", 1)
        return Step(title, ("evaluate", run, *words(options)), partial(_is_tested, run), (training.title,))

    def _title(self, said: str) -> str:
        """`train deit_micro round 3 of 6 seed 0`."""
        verb, _, rest = said.partition(" ")
        rate = f"lr {self.rate:g}" if self.rate is not None and len(self.asked.rates) > 1 else ""
        return " ".join(filter(None, [verb, short_name(self.asked.model), rest, rate, f"seed {self.seed}"]))


def _out(step: Step) -> str:
    return _given(step, "--out") or ""


def _given(step: Step, option: str) -> str | None:
    """The value of an option in the command of a step."""
    command = step.command
    return command[command.index(option) + 1] if option in command else None


def _is_tested(run: str) -> bool:
    """Whether there are predictions of the run's weights on whole images."""
    weights, made = files.join(run, FINAL), predictions_file(run, "dense")
    if not all_there([weights, made]):
        return False
    return Provenance.from_record(read_metadata(made)).weights_sha256 == weights_sha256(weights)
