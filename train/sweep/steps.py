"""Steps: the project's own commands that a plan consists of, what each needs, and whether its result exists."""

import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vit_tickets.pipeline.datasets.left_out import UNDECODABLE, counted, undecodable
from vit_tickets.pipeline.datasets.shards import Dataset, index_of
from vit_tickets.pipeline.geometry.patches import Budget, exact
from vit_tickets.pipeline.manifests import labels, methods
from vit_tickets.pipeline.manifests import manifest as manifests
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_metadata
from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.families import family_of, short_name
from vit_tickets.pipeline.runs.paths import ON
from vit_tickets.pipeline.runs.predictions import predictions_file
from vit_tickets.pipeline.runs.provenance import Provenance
from vit_tickets.pipeline.runs.weights import weights_sha256
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.train.sweep.request import Fewer, Request, Trial


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        title: unique in its plan.
        command: what follows `vit-tickets`.
        is_done: whether its result exists.
        needs: titles of the steps that come before it.
        run: the folder of the run that it trains.
        outcome: gives what else is told of its result, in words; may be empty.
    """

    title: str
    command: tuple[str, ...]
    is_done: Callable[[], bool]
    needs: tuple[str, ...] = ()
    run: str | None = None
    outcome: Callable[[], str] = str

    @property
    def name(self) -> str:
        """The title as a file's name."""
        return re.sub(r"[^\w.-]+", "-", self.title)


def typed(step: Step) -> str:
    """The step's command as a user types it, without the secrets of a URL."""
    return redacted(shlex.join(("vit-tickets", *step.command)))


def argv(step: Step, gpus: int = 1) -> list[str]:
    """The step's program and arguments: this Python, and torchrun for training on several GPUs."""
    name, *arguments = step.command
    if name == "train" and gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
        return [sys.executable, *launcher, "-m", "vit_tickets.train", *arguments]
    return [sys.executable, "-m", "vit_tickets.pipeline.cli", *step.command]


def pack(request: Request) -> list[Step]:
    """Pack the source, if it is one."""
    packing = request.images.packing
    if packing is None:
        return []
    given = (packing.source, request.dataset)
    command = ("pack", *given, *words({"shorter_side": packing.shorter_side or None, "val_share": packing.val_share}))
    is_done, outcome = partial(all_there, [index_of(request.dataset)]), partial(_packed, request.dataset)
    return [Step(f"pack {request.name}", command, is_done, outcome=outcome)]


def select(request: Request, method: str, needs: tuple[str, ...] = ()) -> Step:
    """Select the tickets of all budgets by one call, which decodes every image once."""
    budgets, root = request.selected, request.tickets_root(method)
    kind = budgets[0].kind
    values = ",".join(exact(budget.value) for budget in budgets)
    named = None if method == methods.STAGED else method
    out = files.join(root, budgets[0].label) if len(budgets) == 1 else root
    command = _command(
        "generate",
        request.dataset,
        {kind: values},
        method=named,
        selector=request.selector,
        weights=request.weights,
        weights_key=request.weights_key,
        engine=request.engine,
        device=request.device,
        out=out,
    )
    made = [files.join(root, budget.label, manifests.INDEX) for budget in budgets]
    title = " ".join(["tickets", *([named] if named else []), kind.replace("_", " "), values])
    first = files.join(root, budgets[0].label)
    return Step(title, command, partial(all_there, made), needs, outcome=partial(_selected, first))


def map_labels(request: Request, needs: tuple[str, ...] = ()) -> list[Step]:
    """Make the label maps, if there is an annotator."""
    if request.annotator is None or request.labels_dir is None:
        return []
    options = {"annotator": request.annotator, "engine": request.engine, "device": request.device}
    command = _command("labels", request.dataset, options, out=request.labels_dir)
    made = [files.join(request.labels_dir, labels.INDEX)]
    return [Step(f"label maps {request.annotator}", command, partial(all_there, made), needs)]


def train(request: Request, trial: Trial, tickets: str | None, needs: tuple[str, ...]) -> Step:
    """Train a run, or resume it."""
    out = request.run(trial)
    maps = request.labels_dir if takes_labels(trial.model) else None
    command = _command("train", request.dataset, {"model": trial.model})
    options = {"tickets": tickets, "labels": maps, "seed": trial.seed, "out": out}
    if request.same_tokens and trial.budget:
        options["tokens"] = trial.budget.tokens
    row, size = replace(trial.row, size=None), words({"image_size": trial.row.size})  # behind that of all runs
    fewer = trial.weights or Fewer("", "", ("--keep-epochs", "0") if request.keeps_initial else ())
    command = (*command, *row.options, *words(options), "--resume", *request.train_options, *size, *fewer.options)
    made = [files.join(out, name) for name in (FINAL, *([epoch_weights(0)] if keeps_initial(request, trial) else []))]
    return Step(training_title(trial), command, partial(all_there, made), (*needs, *fewer.needs), out)


