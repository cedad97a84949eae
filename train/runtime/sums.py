"""What the steps of an epoch add up to: losses, and what they cost in time and memory."""

import resource
import sys
from dataclasses import dataclass

import torch


@dataclass
class Sums:
    """Over the steps of an unfinished epoch, saved with it.

    loss, clumping: of the global batches. skipped: images. seconds: of the steps, `waited` of them for the next batch,
    the mean over the ranks. peak_memory_mib: the largest of any step on this rank, see `peak_memory_mib`.
    """

    loss: float = 0.0
    clumping: float = 0.0
    skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    peak_memory_mib: float = 0.0

    def add(self, loss: float, clumping: float, skipped: int, seconds: float, waited: float, memory_mib: float) -> None:
        """Add one step; `memory_mib` is the largest so far."""
        self.loss += loss
        self.clumping += clumping
        self.skipped += skipped
        self.seconds += seconds
        self.waited += waited
        self.peak_memory_mib = max(self.peak_memory_mib, memory_mib)

    @property
    def data_wait(self) -> float:
        """Share of the time that was spent waiting for the next batch; after one step at least."""
        return self.waited / self.seconds

    def speed(self, steps: int, batch_size: int) -> dict[str, float]:
        """What metrics.jsonl says of the speed of an epoch of `steps` steps."""
        return {
            "images_per_s": batch_size * steps / self.seconds,
            "step_ms": 1000 * self.seconds / steps,
            "data_wait": self.data_wait,
            "peak_memory_mib": self.peak_memory_mib,
        }


def peak_memory_mib(device: str) -> float:
    """The most memory in use since `forget_peak`, in MiB: on a GPU what torch has allocated there; else what this
    process, without its loaders, ever had resident, which cannot be forgotten."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def forget_peak(device: str) -> None:
    """Measure the peak of `device` from now on, where that is possible."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
