"""The steps of a plan of tickets of weights, each after those that it needs.

LT of a round needs its ticket, which needs LT of the round before. RR and shuffled need a ticket alone, and seeds and
rewinds need nothing of each other: with several jobs they run side by side.
"""

from dataclasses import dataclass
from functools import partial

from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.train.lottery.request import Lottery
from vit_tickets.train.lottery.rounds import rounds, ticket_of, value_of
from vit_tickets.train.sweep.steps import Step, all_there, is_tested, words


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


def between(steps: list[Step]) -> list[str]:
    """The folders of finished runs that are only trained: rounds that lead to those of `compared`."""
    tested = {step.command[1] for step in steps if step.command[0] == "evaluate"}
    return [step.run for step in trainings(steps) if step.run and step.run not in tested and step.is_done()]


def trainings(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.command[0] == "train"]


def check_kept(steps: list[Step]) -> None:
    """Raise UserError where a run is finished that did not keep the weights of an epoch that `steps` rewind to."""
    for step in trainings(steps):
        root, wanted = step.run or "", value_of(step, "--keep-epochs")
        names = [epoch_weights(int(epoch)) for epoch in wanted.split(",")] if wanted else []
        lacking = [name for name in names if not files.exists(files.join(root, name))]
        if lacking and files.exists(files.join(root, FINAL)):
            raise UserError(
                f"{root}: expected {lacking[0]} of a run that is finished, found none; delete that folder to train it "
                "anew, or pass another --out"
            )


@dataclass(frozen=True)
class _Seed:
    """The runs of one seed at one learning rate; a `Bench`."""

    asked: Lottery
    seed: int
    rate: float | None

    def steps(self) -> list[Step]:
        dense = self.train("train dense", "")
        found = [dense, self.evaluate(dense)]
        for chain in self.asked.chains:
            for rewind in self.asked.rewinds:
                found += rounds(self, chain, dense, rewind, self.asked.controls)
        return found

    def ticket(self, stem: str) -> str:
        return self.asked.ticket(self.asked.stem(self.rate, stem), self.seed)

    def train(self, said: str, stem: str, pruned: Step | None = None, start: str | None = None) -> Step:
        asked = self.asked
        keep = () if stem else asked.rewinds
        out = asked.run(asked.stem(self.rate, stem), self.seed)
        options = {
            "tickets": asked.tickets,
            **(asked.asked_budget.record() if asked.asked_budget else {}),
            "masks": pruned and ticket_of(pruned),
            "start": start,
            "keep_epochs": ",".join(map(str, keep)) or None,
            "lr": self.rate,
            "seed": self.seed,
            "out": out,
        }
        given = ("train", asked.dataset, "--model", asked.model, "--path", asked.path, *words(options), "--resume")
        made = [files.join(out, name) for name in (FINAL, *map(epoch_weights, keep))]
        needs = (pruned.title,) if pruned else ()
        return Step(self.title(said), (*given, *asked.train_options), partial(all_there, made), needs, out)

    def evaluate(self, training: Step) -> Step:
        run, on = training.run or "", self.asked.on
        options = {"on": on, "workers": self.asked.workers, "device": self.asked.device}
        title = training.title.replace("train ", "evaluate ", 1)
        return Step(title, ("evaluate", run, *words(options)), partial(is_tested, run, on), (training.title,))

    def title(self, said: str) -> str:
        """`train deit_micro round 3 of 6 seed 0`."""
        verb, _, rest = said.partition(" ")
        rate = f"lr {self.rate:g}" if self.rate is not None and len(self.asked.rates) > 1 else ""
        return " ".join(filter(None, [verb, short_name(self.asked.model), rest, rate, f"seed {self.seed}"]))
