"""What runs and predictions record of their tickets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.methods import scored_by
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import fields_fault

FORMAT_VERSION = 1  # of predictions
OF_MANIFEST = (
    "dataset",
    "selector",
    "weights_sha256",
    "sparsity",
    "keep_rate",
    "stages",
    "counts",
    "num_patches",
    "mask_seed",
    "precision",
)
# Recorded where a manifest has them.
OF_SOME = (*METHOD_ENTRIES, "tokens")
# Recorded by a run alone: two runs on the same tickets may differ in them.
COSTS = ("selector_run", "selector_seconds", "wall_time_s")
# Recorded by predictions in column `own` alone: whose tickets images got, and the seed of a swap.
GIVEN = ("ticket", "swap_seed")
KINDS = {
    "ticket": str,
    "method": str,
    "view": str,
    "online": str,
    "selector": str,
    "weights_sha256": str,
    "sparsity": float,
    "keep_rate": float,
    "tokens": int,
    "selector_seconds": float,
    "wall_time_s": float,
}


@dataclass(frozen=True, kw_only=True)
class TicketProvenance:
    """Tickets, as config.json and a predictions file record them. What was not recorded is None."""

    #: Method that chose them; None for `staged`.
    method: str | None = None
    #: SHA-256 of the weights that marked each fold; None unless cross-fitted.
    cross_fit: list[str] | None = None
    #: Mode in which a selector chose them in every step; None for those of a manifest.
    online: str | None = None
    #: Name of the selector in timm.
    selector: str | None = None
    #: SHA-256 of its weights.
    weights_sha256: str | None = None
    #: Share of patches dropped.
    sparsity: float | None = None
    #: Share of patches kept per stage.
    keep_rate: float | None = None
    #: Number of patches kept.
    tokens: int | None = None
    #: The run, or one per fold, that trained the selector; None for published weights.
    selector_run: str | list[str] | None = None
    #: Seconds of their training.
    selector_seconds: float | None = None
    #: Seconds of the selection.
    wall_time_s: float | None = None
    #: Everything recorded, as JSON has it.
    entries: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "TicketProvenance":
        """Raises UserError for the first entry that is of a wrong type."""
        if fault := fields_fault(dict(record), KINDS) or _runs_fault(record.get("selector_run")):
            raise UserError(fault)
        own = {each.name: record.get(each.name) for each in fields(cls) if each.name != "entries"}
        return cls(**own, entries=record)

    @classmethod
    def of_training(cls, manifest: Manifest, split: str) -> "TicketProvenance":
        """What a run records of the tickets of `split`: the view they belong to and their costs among it."""
        view = manifest.view(split)
        record = _entries(manifest.record, OF_MANIFEST + COSTS)
        return cls.from_record(record | {"view": view.kind, "preprocessing": view.preprocessing()})

    @classmethod
    def of_predictions(
        cls, manifest: Manifest, split: str, kept: int, given: Mapping[str, Any] | None = None
    ) -> "TicketProvenance":
        """What predictions on `split` record of the tickets they were made with, `kept` patches of the model's.

        given: entries of `GIVEN`, where images got others in place of their own.
        """
        view = {"view": manifest.view(split).kind, "kept": kept}
        return cls.from_record(_entries(manifest.record) | view | dict(given or {}))

    @property
    def scored_by(self) -> str:
        """Name of the method."""
        return scored_by({"method": self.method})

    @property
    def identity(self) -> dict[str, Any]:
        """The entries without costs."""
        return {name: value for name, value in self.entries.items() if name not in COSTS}

    def are_of(self, manifest: Manifest) -> bool:
        """Whether these are tickets of `manifest`, whatever the split."""
        return _entries(self.entries) == _entries(manifest.record)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What predictions were made from, as their file records it. What was not recorded is None."""

    #: Name of the dataset.
    dataset: str | None = None
    #: Its split.
    split: str | None = None
    #: What the model was shown: `dense`, `lt`, `rc` or `own`.
    on: str | None = None
    #: Kind of the view of an image.
    view: str | None = None
    #: How the view resamples and normalises.
    preprocessing: dict[str, Any] | None = None
    #: Model, by its timm name.
    model: str | None = None
    #: SHA-256 of its weights.
    weights_sha256: str | None = None
    #: The tickets it was tested on, or whose view and images it was tested on.
    tickets: TicketProvenance | None = None
    #: Images that were left out because they have no ticket.
    errors: int | None = None
    #: Images that were classified.
    samples: int | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Provenance":
        """Raises UserError for the first entry that is of a wrong type, and for another format version."""
        if fault := fields_fault(dict(record), PREDICTED_KINDS):
            raise UserError(fault)
        if (version := record.get("format_version")) != FORMAT_VERSION:
            raise UserError(f"expected format version {FORMAT_VERSION}, found {version!r}")
        own: dict[str, Any] = {each.name: record.get(each.name) for each in fields(cls)}
        own["tickets"] = read_tickets(own["tickets"])
        return cls(**own)

    def record(self) -> dict[str, Any]:
        """What the file's metadata hold."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return own | {"format_version": FORMAT_VERSION, "tickets": self.tickets and self.tickets.entries}


PREDICTED_KINDS = {
    each.name: {"preprocessing": dict, "tickets": dict, "errors": int, "samples": int}.get(each.name, str)
    for each in fields(Provenance)
}


def read_tickets(record: Mapping[str, Any] | None) -> TicketProvenance | None:
    """The tickets that the entry `tickets` records; None if it is null or empty. Raises UserError as `from_record`."""
    try:
        return TicketProvenance.from_record(record) if record else None
    except UserError as error:
        raise UserError(f"tickets.{error}") from None


def _entries(record: Mapping[str, Any], always: tuple[str, ...] = OF_MANIFEST) -> dict[str, Any]:
    """The entries of `record` by which tickets are told apart, or those of `always`, and what it has `OF_SOME`."""
    return {name: record.get(name) for name in always} | {name: record[name] for name in OF_SOME if name in record}


def _runs_fault(runs: Any) -> str | None:
    named = runs if isinstance(runs, list) else [runs]
    odd = next((run for run in named if run is not None and not isinstance(run, str)), None)
    return None if odd is None else fields_fault({"selector_run": odd}, {"selector_run": str})
