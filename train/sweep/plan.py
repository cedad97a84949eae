"""The steps of a sweep or a table, each after those that it needs."""

from dataclasses import dataclass

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.config import CONFIG, FINAL, RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.train.sweep import steps
from vit_tickets.train.sweep.request import TABLE, Request, Trial
from vit_tickets.train.sweep.steps import Step

PRETRAINING = "train selector"


@dataclass(frozen=True)
class Beginning:
    """The steps that come before all trainings.

    Attributes:
        first: the images, and the selector, where they are made.
        tickets: by method.
        labels: the label maps.
    """

    first: list[Step]
    tickets: dict[str, Step]
    labels: list[Step]

    @classmethod
    def of(cls, request: Request) -> "Beginning":
        packing = steps.pack(request)
        first = [*packing, *([_pretrain(request)] if request.pretrain else [])]
        before = tuple(step.title for step in first)
        tickets = {method: steps.select(request, method, before) for method in request.methods}
        return cls(first, tickets, steps.map_labels(request, tuple(step.title for step in packing)))

    @property
    def steps(self) -> list[Step]:
        return [*self.first, *self.tickets.values(), *self.labels]


def plan(request: Request) -> list[Step]:
    """All steps of `request`, those that are done included; each stands after those that it needs."""
    begun = Beginning.of(request)
    of_trials, scored = [], {}
    for trial in request.trials():
        training = train(request, trial, begun)
        of_trials.append(training)
        for budget in [trial.budget] if trial.budget else request.budgets[trial.model]:
            scored[trial, budget] = evaluate(request, trial, budget, training, begun)
            of_trials.append(scored[trial, budget])
    reports = []
    for model, budget in request.groups if request.command == TABLE else []:
        group = request.group(model, budget)
        reports.append(steps.report(request, model, budget, tuple(scored[trial, budget].title for trial, _ in group)))
    return [*begun.steps, *of_trials, *reports]


def _pretrain(request: Request) -> Step:
    """Train the selector of the built-in dataset by its own recipe."""
    on = ("--device", request.device) if request.device else ()
    command = ("train", request.dataset, "--model", "deit_micro", "--path", "dense", "--out", request.selector)
    made = [files.join(request.selector, FINAL)]
    return Step(PRETRAINING, (*command, "--resume", *on), lambda: steps.all_there(made), run=request.selector)


def train(request: Request, trial: Trial, begun: Beginning) -> Step:
    """Train a run of `request`, once the tickets and label maps that it takes are there."""
    method = request.method(trial.row)
    needs = tuple(step.title for step in begun.labels if steps.takes_labels(trial.model))
    manifest = request.tickets(trial.budget or request.budgets[trial.model][0], method)
    if trial.budget is None:
        manifest = _begun_with(request.run(trial), manifest)
    if manifest:
        needs = (begun.tickets[method].title, *needs)
    return steps.train(request, trial, manifest, needs)


def _begun_with(run: str, manifest: str) -> str | None:
    """The manifest that a run without a budget is tested on while it trains: `manifest`, so that its view is that of
    the runs on tickets, unless the run was begun with another, or with none, and has to be resumed with that."""
    if not files.exists(files.join(run, CONFIG)):
        return manifest
    begun = RunConfig.read(run).tickets_dir
    return manifest if begun and not files.exists(begun) else begun


def evaluate(request: Request, trial: Trial, budget: Budget, training: Step, begun: Beginning) -> Step:
    """Evaluate a run on the tickets of `budget`."""
    method = request.method(trial.row)
    needs = (training.title, begun.tickets[method].title)
    return steps.evaluate(request, trial, budget, request.tickets(budget, method), needs)


def evaluated(request: Request) -> list[list[str]]:
    """For every model and budget, the folders that hold predictions of finished runs; without empty lists."""
    groups = []
    for model, budget in request.groups:
        there = [
            scored
            for trial, scored in request.group(model, budget)
            if steps.all_there([files.join(request.run(trial), FINAL), *steps.predictions(scored, ("dense",))])
        ]
        groups += [there] if there else []
    return groups


def trained(request: Request) -> int:
    """How many of the trainings are done."""
    return sum(steps.all_there([files.join(request.run(trial), FINAL)]) for trial in request.trials())