def keeps_initial(request: Request, trial: Trial) -> bool:
    """Whether the run keeps the weights that it begins with, which tickets of weights start from."""
    return request.keeps_initial and trial.weights is None


def evaluate(request: Request, trial: Trial, budget: Budget, tickets: str, needs: tuple[str, ...]) -> Step:
    """Evaluate a run on the manifest `tickets`, whose budget is `budget`."""
    run, scored, on = request.run(trial), request.scored(trial, budget), request.tested_on(trial)
    options = {"on": ",".join(on), "tickets": tickets, "out": None if scored == run else scored}
    command = _command("evaluate", run, options, workers=request.workers, device=request.device)
    return Step(evaluation_title(trial, budget), command, partial(is_scored, run, scored, tickets, on), needs)


def training_title(trial: Trial) -> str:
    return f"train {trial.title}"


def evaluation_title(trial: Trial, budget: Budget) -> str:
    return f"evaluate {trial.title}" if trial.budget else f"evaluate {trial.title} on {budget}"


def report(request: Request, model: str, budget: Budget, needs: tuple[str, ...]) -> Step:
    """Report on one row of a table."""
    group, out = [scored for _, scored in request.group(model, budget)], request.report(model, budget)
    command = ("report", *group, "--out", out)
    return Step(f"report {short_name(model)} {budget}", command, partial(_is_reported, out, group), needs)


def _command(name: str, subject: str, options: dict[str, Any], **more: Any) -> tuple[str, ...]:
    """The command with those options that are not None."""
    return name, subject, *words(options | more)


def words(options: dict[str, Any]) -> tuple[str, ...]:
    """Those options that are not None, as they are typed."""
    given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
    return tuple(word for pair in given for word in pair)


def takes_labels(model: str) -> bool:
    """Whether `model` classifies every token, so that `train` takes label maps for it."""
    return family_of(model).has_token_outputs


def all_there(made: Iterable[str]) -> bool:
    return all(files.exists(path) for path in made)


def predictions(folder: str, on: tuple[str, ...] = ON) -> list[str]:
    """The files that `evaluate` writes into `folder`."""
    return [predictions_file(folder, how) for how in on]


def is_tested(run: str, on: str) -> bool:
    """Whether `run` has predictions of its own final weights in column `on`."""
    weights, made = files.join(run, FINAL), predictions_file(run, on)
    if not all_there([weights, made]):
        return False
    return Provenance.from_record(read_metadata(made)).weights_sha256 == weights_sha256(weights)


def _packed(root: str) -> str:
    """What of a source was not packed, or is no image, and where that is listed."""
    dataset = Dataset.open(root)
    entries = [*dataset.passed_over, *(entry for left_out in dataset.left_out.values() for entry in left_out)]
    left_out: dict[str, int] = {}
    for entry in entries:
        left_out[entry.what] = left_out.get(entry.what, 0) + entry.count
    said = []
    if left_out:
        what = " and ".join(counted(count, what) for what, count in left_out.items())
        said.append(f"{what} left out (see {index_of(root)})")
    for split in dataset.splits:
        folder = files.join(root, split)
        if found := undecodable(folder):
            where = files.join(folder, UNDECODABLE)
            said.append(f"{counted(len(found), 'image')} of {split} cannot be decoded (see {where})")
    return ", ".join(said)


def _selected(root: str) -> str:
    """How many images have no ticket, and where it is said why."""
    without = sum(split.errors for split in Manifest.open(root).ticket.splits.values())
    return f"{counted(without, 'image')} without a ticket (see `vit-tickets inspect {root}`)" if without else ""


def is_scored(run: str, scored: str, tickets: str, on: tuple[str, ...]) -> bool:
    """Whether `scored` has predictions of the weights of `run`, all on the manifest `tickets`."""
    weights = files.join(run, FINAL)
    if not all_there([weights, files.join(tickets, manifests.INDEX), *predictions(scored, on)]):
        return False
    sha256, manifest = weights_sha256(weights), Manifest.open(tickets)
    for path in predictions(scored, on):
        found = Provenance.from_record(read_metadata(path))
        if found.weights_sha256 != sha256 or found.tickets is None or not found.tickets.are_of(manifest):
            return False
    return True


def _is_reported(out: str, group: list[str]) -> bool:
    """Whether there is a report of exactly these folders that is newer than their predictions."""
    path = files.join(out, "report.json")
    made = [file for folder in group for file in predictions(folder)]
    if not all_there([path, *made]):
        return False
    reported = [run["folder"] for record in files.read_json(path)["groups"] for run in record["runs"]]
    return sorted(reported) == sorted(group) and files.modified(path) > max(map(files.modified, made))
