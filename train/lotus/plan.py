"""The steps of `lotus`: first those that find the essential sparsity, then those that need to know it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.runs.config import CONFIG, FINAL, RunConfig
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.weights import weights_sha256
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights import ticket as weight_tickets
from vit_tickets.train.lotus.request import (
    ALLOCATIONS,
    FOLDS,
    MERGES,
    ROWS,
    SCRATCH,
    SHOT,
    UNKNOWN,
    Lotus,
    Row,
    typed_share,
)
from vit_tickets.train.sweep.steps import Step, all_there, is_scored, predictions, words

ON = ("dense", "lt")


def finding(asked: Lotus) -> list[Step]:
    """The steps that the essential sparsity follows from: dense runs, and one-shot pruning at all levels."""
    return [step for seed in range(asked.seeds) for step in _Seed(asked, seed, UNKNOWN).finding()]


def plan(asked: Lotus, essential: float | None) -> list[Step]:
    """All steps. essential: the essential sparsity; None where it is not known yet, for a dry run."""
    share = UNKNOWN if essential is None else typed_share(essential)
    found = finding(asked)
    for seed in range(asked.seeds):
        found += _Seed(asked, seed, share).rest({step.title: step for step in found})
    return found


def trainings(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.command[0] == "train"]


@dataclass(frozen=True)
class _Seed:
    """The steps of one seed. share: the essential sparsity, as it is typed."""

    asked: Lotus
    seed: int
    share: str

    @property
    def dense(self) -> Step:
        return self._train("dense", self.asked.run("dense", self.seed), "dense", {}, self.asked.dense_options)

    @property
    def tickets(self) -> Step:
        """Select the tickets of patches, by attention to the normalised map of the last block (LOTUS)."""
        asked, out = self.asked, self.asked.tickets(self.seed)
        options = {
            "method": "lotus",
            asked.budget.kind: f"{asked.budget.value:g}",
            "selector": asked.selector or self.dense.run,
            "weights": asked.weights,
            "weights_key": asked.weights_key,
            "device": asked.device,
            "out": out,
        }
        made, needs = [files.join(out, INDEX)], () if asked.selector else (self.dense.title,)
        title = self._title("tickets") if asked.selector is None else f"tickets {asked.selector}"
        return Step(title, ("generate", asked.dataset, *words(options)), partial(all_there, made), needs)

    def finding(self) -> list[Step]:
        found = [self.dense, self.tickets] if self.asked.selector is None or not self.seed else [self.dense]
        found.append(self._evaluate(self.dense))
        for allocation in ALLOCATIONS:
            for level in self.asked.levels:
                pruned = self._shot(typed_share(level), allocation)
                found += [pruned, self._masked(pruned, ("dense",), f"w{typed_share(level)}", allocation)]
        return found

    def rest(self, before: dict[str, Step]) -> list[Step]:
        asked = self.asked
        shot = self._shot(self.share, ALLOCATIONS[0])
        found = [] if shot.title in before or self.share == UNKNOWN else [shot]
        found.append(self._masked(shot, ON, f"w{self.share}", SHOT))
        members = [self._member(number, shot) for number in range(1, len(asked.soup_sparsities) + 1)]
        soups = {merge: self._soup(merge, members) for merge in MERGES}
        found += members
        for merge, soup in soups.items():
            found += [soup, self._masked(soup, ON, *asked.stem(merge, self.share))]
        masks = {None: None, SHOT: shot, **soups}
        for row in ROWS:
            tuned = self._tuned(row, masks[row.masks])
            found += [tuned, self._evaluate(tuned)]
        scratch = self._train(
            SCRATCH, asked.run("lt", self.seed), "lt", {"tickets": self._manifest}, asked.dense_options
        )
        scratch = _after(scratch, self.tickets.title)
        return [*found, scratch, self._evaluate(scratch)]

    @property
    def _manifest(self) -> str:
        return self.asked.tickets(self.seed)

    def _shot(self, share: str, allocation: str) -> Step:
        """Drop a share of the dense run's weights at once, by magnitude."""
        asked, out = self.asked, self.asked.ticket(self.seed, f"w{share}", allocation)
        options = {"weight_sparsity": share, "of": "scope", "prune_scope": asked.prune_scope, "allocation": allocation}
        return self._prune(f"prune {share} {allocation}", options, out, (self.dense.title,))

    def _soup(self, merge: str, members: list[Step]) -> Step:
        asked = self.asked
        options = {
            "soup": ",".join(member.run or "" for member in members),
            "soup_sparsities": ",".join(map(typed_share, asked.soup_sparsities)),
            "of": asked.soup_of,
            "merge": merge,
            "top_up": asked.top_up,
            "prune_scope": asked.prune_scope,
        }
        out = asked.ticket(self.seed, *asked.stem(merge, self.share))
        return self._prune(f"soup {self.share} {merge}", options, out, tuple(member.title for member in members))

    def _prune(self, title: str, options: dict[str, Any], out: str, needs: tuple[str, ...]) -> Step:
        command = ("prune", self.dense.run or "", *words(options | {"out": out}))
        return Step(self._title(title), command, partial(all_there, [files.join(out, INDEX)]), needs)

    def _member(self, number: int, shot: Step) -> Step:
        """One pass over a part of train, from the dense weights that the first pruning leaves."""
        options = {
            "masks": _out(shot),
            "init": self.dense.run,
            "only_fold": f"{number}/{FOLDS}",
            "epochs": 1,
            "warmup_epochs": 0,
        }
        out = self.asked.member(number, self.share, self.seed)
        return _after(self._train(f"{self.share} member {number}", out, "dense", options), shot.title)

    def _tuned(self, row: Row, masks: Step | None) -> Step:
        """Fine-tune the dense weights that the masks leave."""
        options = {
            "masks": masks and _out(masks),
            "init": self.dense.run,
            "tickets": self._manifest if row.path == "lt" else None,
            "epochs": self.asked.tune_epochs,
        }
        needs = [self.dense.title if masks is None else masks.title]
        needs += [self.tickets.title] if row.path == "lt" else []
        named = f"{row.name} fine-tuned" if masks is None else f"{self.share} {row.name} fine-tuned"
        out = self.asked.tuned(row, self.share, self.seed)
        return _after(self._train(named, out, row.path, options), *needs)

    def _train(self, title: str, out: str, path: str, options: dict[str, Any], more: tuple[str, ...] = ()) -> Step:
        asked = self.asked
        given = words(options | {"seed": self.seed, "out": out})
        command = ("train", asked.dataset, "--model", asked.model, "--path", path, *given, "--resume")
        made = [files.join(out, FINAL)]
        return Step(
            self._title(f"train {title}"), (*command, *more, *asked.train_options), partial(all_there, made), run=out
        )

    def _evaluate(self, training: Step) -> Step:
        """Test a run on whole images and on tickets, in one view."""
        run, options = training.run or "", self._tested(ON)
        title, needs = training.title.replace("train ", "evaluate ", 1), (training.title, self.tickets.title)
        is_done = partial(is_scored, run, run, self._manifest, ON)
        return Step(title, ("evaluate", run, *words(options)), is_done, needs)

    def _masked(self, pruned: Step, on: tuple[str, ...], *stem: str) -> Step:
        """Test the dense run with the masks of a ticket."""
        run, masks = self.dense.run or "", _out(pruned)
        out = self.asked.scores(self.seed, *stem)
        options = self._tested(on) | {"masks": masks, "out": out}
        title = self._title(f"evaluate {' '.join(stem)} without training")
        is_done = partial(is_masked, run, out, masks, on)
        return Step(title, ("evaluate", run, *words(options)), is_done, (pruned.title, self.tickets.title))

    def _tested(self, on: tuple[str, ...]) -> dict[str, Any]:
        asked = self.asked
        about = {"on": ",".join(on), "tickets": self._manifest}
        return about | {"workers": asked.workers, "device": asked.device}

    def _title(self, said: str) -> str:
        verb, _, rest = said.partition(" ")
        return " ".join(filter(None, [verb, short_name(self.asked.model), rest, f"seed {self.seed}"]))


def is_masked(run: str, scored: str, masks: str, on: tuple[str, ...]) -> bool:
    """Whether `scored` has predictions of the weights of `run` under the weight ticket `masks`."""
    weights, config = files.join(run, FINAL), files.join(scored, CONFIG)
    if not all_there([weights, config, *predictions(scored, on)]) or not weight_tickets.is_weight_ticket(masks):
        return False
    found = RunConfig.read(scored).weights
    if found is None or found.masks_sha256 != weight_tickets.read(masks).masks_sha256:
        return False
    return found.rewind_sha256 == weights_sha256(weights)


def _after(step: Step, *needs: str) -> Step:
    return Step(step.title, step.command, step.is_done, (*step.needs, *needs), step.run, step.outcome)


def _out(step: Step) -> str:
    return step.command[step.command.index("--out") + 1]
