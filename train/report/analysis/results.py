"""What a run left on disk, read back for the report: settings, the log of its epochs, predictions."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import CROSS_FIT, STAGED, scored_by
from vit_tickets.pipeline.runs.config import read_config
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.log import read_log, training_seconds
from vit_tickets.pipeline.runs.paths import ON, PATHS
from vit_tickets.pipeline.runs.predictions import FORMAT_VERSION, Predictions, read_predictions
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


@dataclass(frozen=True)
class RunResult:
    """A folder that `train`, or `evaluate --out` for plain weights, has written.

    epochs_log: the lines of metrics.jsonl, one per epoch. predictions: by what they were tested on (dense, lt, rc).
    """

    folder: str
    config: dict[str, Any]
    epochs_log: list[dict[str, Any]]
    finished: bool
    predictions: dict[str, Predictions]

    @property
    def name(self) -> str:
        return files.name_of(self.folder)

    @property
    def path(self) -> str:
        return self.config["path"]

    @property
    def method(self) -> str:
        """How the tickets that it was trained with were found; `staged` where nothing is said."""
        return scored_by(self.tickets)

    @property
    def cross_fit(self) -> bool | None:
        """Whether it belongs with cross-fitted tickets; None where that makes no difference to it.

        A run on tickets, with those it was trained on; one on random subsets, which no selector chose, with those it
        was tested on.
        """
        if not PATHS[self.path].drops_patches:
            return None
        tested = self.predictions.get("lt")
        return tested.cross_fit if self.path == "rc" and tested else bool(self.tickets.get(CROSS_FIT))

    @property
    def row(self) -> str:
        """Its row in the report: the path, with what sets its patches apart: `lt:centre`, `rc:fresh`."""
        if not PATHS[self.path].drops_patches:
            return self.path
        mode = self.config.get("rc") if self.path == "rc" else None
        return ":".join([self.path, *(name for name in (self.method, mode) if name not in (STAGED, "fixed", None))])

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def mask_seed(self) -> int | None:
        return self.config.get("mask_seed")

    @property
    def hardware(self) -> str | None:
        return self.config.get("hardware")

    @property
    def versions(self) -> dict[str, str] | None:
        return self.config.get("versions")

    @property
    def epochs(self) -> int | None:
        """Epochs of the whole training; None where unknown, as for plain weights."""
        return None if not PATHS[self.path].is_trained else self.config.get("epochs")

    @property
    def model(self) -> str:
        """Short name without pretrained tag, so that published weights stand beside runs of the same model."""
        return short_name(self.config["model"])

    @cached_property
    def budget(self) -> Budget | None:
        """None for dense runs and plain weights."""
        sparsity, keep_rate = self.config.get("sparsity"), self.config.get("keep_rate")
        path = PATHS[self.path]
        if not path.has_budget or (path.prunes_tokens and sparsity is None and keep_rate is None):
            return None
        return Budget(sparsity, keep_rate)

    @property
    def tickets(self) -> dict[str, Any]:
        """The record of the manifest that the run was trained with; empty without one."""
        return self.config.get("tickets") or {}

    @property
    def seconds(self) -> float | None:
        """Measured seconds of all epochs, their validation included; None for an unfinished run and plain weights."""
        return training_seconds(self.epochs_log) if self.finished else None

    @property
    def settings(self) -> dict[str, Any]:
        """What runs that are compared should share: the recipe's fields and the run's own, the latter winning."""
        names = ("split", "epochs", "batch_size", "image_size", "patch_size", "num_classes", "holdout", "limit")
        names += ("rc", "align", "precision", "occlude", "stem_occlusion", "without_fold")
        own = {name: self.config[name] for name in names if name in self.config}
        if "labels" in self.config:
            own["labels"] = (self.config["labels"] or {}).get("annotator")
        return (self.config.get("recipe") or {}) | own

    @property
    def recipe_sha256(self) -> str:
        """First 8 digits of the SHA-256 over `settings`."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode()).hexdigest()[:8]


def read_run(folder: str) -> RunResult:
    """Read a run folder; raises UserError where it is none or what lies in it is malformed."""
    path = files.join(folder, "config.json")
    if not files.exists(path):
        raise UserError(f"expected a run or a folder that `evaluate --out` wrote, found no config.json in {folder}")
    config = read_config(folder, ("dataset", "model", "path"))
    _check_config(path, config)
    predictions = {}
    for on in ON:
        file = files.join(folder, f"predictions-{on}.parquet")
        if files.exists(file):
            predictions[on] = read_predictions(file)
    _check_same_weights(list(predictions.values()))
    home = config.get("run") or folder  # `evaluate --out` of a run names it
    finished = files.exists(files.join(home, "final.safetensors"))
    run = RunResult(folder, config, read_log(home), finished, predictions)
    try:
        _ = run.budget
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return run


def _check_config(path: str, config: dict[str, Any]) -> None:
    if config.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {config.get('format_version')!r}")
    if config["path"] not in PATHS:
        raise UserError(f"{path}: path: expected one of {', '.join(PATHS)}, found {config['path']!r}")


def _check_same_weights(predictions: list[Predictions]) -> None:
    for other in predictions[1:]:
        expected, found = (p.metadata.get("weights_sha256") for p in (predictions[0], other))
        if expected != found:
            raise UserError(
                f"{other.path}: expected predictions of the weights that {predictions[0].path} is of "
                f"({str(expected)[:12]}), found {str(found)[:12]}; run `vit-tickets evaluate` again"
            )
