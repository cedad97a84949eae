"""A sweep: models x paths x budgets x seeds on one dataset, with tickets of several methods and kinds of random subset.

OUT/tickets/<method>/<budget>   manifests      OUT/runs/<run>           runs, by their usual names
OUT/labels                      label maps     OUT/scores/<dense run>   a dense run on the tickets of each budget
OUT/request.json                what OUT is of OUT/logs/<step>.log      what each step said
OUT/sweep.md, .json, .png       the report
"""

from dataclasses import dataclass

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.names import run_name, short_name
from vit_tickets.pipeline.runs.paths import COMPARED, PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.train.sweep import steps
from vit_tickets.train.sweep.steps import Shared, Step

PRETRAINING = "train selector"
FIXED = "fixed"  # what `train --rc` does without being asked


@dataclass(frozen=True)
class Trial:
    """One training. budget: None for path dense. variant: the method of its tickets (lt), the kind of its random subset
    (rc), else nothing."""

    model: str
    path: str
    seed: int
    budget: Budget | None = None
    variant: str | None = None

    @property
    def title(self) -> str:
        shown = None if self.variant in (STAGED, FIXED) else self.variant
        words = (short_name(self.model), self.path, shown, self.budget, f"seed {self.seed}")
        return " ".join(str(word) for word in words if word is not None)


@dataclass(frozen=True, kw_only=True)
class Request(Shared):
    """What `sweep` was asked for.

    methods: of the tickets, by the names of `generate --method`; the first is the reference, whose manifests say how
    many patches rc and small keep and what dense is tested on. rc: kinds of random subset, as `train --rc` has them.
    pretrain: whether the selector is a run that has to be trained first, as that of the embedded dataset.
    """

    models: tuple[str, ...]
    budgets: tuple[Budget, ...]
    paths: tuple[str, ...] = COMPARED
    methods: tuple[str, ...] = (STAGED,)
    rc: tuple[str, ...] = (FIXED,)
    seeds: int = 1
    pretrain: bool = False

    @property
    def reference(self) -> str:
        return self.methods[0]

    def tickets(self, budget: Budget, method: str | None = None) -> str:
        """The manifest's folder; without `method`, the reference's."""
        return files.join(self.out, "tickets", method or self.reference, budget.label)

    def run(self, trial: Trial) -> str:
        """The run's folder."""
        named = {"lt": trial.variant, "rc": f"rc-{trial.variant}"}.get(trial.path)
        variant = "" if trial.variant in (None, STAGED, FIXED) else named
        budget = trial.budget or self.budgets[0]
        return files.join(self.out, run_name(self.name, trial.model, trial.path, budget, trial.seed, variant))

    def scored(self, trial: Trial, budget: Budget) -> str:
        """The folder with the run's predictions on tickets of `budget`."""
        run = self.run(trial)
        if PATHS[trial.path].has_budget:
            return run
        stem = f"{self.name}-{short_name(trial.model)}-dense-{budget.label}-seed{trial.seed}"
        return files.join(self.out, "scores", stem)

    def trials(self) -> list[Trial]:
        """All trainings; those of seed 0 come first, so that there is soon something of everything."""
        return [
            trial
            for seed in range(self.seeds)
            for model in self.models
            for path in COMPARED
            if path in self.paths
            for trial in self._of_path(model, path, seed)
        ]

    def _of_path(self, model: str, path: str, seed: int) -> list[Trial]:
        if not PATHS[path].has_budget:
            return [Trial(model, path, seed)]
        variants = {"lt": self.methods, "rc": self.rc}.get(path, (None,))
        return [Trial(model, path, seed, budget, variant) for budget in self.budgets for variant in variants]

    def group(self, model: str, budget: Budget) -> list[tuple[Trial, str]]:
        """The trials that are compared at a budget, each with the folder of its predictions."""
        compared = [trial for trial in self.trials() if trial.model == model and trial.budget in (None, budget)]
        return [(trial, self.scored(trial, budget)) for trial in compared]


def plan(request: Request) -> list[Step]:
    """All steps of `request`, those that are done included; each stands after those that it needs."""
    pretrain = [_pretrain(request)] if request.pretrain else []
    before = tuple(step.title for step in pretrain)
    tickets = {
        method: steps.select(
            request, request.budgets, files.join(request.out, "tickets", method),
            None if method == STAGED else method, before,
        )
        for method in request.methods
    }  # fmt: skip
    labels = steps.map_labels(request)
    of_trials = []
    for trial in request.trials():
        training = _train(request, trial, tickets, labels)
        tested_at = [trial.budget] if trial.budget else request.budgets
        of_trials += [training, *(_evaluate(request, trial, budget, training, tickets) for budget in tested_at)]
    return [*pretrain, *tickets.values(), *labels, *of_trials]


def _pretrain(request: Request) -> Step:
    """The run that selects on the embedded dataset, by its own recipe, wherever it is used."""
    on = ("--device", request.device) if request.device else ()
    command = ("train", request.dataset, "--model", "deit_micro", "--path", "dense", "--out", request.selector)
    made = [files.join(request.selector, FINAL)]
    return Step(PRETRAINING, (*command, "--resume", *on), lambda: steps.all_there(made), run=request.selector)


def _method(request: Request, trial: Trial) -> str:
    """Whose tickets the run has, or is tested on."""
    return trial.variant if trial.path == "lt" else request.reference


def _train(request: Request, trial: Trial, tickets: dict[str, Step], labels: list[Step]) -> Step:
    method = _method(request, trial)
    with_labels = [step.title for step in labels if steps.takes_labels(trial.model)]
    needs = (*([] if not PATHS[trial.path].uses_tickets else [tickets[method].title]), *with_labels)
    manifest = request.tickets(trial.budget, method) if PATHS[trial.path].uses_tickets else None
    rc = trial.variant if trial.path == "rc" and trial.variant != FIXED else None
    return steps.train(
        request, trial.title, trial.model, trial.path, manifest, trial.seed, request.run(trial), rc, needs
    )


def _evaluate(request: Request, trial: Trial, budget: Budget, training: Step, tickets: dict[str, Step]) -> Step:
    method = _method(request, trial)
    title = f"{trial.title} on {budget}" if trial.budget is None else trial.title
    on = PATHS[trial.path].tested_on
    needs = (training.title, tickets[method].title)
    manifest, scored = request.tickets(budget, method), request.scored(trial, budget)
    return steps.evaluate(request, title, request.run(trial), scored, manifest, on, needs)


def evaluated(request: Request) -> list[list[str]]:
    """For every model and budget, the folders with predictions that are there; without those that have none."""
    groups = []
    for model in request.models:
        for budget in request.budgets:
            there = [
                scored for trial, scored in request.group(model, budget)
                if steps.all_there([files.join(request.run(trial), FINAL), *steps.predictions(scored, ("dense",))])
            ]  # fmt: skip
            groups += [there] if there else []
    return groups


def trained(request: Request) -> int:
    """How many of the trainings are done."""
    return sum(steps.all_there([files.join(request.run(trial), FINAL)]) for trial in request.trials())
