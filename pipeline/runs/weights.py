"""The identity of weights: those that a run began with, and those of a finished run, read without PyTorch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import fields_fault


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

    Equal to `pipeline.networks.state.weights_sha256` of the network that has them. Raises UserError for a file
    that is no safetensors file, or has types that NumPy lacks.
    """
    try:
        state = load(files.read_bytes(path))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}:{value.shape}:torch.{value.dtype};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
