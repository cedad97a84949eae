"""What a sweep or a table was asked for: its trainings, the folders that they fill, and request.json.

OUT/tickets/<method>/<budget>   manifests (of a table: OUT/tickets/<budget>)
OUT/labels                      label maps
OUT/runs/<run>                  runs, by their usual names
OUT/scores/<dense run>          predictions of a dense run on the tickets of each budget
OUT/reports/<model>-<budget>    the report of each row of a table
OUT/logs/<step>.log             output of each step
OUT/request.json                the request
"""

from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.runs.paths import COMPARED, PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

REQUEST = "request.json"
FORMAT_VERSION = 1
FIXED = "fixed"  # the default of `train --rc`
SWEEP, TABLE = "sweep", "table"


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        model: as `train --model` names it.
        path: as `train --path` names it.
        seed: of weights and data order.
        budget: of its tickets; None for a path without a budget.
        variant: the method of its tickets (lt) or the kind of its random subset (rc); None for other paths.
    """

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
class Request:
    """What `sweep` or `table` was asked for.

    Attributes:
        dataset: its folder.
        name: of the dataset.
        out: the folder of everything that is made.
        selector: of the tickets, as `generate --selector` names it.
        budgets: of every model, by the name that `train --model` takes.
        command: `sweep`, or `table`, which has one method and a report for every model and budget.
        paths: what is trained, some of `COMPARED`.
        methods: of the tickets, as `generate --method` names them. The tickets of the first decide how many patches rc
            and small keep, and dense is tested on them.
        rc: kinds of random subset, as `train --rc` names them.
        seeds: number of runs of every trial.
        pretrain: whether the selector is a run that has to be trained first, as for the built-in dataset.
        weights: of the selector, as `generate --weights` takes them.
        weights_key: the same of `generate --weights-key`.
        engine: of tickets and label maps.
        annotator: makes the label maps in `labels_dir`; None if they exist or are not asked for.
        labels_dir: folder of the label maps.
        train_options: words for every `train`, as typed.
        device: the one among `train_options`, for the other commands.
        workers: the number among `train_options`, for `evaluate`.
        record: what request.json holds.
    """

    dataset: str
    name: str
    out: str
    selector: str
    budgets: dict[str, tuple[Budget, ...]]
    command: str = SWEEP
    paths: tuple[str, ...] = COMPARED
    methods: tuple[str, ...] = (STAGED,)
    rc: tuple[str, ...] = (FIXED,)
    seeds: int = 1
    pretrain: bool = False
    weights: str | None = None
    weights_key: str | None = None
    engine: str | None = None
    annotator: str | None = None
    labels_dir: str | None = None
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        return self.methods[0]

    @property
    def all_budgets(self) -> list[Budget]:
        """Every budget of any model, once."""
        return list(dict.fromkeys(budget for budgets in self.budgets.values() for budget in budgets))

    @property
    def rows(self) -> list[tuple[str, Budget]]:
        """Every model with each of its budgets."""
        return [(model, budget) for model, budgets in self.budgets.items() for budget in budgets]

    def tickets_root(self, method: str) -> str:
        """The folder of a method's manifests, one per budget."""
        root = files.join(self.out, "tickets")
        return root if self.command == TABLE else files.join(root, method)

    def tickets(self, budget: Budget, method: str | None = None) -> str:
        """The manifest's folder; without `method`, the reference's."""
        return files.join(self.tickets_root(method or self.reference), budget.label)

    def run(self, trial: Trial) -> str:
        """The run's folder."""
        variant = ""
        if trial.variant not in (None, STAGED, FIXED):
            variant = f"rc-{trial.variant}" if trial.path == "rc" else trial.variant
        budget = trial.budget or self.budgets[trial.model][0]
        return files.join(self.out, run_name(self.name, trial.model, trial.path, budget, trial.seed, variant))

    def scored(self, trial: Trial, budget: Budget) -> str:
        """The folder with the run's predictions on tickets of `budget`."""
        if trial.budget is not None:
            return self.run(trial)
        stem = f"{self.name}-{short_name(trial.model)}-{trial.path}-{budget.label}-seed{trial.seed}"
        return files.join(self.out, "scores", stem)

    def report(self, model: str, budget: Budget) -> str:
        """The folder of the report of a table's row."""
        return files.join(self.out, "reports", f"{short_name(model)}-{budget.label}")

    def trials(self) -> list[Trial]:
        """All trainings; those of seed 0 come first, so that early results cover everything."""
        return [
            trial
            for seed in range(self.seeds)
            for model in self.budgets
            for path in COMPARED
            if path in self.paths
            for trial in self._of_path(model, path, seed)
        ]

    def _of_path(self, model: str, path: str, seed: int) -> list[Trial]:
        if not PATHS[path].has_budget:
            return [Trial(model, path, seed)]
        variants = {"lt": self.methods, "rc": self.rc}.get(path, (None,))
        return [Trial(model, path, seed, budget, variant) for budget in self.budgets[model] for variant in variants]

    def group(self, model: str, budget: Budget) -> list[tuple[Trial, str]]:
        """The trials that are compared at a budget, each with the folder of its predictions."""
        compared = [trial for trial in self.trials() if trial.model == model and trial.budget in (None, budget)]
        return [(trial, self.scored(trial, budget)) for trial in compared]


def check_request(request: Request) -> None:
    """Raise UserError if OUT is of another request. What the record does not hold may differ."""
    path = files.join(request.out, REQUEST)
    if files.exists(path) and (different := difference(request.record, files.read_json(path))):
        raise UserError(
            f"{request.out} holds another {request.command} than was asked for: {different}; repeat its settings, or "
            "pass another --out"
        )
