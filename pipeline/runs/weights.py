"""The identity of weights: those that a run began with, and those of a finished run, read without PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import fields_fault
from vit_tickets.pipeline.weights.tensors import read_tensors, state_sha256


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """The weights that a run began with."""

    #: timm's full name of published weights, else the file or the run.
    source: str | None = None
    #: SHA-256 of them as they were in the file, before they were fitted to the run's classes and sizes.
    sha256: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "InitialWeights":
        """Raises UserError for an entry that is of a wrong type."""
        if fault := fields_fault(dict(record), {"source": str, "sha256": str}):
            raise UserError(f"initial.{fault}")
        return cls(source=record.get("source"), sha256=record.get("sha256"))


def weights_sha256(path: str) -> str:
    """SHA-256 over names, shapes, types and values of the tensors in the safetensors file at `path`.

    Raises UserError where the file cannot be read.
    """
    return state_sha256(read_tensors(path))
