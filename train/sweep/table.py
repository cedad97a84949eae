"""The paper's table on one's own data: which steps make it, in which order.

OUT/tickets/<budget>   manifests           OUT/runs/<run>             runs, by their usual names
OUT/labels             label maps          OUT/scores/<dense run>     a dense run on the tickets of each budget
OUT/request.json       what OUT is of      OUT/reports/<model>-<budget>
"""

from dataclasses import dataclass
from functools import partial

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.names import run_name, short_name
from vit_tickets.pipeline.system import files
from vit_tickets.train.sweep import steps
from vit_tickets.train.sweep.steps import Shared, Step

PATHS = ("lt", "rc")


@dataclass(frozen=True, kw_only=True)
class Request(Shared):
    """What `table` was asked for. budgets: of every model, by the name that `train --model` takes."""

    budgets: dict[str, tuple[Budget, ...]]
    seeds: int = 1
    gpus: int = 1

    @property
    def all_budgets(self) -> list[Budget]:
        """Every budget of any model, once."""
        return list(dict.fromkeys(budget for budgets in self.budgets.values() for budget in budgets))

    def tickets(self, budget: Budget) -> str:
        """The manifest's folder."""
        return files.join(self.out, "tickets", budget.label)

    def run(self, model: str, path: str, budget: Budget, seed: int) -> str:
        """The run's folder, for `dense` the same with every budget."""
        return files.join(self.out, run_name(self.name, model, path, budget, seed))

    def scored(self, model: str, path: str, budget: Budget, seed: int) -> str:
        """The folder with the run's predictions on the tickets of `budget`."""
        if path != "dense":
            return self.run(model, path, budget, seed)
        return files.join(self.out, "scores", f"{self.name}-{short_name(model)}-dense-{budget.label}-seed{seed}")

    def report(self, model: str, budget: Budget) -> str:
        return files.join(self.out, "reports", f"{short_name(model)}-{budget.label}")

    def group(self, model: str, budget: Budget) -> list[str]:
        """The folders that a row of the table is made from."""
        return [self.scored(model, path, budget, seed) for path in ("dense", *PATHS) for seed in range(self.seeds)]


def plan(request: Request) -> list[Step]:
    """All steps of `request` in their order, those that are done included."""
    trainings, evaluations, reports = [], [], []
    for model, budgets in request.budgets.items():
        dense = [("dense", budgets[0], seed) for seed in range(request.seeds)]
        sparse = [(path, budget, seed) for budget in budgets for path in PATHS for seed in range(request.seeds)]
        trainings += [_train(request, model, *run) for run in (*dense, *sparse)]
        for budget in budgets:
            runs = [(path, budget, seed) for path in ("dense", *PATHS) for seed in range(request.seeds)]
            evaluations += [_evaluate(request, model, *run) for run in runs]
            reports.append(_report(request, model, budget))
    tickets = steps.select(request, request.all_budgets, files.join(request.out, "tickets"))
    return [tickets, *steps.map_labels(request), *trainings, *evaluations, *reports]


def _train(request: Request, model: str, path: str, budget: Budget, seed: int) -> Step:
    tickets = None if path == "dense" else request.tickets(budget)
    out = request.run(model, path, budget, seed)
    return steps.train(request, _title(model, path, budget, seed), model, path, tickets, seed, out)


def _evaluate(request: Request, model: str, path: str, budget: Budget, seed: int) -> Step:
    run, scored = (place(model, path, budget, seed) for place in (request.run, request.scored))
    title = _title(model, path, budget, seed) + (f" on {budget}" if path == "dense" else "")
    return steps.evaluate(request, title, run, scored, request.tickets(budget))


def _report(request: Request, model: str, budget: Budget) -> Step:
    group, out = request.group(model, budget), request.report(model, budget)
    command = ("report", *group, "--out", out)
    return Step(f"report {short_name(model)} {budget}", command, partial(_is_reported, out, group))


def _title(model: str, path: str, budget: Budget, seed: int) -> str:
    return " ".join([short_name(model), path, *([] if path == "dense" else [str(budget)]), f"seed {seed}"])


def _is_reported(out: str, group: list[str]) -> bool:
    """Whether there is a report of just these folders that is newer than their predictions."""
    path = files.join(out, "report.json")
    predictions = [file for folder in group for file in steps.predictions(folder)]
    if not steps.all_there([path, *predictions]):
        return False
    reported = [run["folder"] for record in files.read_json(path)["groups"] for run in record["runs"]]
    return sorted(reported) == sorted(group) and files.modified(path) > max(map(files.modified, predictions))
