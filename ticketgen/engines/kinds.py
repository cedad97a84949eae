"""Kinds of workers: the libraries and the processor or card on which equal inputs give equal bytes."""

import importlib.metadata
import platform
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vit_tickets.pipeline.system.errors import UserError

OURS = "vit-tickets"
VERSIONED = (OURS, "torch", "timm", "numpy", "pillow", "pyarrow")


@dataclass(frozen=True)
class Kind:
    """What a worker computes with.

    Attributes:
        versions: name and version of each library, in order.
        device: the name of its card, or cpu.
        processor: the instructions that torch uses on its CPU.
    """

    versions: tuple[tuple[str, str], ...]
    device: str
    processor: str

    @classmethod
    def here(cls, device: str) -> "Kind":
        """That of this process, on `device` of torch."""
        versions = [(name, importlib.metadata.version(name)) for name in VERSIONED]
        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
        return cls((*versions, ("python", platform.python_version())), name, torch.backends.cpu.get_cpu_capability())

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Kind":
        """What `record` gave."""
        return cls(
            tuple((name, version) for name, version in record["versions"]), record["device"], record["processor"]
        )

    def record(self) -> dict[str, Any]:
        """The kind as JSON has it."""
        return asdict(self)

    def difference(self, other: "Kind") -> str | None:
        """What may change bits between the two, as `torch 2.6.0 instead of 2.5.1`; None if nothing does."""
        ours, theirs = dict(self.versions), dict(other.versions)
        for name in (*ours, *(name for name in theirs if name not in ours)):
            if name != "python" and ours.get(name) != theirs.get(name):
                return f"{name} {ours.get(name)} instead of {theirs.get(name)}"
        if self.device != other.device:
            return f"{self.device} instead of {other.device}"
        if self.processor != other.processor and self.device == "cpu" and "" not in (self.processor, other.processor):
            return f"a processor with {self.processor} instead of {other.processor}"
        return None


@dataclass(frozen=True)
class Met:
    """A worker that has started: its machine and its kind."""

    host: str
    kind: Kind

    @classmethod
    def here(cls, device: str) -> "Met":
        return cls(socket.gethostname(), Kind.here(device))


def check_same_program(met: Met) -> None:
    """Raise UserError for a worker with another vit-tickets than this process, whose files could be others."""
    ours, theirs = importlib.metadata.version(OURS), dict(met.kind.versions).get(OURS)
    if theirs != ours:
        raise UserError(f"expected {OURS} {ours} on every worker, found {theirs} on {met.host}; install one on all")


def versions_of(kinds: Iterable[Kind]) -> dict[str, str | list[str]]:
    """The version of each library; a list where they differ."""
    found: dict[str, list[str]] = {}
    for kind in kinds:
        for name, version in kind.versions:
            if version not in found.setdefault(name, []):
                found[name].append(version)
    return {name: of[0] if len(of) == 1 else of for name, of in found.items()}


def devices_of(kinds: Iterable[Kind]) -> str | list[str]:
    """The name of the card, or cpu; a list where they differ, processors of several kinds with their instructions."""
    kinds = list(kinds)
    processors = {kind.processor for kind in kinds if kind.device == "cpu"} - {""}
    names = [f"cpu {kind.processor}" if kind.device == "cpu" and len(processors) > 1 else kind.device for kind in kinds]
    distinct = list(dict.fromkeys(names))
    return distinct[0] if len(distinct) == 1 else distinct
