"""What a sweep or a table was asked for: its trainings, the folders that they fill, and request.json.

OUT/data/<dataset>              the dataset, where it is packed first
OUT/tickets/<method>/<budget>   manifests (of a table: OUT/tickets/<budget>)
OUT/labels                      label maps
OUT/runs/<run>                  runs, by their usual names
OUT/scores/<dense run>          predictions of a dense run on the tickets of each budget
OUT/reports/<model>-<budget>    the report of each row of a table
OUT/logs/<step>.log             output of each step
OUT/request.json                the request
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.manifests.tables import first_difference
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.runs.rows import DEFAULT_ROWS, RowName
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import shown
from vit_tickets.train.sweep.rows import SameTokens

REQUEST = "request.json"
FORMAT_VERSION = 1
TYPED = "typed"  # the command line that was typed last, of plans that record it
SWEEP, TABLE = "sweep", "table"
MAY_DIFFER = ("rows", "fewer_weights")  # entries of request.json, when a sweep is resumed
# Entries of request.json that are no options by that name.
DERIVED = ("format_version", "command", "dataset", "dataset_sha256", "source", "first_method")


@dataclass(frozen=True)
class Packing:
    """How a source is packed before all else.

    Attributes:
        source: an image folder, Parquet or tars; an absolute path, or a URL.
        shorter_side: to which larger images are shrunk, in pixels; 0 or None to leave all as they are.
        val_share: the share of train that is held out as val; None where the source has one.
    """

    source: str
    shorter_side: int | None = None
    val_share: float | None = None


@dataclass(frozen=True)
class Images:
    """The images of a plan.

    Attributes:
        root: folder of the dataset, which may not be there yet.
        name: of the dataset.
        source: the kind of source that it was packed from.
        splits: number of images by split.
        classes: number of classes.
        packing: how it is made; None for a dataset that was there.
        class_names: what the dataset calls them, in their order.
        lines: what the user should know about them.
        first: gives some of the images to train on.
    """

    root: str
    name: str
    source: str
    splits: dict[str, int]
    classes: int
    packing: Packing | None = None
    class_names: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    first: Callable[[], Iterable[Sample]] = field(default=tuple, compare=False, repr=False)

    def samples(self, split: str) -> int:
        """Number of images in `split`."""
        return self.splits[split]

    def head(self, split: str) -> Iterable[Sample]:
        """Some images of train; none of other splits."""
        return self.first() if split == "train" else ()


@dataclass(frozen=True)
class Fewer:
    """How a training comes to fewer weights."""

    #: In words.
    title: str
    #: Part of the name of its folder.
    stem: str
    #: Words of `train`, behind all others.
    options: tuple[str, ...] = ()
    #: Titles of the steps that come before it, besides those of its patches.
    needs: tuple[str, ...] = ()
    #: Of the epochs of other trainings, for an estimate of its time.
    share: float = 1.0


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        model: as `train --model` names it.
        row: what it is trained on.
        seed: of weights and data order.
        budget: of its tickets; None for a path without a budget.
        weights: how it comes to fewer weights; None for all.
    """

    model: str
    row: RowName
    seed: int
    budget: Budget | None = None
    weights: Fewer | None = None

    @property
    def title(self) -> str:
        of_weights = self.weights and self.weights.title
        words = (short_name(self.model), *str(self.row).split(":"), self.budget, of_weights, f"seed {self.seed}")
        return " ".join(str(word) for word in words if word is not None)

    @property
    def variant(self) -> str:
        """Part of the name of its folder that tells it from other rows of its path and budget; may be empty."""
        parts = [f"{self.row.size}px"] if self.row.size else []
        parts += [f"rc-{part}" if part == self.row.rc else part for part in str(self.row).split(":")[1:]]
        return "-".join([*parts, *([self.weights.stem] if self.weights else [])])


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `sweep` or `table` was asked for.

    Attributes:
        images: of the dataset, and how it is packed first.
        out: the folder of everything that is made.
        selector: of the tickets, as `generate --selector` names it.
        budgets: of every model, by the name that `train --model` takes.
        command: `sweep`, or `table`, which has one method and a report for every model and budget.
        rows: what is trained on.
        reference: a method of tickets, as `generate --method` names it. Its tickets decide how many patches rows keep
            that have none of their own, and dense is tested on them.
        seeds: number of runs of every trial.
        pretrain: whether the selector is a run that has to be trained first, as for the built-in dataset.
        weights: of the selector, as `generate --weights` takes them.
        weights_key: the same of `generate --weights-key`.
        selected_because: why it is this selector, where the user did not name it.
        init: the weights that every run starts from, as `train --init` takes them; None for random ones.
        same_tokens: the image sizes of dense training and of tickets, where they differ; the budget is then its own.
        engine: of tickets and label maps.
        annotator: makes the label maps in `labels_dir`; None if they exist or are not asked for.
        labels_dir: folder of the label maps.
        train_options: words for every `train`, as typed.
        device: the one among `train_options`, for the other commands.
        workers: the number among `train_options`, for `evaluate`.
        keeps_initial: whether runs keep the weights that they begin with, for tickets of weights.
        record: what request.json holds.
    """

    images: Images
    out: str
    selector: str
    budgets: dict[str, tuple[Budget, ...]]
    command: str = SWEEP
    rows: tuple[RowName, ...] = tuple(map(RowName.parse, DEFAULT_ROWS))
    reference: str = STAGED
    seeds: int = 1
    pretrain: bool = False
    weights: str | None = None
    weights_key: str | None = None
    selected_because: str = ""
    init: str | None = None
    same_tokens: SameTokens | None = None
    engine: str | None = None
    annotator: str | None = None
    labels_dir: str | None = None
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None
    keeps_initial: bool = False
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def recorded_rows(self) -> dict[str, list[str]]:
        """An entry of request.json; none of a table, whose rows are fixed."""
        return {"rows": [str(row) for row in self.rows]} if self.command == SWEEP else {}

    @property
    def dataset(self) -> str:
        return self.images.root

    @property
    def name(self) -> str:
        return self.images.name

    @property
    def methods(self) -> list[str]:
        """Every method of tickets that a run needs, the reference first."""
        return list(dict.fromkeys((self.reference, *(self.method(row) for row in self.rows))))

    def method(self, row: RowName) -> str:
        """Whose tickets the runs of `row` are trained or tested on."""
        return row.method if row.path == "lt" or row.method != STAGED else self.reference

    @property
    def all_budgets(self) -> list[Budget]:
        """Every budget of any model, once."""
        return list(dict.fromkeys(budget for budgets in self.budgets.values() for budget in budgets))

    @property
    def selected(self) -> list[Budget]:
        """The budgets of the manifests."""
        return [self.same_tokens.selection] if self.same_tokens else self.all_budgets

    @property
    def groups(self) -> list[tuple[str, Budget]]:
        """Every model with each of its budgets."""
        return [(model, budget) for model, budgets in self.budgets.items() for budget in budgets]

    def tickets_root(self, method: str) -> str:
        """The folder of a method's manifests, one per budget."""
        root = files.join(self.out, "tickets")
        return root if self.command == TABLE else files.join(root, method)

    def tickets(self, budget: Budget, method: str | None = None) -> str:
        """The manifest's folder; without `method`, the reference's."""
        made = self.same_tokens.selection if self.same_tokens else budget
        return files.join(self.tickets_root(method or self.reference), made.label)

    def run(self, trial: Trial) -> str:
        """The run's folder."""
        budget = trial.budget or self.budgets[trial.model][0]
        name = run_name(self.name, trial.model, trial.row.path, budget, trial.seed, trial.variant)
        return files.join(self.out, name)

    def scored(self, trial: Trial, budget: Budget) -> str:
        """The folder with the run's predictions on tickets of `budget`."""
        if trial.budget is not None or trial.weights:
            return self.run(trial)
        path = f"{trial.row.path}-{budget.label}" + (f"-{trial.variant}" if trial.variant else "")
        stem = f"{self.name}-{short_name(trial.model)}-{path}-seed{trial.seed}"
        return files.join(self.out, "scores", stem)

    def tested_on(self, trial: Trial) -> tuple[str, ...]:
        """What the run is tested on. Where dense training sees as many patches as tickets have, all of them. With fewer
        weights, whole images and what it was trained on, and where that is not all of an image, tickets."""
        if trial.weights:
            own = trial.row.validated_on
            wanted = ("dense", own, "lt" if own != "dense" else own)
            return tuple(on for on in trial.row.tested_on if on in wanted)
        return ("dense",) if self.same_tokens and trial.budget is None else trial.row.tested_on

    def report(self, model: str, budget: Budget) -> str:
        """The folder of the report of a table's row."""
        return files.join(self.out, "reports", f"{short_name(model)}-{budget.label}")

    def trials(self) -> list[Trial]:
        """All trainings; those of seed 0 come first, so that early results cover everything."""
        return [
            Trial(model, row, seed, budget)
            for seed in range(self.seeds)
            for model in self.budgets
            for row in self.rows
            for budget in (self.budgets[model] if row.trained_on.has_budget else (None,))
        ]

    def group(self, model: str, budget: Budget) -> list[tuple[Trial, str]]:
        """The trials that are compared at a budget, each with the folder of its predictions."""
        compared = [trial for trial in self.trials() if trial.model == model and trial.budget in (None, budget)]
        return [(trial, self.scored(trial, budget)) for trial in compared]


def begun_before_rows(request: Request) -> bool:
    """Whether OUT was begun by a version that had other rows by default, and did not record which."""
    path = files.join(request.out, REQUEST)
    return files.exists(path) and "rows" not in files.read_json(path)


def check_request(request: Request) -> None:
    """Raise UserError if OUT is of another request. `MAY_DIFFER`, and what the record does not hold, may differ."""
    check_record(request.out, request.command, request.record, MAY_DIFFER)


def check_record(out: str, command: str, record: dict[str, Any], may_differ: tuple[str, ...]) -> None:
    """Raise UserError if OUT/request.json is of another request of `command` than `record`."""
    path = files.join(out, REQUEST)
    if files.exists(path) and (first := first_difference(record, files.read_json(path), (*may_differ, TYPED))):
        name, now, stored = first
        option = name if name in DERIVED else "--" + name.removeprefix("train.").replace("_", "-")
        now, stored = ("none" if value is None else shown(value) for value in (now, stored))
        raise UserError(
            f"{out} holds another {command} than was asked for: {option}: {now} now, {stored} stored; "
            "repeat its settings, or pass another --out"
        )
