"""What runs in a worker: the network opened once, shards processed one by one."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any, Protocol

import torch

from vit_tickets.pipeline.system.errors import DiskFailed, UserError, WorkFailed
from vit_tickets.ticketgen.engines.protocols import Finished, Task
from vit_tickets.ticketgen.engines.work import Progress, Settings

# torch has a type for its own allocator alone; drivers and libraries say it in words. NOT_SUPPORTED and the like, which
# may mean anything, are not among them.
NO_MEMORY = re.compile(
    r"out of memory|(STATUS|HOST|DEVICE|DEVICE_MEMORY)_ALLOC(ATION)?_FAILED|cudaErrorMemoryAllocation|OUT_OF_MEMORY"
    r"|hipErrorOutOfMemory|failed to allocate memory",
    re.IGNORECASE,
)
MAIN_MEMORY = "CPUAllocator"


class Spec(Protocol):
    """What workers are sent: plain values and bytes, from which each builds its network."""

    @property
    def num_bytes(self) -> int:
        """Bytes of its weights."""
        ...

    def build(self, device: str, precision: str) -> Any:
        """Build what `Task.process` works with."""


def resolve_device(device: str) -> str:
    """`cuda` or `cpu` for `auto`; raises UserError for a card that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("expected a GPU for --device cuda, found none")
    _, _, card = device.partition(":")
    if card and int(card) >= (found := torch.cuda.device_count()):
        raise UserError(f"--device: expected a card of cuda:0 to cuda:{found - 1}, found {device}")
    return device


class Processor:
    """Processes shards with one network; after the GPU runs out of memory, with half the batch size."""

    def __init__(self, spec: Spec, settings: Settings, device: str, precision: str):
        self.network = spec.build(device, precision)
        self.settings = settings

    def process(self, task: Task, progress: Progress) -> Finished:
        """Process `task`; a failure is returned as one line, so that other shards can continue."""
        while True:
            counted = Counter()

            def count(images: int, errors: int, counted=counted) -> None:
                counted.update(images=images, errors=errors)
                progress(images, errors)

            try:
                task.process(self.network, self.settings, count)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    return _failed(task, error)
                progress(-counted["images"], -counted["errors"])
                if self.settings.batch_size == 1:
                    return Finished(task, f"a batch of 1 image is too large for the GPU: {reason(error)}")
                self.settings = replace(self.settings, batch_size=self.settings.batch_size // 2)
            except (UserError, WorkFailed) as error:
                return Finished(task, str(error), is_last=isinstance(error, DiskFailed))
            except Exception as error:  # one failed shard is reported, the others are processed
                return _failed(task, error)
            else:
                return Finished(task, batch_size=self.settings.batch_size)
            if torch.cuda.is_available():  # outside of the handler, whose error keeps the tensors alive
                torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU, or a library that computes on it, had no memory for the batch."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return MAIN_MEMORY not in str(error) and NO_MEMORY.search(str(error)) is not None


def _failed(task: Task, error: Exception) -> Finished:
    return Finished(task, f"{type(error).__name__}: {reason(error)}")


def reason(error: BaseException) -> str:
    """The error's message, cut to 300 characters."""
    return " ".join(str(error).split())[:300]
