"""The paper's table on one's own data: which of our commands make it, in which order, and which of them are done.

OUT/tickets/<budget>   manifests           OUT/runs/<run>             runs, by their usual names
OUT/labels             label maps          OUT/scores/<dense run>     a dense run on the tickets of each budget
OUT/request.json       what OUT is of      OUT/reports/<model>-<budget>
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vit_tickets.pipeline import files, labels, manifests
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.manifests import Manifest, difference, read_metadata
from vit_tickets.pipeline.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.names import run_name, short_name
from vit_tickets.pipeline.patches import Budget
from vit_tickets.pipeline.pretrained import read_weights, state_sha256
from vit_tickets.train.evaluate import ON, ticket_provenance
from vit_tickets.train.folder import FINAL

REQUEST = "request.json"
FORMAT_VERSION = 1
PATHS = ("lt", "rc")


@dataclass(frozen=True)
class Request:
    """What `table` was asked for.

    dataset: its folder; name: its name. budgets: of every model, by the name that `train --model` takes. annotator:
    makes the label maps at `labels_dir`; None where they are there already, or are not asked for. train_options: for
    every training, as typed. device, workers: those among them that the other commands follow.
    """

    dataset: str
    name: str
    out: str
    budgets: dict[str, tuple[Budget, ...]]
    selector: str
    seeds: int = 1
    weights: str | None = None
    engine: str | None = None
    annotator: str | None = None
    labels_dir: str | None = None
    gpus: int = 1
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None

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


@dataclass(frozen=True)
class Step:
    """One of our commands. command: what follows `vit-tickets`. is_done: whether what it makes is on disk."""

    title: str
    command: tuple[str, ...]
    is_done: Callable[[], bool]


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
    return [_tickets(request), *_labels(request), *trainings, *evaluations, *reports]


def _tickets(request: Request) -> Step:
    """All budgets in one call, which decodes the images, and passes their first blocks, once for all."""
    budgets = request.all_budgets
    by_rate = budgets[0].keep_rate is not None
    values = ",".join(f"{budget.keep_rate if by_rate else budget.sparsity:g}" for budget in budgets)
    out = request.tickets(budgets[0]) if len(budgets) == 1 else files.join(request.out, "tickets")
    command = _command(
        "generate", request.dataset, ("--keep-rate" if by_rate else "--sparsity", values),
        ("--selector", request.selector), ("--weights", request.weights), ("--engine", request.engine),
        ("--device", request.device), ("--out", out),
    )  # fmt: skip
    made = [files.join(request.tickets(budget), manifests.INDEX) for budget in budgets]
    return Step(f"tickets {'keep rate' if by_rate else 'sparsity'} {values}", command, partial(_all_there, made))


def _labels(request: Request) -> list[Step]:
    if request.annotator is None:
        return []
    command = _command(
        "labels", request.dataset, ("--annotator", request.annotator), ("--engine", request.engine),
        ("--device", request.device), ("--out", request.labels_dir),
    )  # fmt: skip
    made = [files.join(request.labels_dir, labels.INDEX)]
    return [Step(f"label maps {request.annotator}", command, partial(_all_there, made))]


def _train(request: Request, model: str, path: str, budget: Budget, seed: int) -> Step:
    out = request.run(model, path, budget, seed)
    command = _command(
        "train", request.dataset, ("--model", model), ("--path", path),
        ("--tickets", None if path == "dense" else request.tickets(budget)),
        ("--labels", request.labels_dir if takes_labels(model) else None), ("--seed", seed), ("--out", out),
    )  # fmt: skip
    made = [files.join(out, FINAL)]
    return Step(
        f"train {_title(model, path, budget, seed)}",
        (*command, "--resume", *request.train_options),
        partial(_all_there, made),
    )


def _evaluate(request: Request, model: str, path: str, budget: Budget, seed: int) -> Step:
    run, scored = (place(model, path, budget, seed) for place in (request.run, request.scored))
    command = _command(
        "evaluate", run, ("--on", ",".join(ON)), ("--tickets", request.tickets(budget)),
        ("--out", None if scored == run else scored), ("--workers", request.workers), ("--device", request.device),
    )  # fmt: skip
    title = f"evaluate {_title(model, path, budget, seed)}"
    if path == "dense":
        title = f"{title} on {budget}"
    return Step(title, command, partial(_is_scored, run, scored, request.tickets(budget)))


def _report(request: Request, model: str, budget: Budget) -> Step:
    group, out = request.group(model, budget), request.report(model, budget)
    command = ("report", *group, "--out", out)
    return Step(f"report {short_name(model)} {budget}", command, partial(_is_reported, out, group))


def _title(model: str, path: str, budget: Budget, seed: int) -> str:
    return " ".join([short_name(model), path, *([] if path == "dense" else [str(budget)]), f"seed {seed}"])


def _command(name: str, subject: str, *options: tuple[str, Any]) -> tuple[str, ...]:
    """The command with those options that are not None."""
    given = [(option, str(value)) for option, value in options if value is not None]
    return name, subject, *(word for pair in given for word in pair)


def takes_labels(model: str) -> bool:
    """Whether `model` classifies every token, so that `train` takes label maps for it."""
    return short_name(model).startswith("lvvit")


def _all_there(made: list[str]) -> bool:
    return all(files.exists(path) for path in made)


def _predictions(folder: str) -> list[str]:
    return [files.join(folder, f"predictions-{on}.parquet") for on in ON]


def _is_scored(run: str, scored: str, tickets: str) -> bool:
    """Whether `scored` has predictions of the weights of `run`, all on the manifest `tickets`."""
    weights = files.join(run, FINAL)
    if not _all_there([weights, files.join(tickets, manifests.INDEX), *_predictions(scored)]):
        return False
    sha256, provenance = state_sha256(read_weights(weights)), ticket_provenance(Manifest.open(tickets))
    for path in _predictions(scored):
        found = read_metadata(path)
        on = found.get("tickets") or {}
        same = all(on.get(name) == provenance.get(name) for name in (*provenance, *METHOD_ENTRIES))
        if found.get("weights_sha256") != sha256 or not same:
            return False
    return True


def _is_reported(out: str, group: list[str]) -> bool:
    """Whether there is a report of just these folders that is newer than their predictions."""
    path, predictions = files.join(out, "report.json"), [file for folder in group for file in _predictions(folder)]
    if not _all_there([path, *predictions]):
        return False
    reported = [run["folder"] for record in files.read_json(path)["groups"] for run in record["runs"]]
    return sorted(reported) == sorted(group) and files.modified(path) > max(map(files.modified, predictions))


def check_request(out: str, record: dict[str, Any]) -> None:
    """Raise UserError where OUT holds a table of another request; models, budgets and seeds may differ."""
    path = files.join(out, REQUEST)
    if not files.exists(path):
        return
    if different := difference(record, files.read_json(path)):
        raise UserError(
            f"{out} holds another table than was asked for: {different}; repeat its settings, or pass another --out"
        )
