"""Steps: our own commands that a plan is made of, what each needs, and whether what it makes is on disk."""

import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests import labels, methods
from vit_tickets.pipeline.manifests import manifest as manifests
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import difference, read_metadata
from vit_tickets.pipeline.networks.pretrained import read_weights, state_sha256
from vit_tickets.pipeline.runs.config import FINAL
from vit_tickets.pipeline.runs.names import short_name
from vit_tickets.pipeline.runs.paths import ON
from vit_tickets.pipeline.runs.predictions import ticket_provenance
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.redaction import redacted

REQUEST = "request.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all steps of a plan have in common.

    dataset: its folder; name: its name. annotator: makes the label maps at `labels_dir`; None where they are there
    already, or are not asked for. train_options: for every training, as typed. device, workers: those among them that
    the other commands follow.
    """

    dataset: str
    name: str
    out: str
    selector: str
    weights: str | None = None
    engine: str | None = None
    annotator: str | None = None
    labels_dir: str | None = None
    train_options: tuple[str, ...] = ()
    device: str | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Step:
    """One of our commands.

    command: what follows `vit-tickets`. is_done: whether what it makes is on disk. needs: titles of the steps that come
    before it. run: the folder of the run that it trains.
    """

    title: str
    command: tuple[str, ...]
    is_done: Callable[[], bool]
    needs: tuple[str, ...] = ()
    run: str | None = None

    @property
    def name(self) -> str:
        """The title as a file's name."""
        return re.sub(r"[^\w.-]+", "-", self.title)


def typed(step: Step) -> str:
    """The step's command as a user types it, without the secrets of a URL."""
    return redacted(shlex.join(("vit-tickets", *step.command)))


def argv(step: Step, gpus: int = 1) -> list[str]:
    """How the step is started: with this Python, and training on several GPUs by torchrun."""
    name, *arguments = step.command
    if name == "train" and gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(gpus)]
        return [sys.executable, *launcher, "-m", "vit_tickets.train", *arguments]
    return [sys.executable, "-m", "vit_tickets.pipeline.cli", *step.command]


def select(
    shared: Shared, budgets: Iterable[Budget], root: str, method: str | None = None, needs: tuple[str, ...] = ()
) -> Step:
    """Tickets of all budgets, in ROOT/<budget>, by one call, which decodes the images, and passes their first blocks,
    once for all. method: as `generate --method` has it; None for its default."""
    budgets = list(budgets)
    by_rate = budgets[0].keep_rate is not None
    values = ",".join(f"{budget.keep_rate if by_rate else budget.sparsity:g}" for budget in budgets)
    command = _command(
        "generate", shared.dataset, ("--keep-rate" if by_rate else "--sparsity", values), ("--method", method),
        ("--selector", shared.selector), ("--weights", shared.weights), ("--engine", shared.engine),
        ("--device", shared.device), ("--out", files.join(root, budgets[0].label) if len(budgets) == 1 else root),
    )  # fmt: skip
    made = [files.join(root, budget.label, manifests.INDEX) for budget in budgets]
    title = " ".join(["tickets", *([method] if method else []), "keep rate" if by_rate else "sparsity", values])
    return Step(title, command, partial(all_there, made), needs)


def map_labels(shared: Shared) -> list[Step]:
    """The label maps, where somebody is to make them."""
    if shared.annotator is None:
        return []
    command = _command(
        "labels", shared.dataset, ("--annotator", shared.annotator), ("--engine", shared.engine),
        ("--device", shared.device), ("--out", shared.labels_dir),
    )  # fmt: skip
    made = [files.join(shared.labels_dir, labels.INDEX)]
    return [Step(f"label maps {shared.annotator}", command, partial(all_there, made))]


def train(
    shared: Shared, what: str, model: str, path: str, tickets: str | None, seed: int, out: str, rc: str | None = None,
    needs: tuple[str, ...] = (),
) -> Step:  # fmt: skip
    """The training of the run OUT, which goes on where it stopped. what: the run, in the step's title."""
    command = _command(
        "train", shared.dataset, ("--model", model), ("--path", path), ("--tickets", tickets), ("--rc", rc),
        ("--labels", shared.labels_dir if takes_labels(model) else None), ("--seed", seed), ("--out", out),
    )  # fmt: skip
    done = partial(all_there, [files.join(out, FINAL)])
    return Step(f"train {what}", (*command, "--resume", *shared.train_options), done, needs, out)


def evaluate(
    shared: Shared, what: str, run: str, scored: str, tickets: str, on: tuple[str, ...] = ON,
    needs: tuple[str, ...] = (),
) -> Step:  # fmt: skip
    """Predictions of `run` in the folder `scored`, with the manifest `tickets`."""
    command = _command(
        "evaluate", run, ("--on", ",".join(on)), ("--tickets", tickets), ("--out", None if scored == run else scored),
        ("--workers", shared.workers), ("--device", shared.device),
    )  # fmt: skip
    return Step(f"evaluate {what}", command, partial(_is_scored, run, scored, tickets, on), needs)


def _command(name: str, subject: str, *options: tuple[str, Any]) -> tuple[str, ...]:
    """The command with those options that are not None."""
    given = [(option, str(value)) for option, value in options if value is not None]
    return name, subject, *(word for pair in given for word in pair)


def takes_labels(model: str) -> bool:
    """Whether `model` classifies every token, so that `train` takes label maps for it."""
    return short_name(model).startswith("lvvit")


def all_there(made: Iterable[str]) -> bool:
    return all(files.exists(path) for path in made)


def predictions(folder: str, on: tuple[str, ...] = ON) -> list[str]:
    """The files that `evaluate` writes into `folder`."""
    return [files.join(folder, f"predictions-{how}.parquet") for how in on]


def _is_scored(run: str, scored: str, tickets: str, on: tuple[str, ...]) -> bool:
    """Whether `scored` has predictions of the weights of `run`, all on the manifest `tickets`."""
    weights = files.join(run, FINAL)
    if not all_there([weights, files.join(tickets, manifests.INDEX), *predictions(scored, on)]):
        return False
    sha256, provenance = state_sha256(read_weights(weights)), ticket_provenance(Manifest.open(tickets))
    for path in predictions(scored, on):
        found = read_metadata(path)
        told = found.get("tickets") or {}
        same = all(told.get(name) == provenance.get(name) for name in (*provenance, *methods.ENTRIES))
        if found.get("weights_sha256") != sha256 or not same:
            return False
    return True


def check_request(out: str, record: dict[str, Any], holds: str) -> None:
    """Raise UserError where OUT is of another request; what `record` leaves out may differ. holds: what OUT is."""
    path = files.join(out, REQUEST)
    if not files.exists(path):
        return
    if different := difference(record, files.read_json(path)):
        raise UserError(
            f"{out} holds another {holds} than was asked for: {different}; repeat its settings, or pass another --out"
        )
