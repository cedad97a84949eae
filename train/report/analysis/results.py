"""What a run left on disk, read back for the report: settings, the log of its epochs, predictions."""

import hashlib
import json
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.log import read_log, training_seconds
from vit_tickets.pipeline.runs.paths import OWN, PATHS, TESTED_ON
from vit_tickets.pipeline.runs.predictions import Predictions, predictions_file, read_predictions
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.places import FINAL_MASKS
from vit_tickets.pipeline.weights.ticket import WeightTicket

REQUEST = "request.json"  # of `sweep` and `table`, in the folder of which OUT/runs is
PLANNED = ("runs", "scores")  # folders in OUT that hold those of runs


@dataclass(frozen=True)
class RunResult:
    """A folder written by `train`, or by `evaluate --out` for plain weights.

    Attributes:
        folder: its path.
        config: its settings.
        epochs_log: the lines of metrics.jsonl, one per epoch.
        finished: whether the final weights exist.
        predictions: by what the run was tested on, one of `TESTED_ON`.
        size: side of its view in pixels, in a group where that tells rows apart (`lt@288`).
        expected: what the report expects it to be tested on, where that is not what its row is.
        masks: the weight ticket of the masks that it ended with; None for a run without masks.
    """

    folder: str
    config: RunConfig
    epochs_log: list[dict[str, Any]]
    finished: bool
    predictions: dict[str, Predictions]
    size: int | None = None
    expected: tuple[str, ...] | None = None
    masks: WeightTicket | None = None

    @property
    def name(self) -> str:
        return files.name_of(self.folder)

    @cached_property
    def made_by(self) -> tuple[str, str] | None:
        """(`sweep`, `table` or `lth`, its folder) of a run that one of these commands trains; otherwise None."""
        if self._plan is None:
            return None
        out, record = self._plan
        if self.config.weights is not None and "command" not in record:
            return None  # of another plan
        return record.get("command") or ("sweep" if "first_method" in record else "table"), out

    @property
    def typed(self) -> str | None:
        """The command line of the plan that trains it, where that is recorded."""
        return self._plan[1].get("typed") if self._plan and self.made_by else None

    @property
    def val_share(self) -> float | None:
        """The share of train that the `sweep` or `table` which trains it holds out as val; None where it does not."""
        return self._plan[1].get("val_share") if self._plan else None

    @cached_property
    def _plan(self) -> tuple[str, dict[str, Any]] | None:
        """The folder of the plan that its own folder is in, or that of the run which was scored; and the request."""
        for home in (self.folder, self.config.run):
            out, kind = posixpath.split(posixpath.dirname((home or "").rstrip("/")))
            if kind in PLANNED and files.exists(request := files.join(out, REQUEST)):
                return out, files.read_json(request)
        return None

    @property
    def path(self) -> str:
        return self.config.path

    @property
    def method(self) -> str:
        """The selection method of the tickets that it was trained with; `staged` without a record."""
        return self.tickets.scored_by if self.tickets else STAGED

    @property
    def cross_fit(self) -> bool | None:
        """Whether it is compared on cross-fitted tickets; None if both kinds suit it.

        A run on tickets is compared on the kind that it was trained on. Random subsets are chosen by no selector: a
        run on them is compared on the kind that it was tested on.
        """
        if not PATHS[self.path].drops_patches:
            return None
        tested = self.predictions.get("lt")
        return tested.cross_fit if self.path == "rc" and tested else bool(self.tickets and self.tickets.cross_fit)

    @property
    def row(self) -> str:
        """Its row in the report: the path, and how its patches differ from the default: `lt:centre`, `rc:fresh`."""
        return str(RowName.of(self.config, self.size))

    @property
    def tested_on(self) -> tuple[str, ...]:
        """What the report expects it to be tested on."""
        return self.expected or RowName.of(self.config).tested_on

    def on_tickets(self, on: str) -> bool:
        """Whether tickets decide what it is shown in column `on`, one of `TESTED_ON`."""
        return on != "dense" and not (on == OWN and PATHS[self.path].chooses_patches)

    @property
    def seed(self) -> int | None:
        return self.config.seed

    @property
    def mask_seed(self) -> int | None:
        return self.config.mask_seed

    @property
    def hardware(self) -> str | None:
        return self.config.environment.hardware

    @property
    def versions(self) -> dict[str, str] | None:
        return self.config.environment.versions

    @property
    def epochs(self) -> int | None:
        """Epochs that the run itself trained; None if unknown, as for plain weights."""
        return None if not PATHS[self.path].is_trained else self.config.trained_epochs

    @property
    def images_per_epoch(self) -> int | None:
        """Images that an epoch passed forward, whole batches alone; None if unknown."""
        last, batch_size = (self.epochs_log or [{}])[-1], self.config.batch_size
        steps, epoch = last.get("step"), last.get("epoch")
        return steps // epoch * batch_size if steps and epoch and batch_size else None

    @property
    def model(self) -> str:
        """Short name without pretrained tag, so that published weights stand beside runs of the same model."""
        return short_name(self.config.model)

    @cached_property
    def budget(self) -> Budget | None:
        """None for dense runs and plain weights."""
        path = PATHS[self.path]
        if not path.has_budget or (path.prunes_tokens and self.config.budget is None):
            return None
        return Budget.of(vars(self.config))

    @property
    def tickets(self) -> TicketProvenance | None:
        """The tickets that the run was trained with; None if there were none."""
        return self.config.tickets

    @property
    def seconds(self) -> float | None:
        """Measured seconds of all epochs, their validation included; None for an unfinished run and plain weights."""
        return training_seconds(self.epochs_log) if self.finished else None

    @property
    def settings(self) -> dict[str, Any]:
        """What runs that are compared should share."""
        return self.config.settings

    @property
    def recipe_sha256(self) -> str:
        """First 8 digits of the SHA-256 over `settings`."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode()).hexdigest()[:8]


def read_run(folder: str) -> RunResult:
    """Read a run folder; raises UserError if it is none, or holds malformed files."""
    path = files.join(folder, "config.json")
    if not files.exists(path):
        said = f"expected a run or a folder that `evaluate --out` wrote, found no config.json in {folder}"
        if files.is_dir(runs := files.join(folder, "runs")):  # of a plan
            page = files.join(folder, "sweep.html")
            said += f"; its runs are {runs}/*" + (f", and their report is {page}" if files.exists(page) else "")
        raise UserError(said)
    config = RunConfig.read(folder, ("format_version", "dataset", "model", "path"))
    if config.path not in PATHS:
        raise UserError(f"{path}: path: expected one of {', '.join(PATHS)}, found {config.path!r}")
    predictions = {}
    for on in TESTED_ON:
        file = predictions_file(folder, on)
        if files.exists(file):
            predictions[on] = read_predictions(file)
    _check_same_weights(list(predictions.values()))
    home = config.run or folder  # `evaluate --out` of a run names it
    finished = files.exists(files.join(home, "final.safetensors"))
    ended = files.join(home, FINAL_MASKS)
    masks = ticket.read(ended) if ticket.is_weight_ticket(ended) else None
    run = RunResult(folder, config, read_log(home), finished, predictions, masks=masks)
    try:
        _ = run.budget
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return run


def _check_same_weights(predictions: list[Predictions]) -> None:
    for other in predictions[1:]:
        expected, found = (p.provenance.weights_sha256 for p in (predictions[0], other))
        if expected != found:
            raise UserError(
                f"{other.path}: expected predictions of the weights that {predictions[0].path} is of "
                f"({str(expected)[:12]}), found {str(found)[:12]}; run `vit-tickets evaluate` again"
            )
