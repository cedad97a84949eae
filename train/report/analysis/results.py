"""What a run left on disk, read back for the report: settings, the log of its epochs, predictions."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.columns import check_types
from vit_tickets.pipeline.manifests.methods import CROSS_FIT, STAGED, scored_by
from vit_tickets.pipeline.manifests.tables import METADATA_KEY
from vit_tickets.pipeline.runs.config import read_config
from vit_tickets.pipeline.runs.log import read_log, training_seconds
from vit_tickets.pipeline.runs.names import short_name
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, first_line
from vit_tickets.pipeline.system.records import fields_fault

FORMAT_VERSION = 1
PATHS = ("dense", "lt", "rc", "small", "selector", "weights")
ON = ("dense", "lt", "rc")
WITHOUT_BUDGET = ("dense", "weights")  # the same run for every budget
ABOUT = {
    "dataset": str, "split": str, "on": str, "view": str, "model": str, "weights_sha256": str, "preprocessing": dict,
    "tickets": dict, "errors": int, "samples": int,
}  # fmt: skip
COLUMNS = pa.schema([("key", pa.string()), ("label", pa.int32()), ("prediction", pa.int32())])


@dataclass(frozen=True)
class Predictions:
    """One predictions file, rows sorted by key.

    path: of the file. metadata: what it was made from. keys: string, labels: int32, correct: bool, all of length n.
    """

    path: str
    metadata: dict[str, Any]
    keys: pa.Array
    labels: np.ndarray
    correct: np.ndarray

    @property
    def tickets(self) -> dict[str, Any] | None:
        """Provenance of the tickets it was evaluated with or on; None where there were none."""
        return self.metadata.get("tickets")

    @property
    def method(self) -> str:
        """How those tickets were found; `staged` where nothing is said."""
        return scored_by(self.tickets or {})

    @property
    def cross_fit(self) -> bool:
        """Whether they are of several selectors, each marking what it was trained without."""
        return bool((self.tickets or {}).get(CROSS_FIT))


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
        if self.path not in ("lt", "rc"):
            return None
        tested = self.predictions.get("lt")
        return tested.cross_fit if self.path == "rc" and tested else bool(self.tickets.get(CROSS_FIT))

    @property
    def row(self) -> str:
        """Its row in the report: the path, with what sets its patches apart: `lt:centre`, `rc:fresh`."""
        if self.path not in ("lt", "rc"):
            return self.path
        mode = self.config.get("rc") if self.path == "rc" else None
        return ":".join([self.path, *(name for name in (self.method, mode) if name not in (STAGED, "fixed", None))])

    @property
    def seed(self) -> int | None:
        return self.config.get("seed")

    @property
    def epochs(self) -> int | None:
        """Epochs of the whole training; None where unknown, as for plain weights."""
        return None if self.path == "weights" else self.config.get("epochs")

    @property
    def model(self) -> str:
        """Short name without pretrained tag, so that published weights stand beside runs of the same model."""
        return short_name(self.config["model"])

    @cached_property
    def budget(self) -> Budget | None:
        """None for dense runs and plain weights."""
        sparsity, keep_rate = self.config.get("sparsity"), self.config.get("keep_rate")
        if self.path in WITHOUT_BUDGET or (self.path == "selector" and sparsity is None and keep_rate is None):
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
    def recipe_hash(self) -> str:
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


def read_predictions(path: str) -> Predictions:
    """Read a predictions file; raises UserError where it is not one, is empty or has a key twice."""
    with files.open_read(path) as stream:
        try:
            file = pq.ParquetFile(stream)
            raw = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
            missing = [name for name in COLUMNS.names if name not in file.schema_arrow.names]
            table = None if missing else file.read(columns=COLUMNS.names, use_threads=False)
            if table is not None:
                table.validate(full=True)
                check_types(table, COLUMNS, path)
                table = table.sort_by("key").combine_chunks()
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from None
    if table is None or raw is None:
        found = f"no column {missing[0]}" if missing else "no provenance in its schema"
        raise UserError(f"{path}: expected predictions that `evaluate` wrote, found {found}")
    try:
        metadata = json.loads(raw)
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise UserError(f"{path}: expected predictions that `evaluate` wrote, found other provenance in its schema")
    if fault := fields_fault(metadata, ABOUT):
        raise UserError(f"{path}: {fault}")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {metadata.get('format_version')!r}")
    if table.num_rows == 0:
        raise UserError(f"{path}: expected predictions for at least one image, found none")
    if nulls := [name for name in COLUMNS.names if table[name].null_count]:
        raise UserError(f"{path}: expected a {nulls[0]} in every row, found {table[nulls[0]].null_count} without")
    keys = table["key"].chunk(0)
    if len(keys) > 1 and (repeated := np.flatnonzero(np.asarray(pc.equal(keys[1:], keys[:-1])))).size:
        raise UserError(f"{path}: expected every key once, found {keys[int(repeated[0])].as_py()!r} twice")
    labels = table["label"].to_numpy()
    return Predictions(path, metadata, keys, labels, table["prediction"].to_numpy() == labels)


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
