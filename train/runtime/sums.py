"""Sums over the steps of an epoch: loss, time and memory."""

import math
import resource
import sys
from dataclasses import dataclass

import torch


@dataclass
class Sums:
    """Sums over the steps of an unfinished epoch. They are part of a checkpoint.

    Attributes:
        loss: Sum of the losses of the global batches.
        clumping: Sum of the clumping of the global batches.
        skipped: Number of images that were left out because they could not be read.
        seconds: Duration of the steps, mean over the ranks.
        waited: Part of `seconds` that was spent waiting for the next batch.
        peak_memory_mib: The largest memory use of any step on this rank (see the function `peak_memory_mib`).
        macs: Multiply-adds of the steps, of all ranks; None where those of any step are unknown.
    """

    loss: float = 0.0
    clumping: float = 0.0
    skipped: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    peak_memory_mib: float = 0.0
    macs: int | None = 0

    def add(
        self,
        loss: float,
        clumping: float,
        skipped: int,
        seconds: float,
        waited: float,
        memory_mib: float,
        macs: float = math.nan,
    ) -> None:
        """Add one step. `memory_mib` is the peak so far; `macs` are a whole number, or nan if unknown."""
        self.loss += loss
        self.clumping += clumping
        self.skipped += skipped
        self.seconds += seconds
        self.waited += waited
        self.peak_memory_mib = max(self.peak_memory_mib, memory_mib)
        self.macs = None if self.macs is None or math.isnan(macs) else self.macs + int(macs)

    @property
    def data_wait(self) -> float:
        """Share of the time that was spent waiting for the next batch. Needs at least one step."""
        return self.waited / self.seconds

    def speed(self, steps: int, batch_size: int) -> dict[str, float]:
        """Speed of an epoch of `steps` steps, as entries of metrics.jsonl."""
        return {
            "images_per_s": batch_size * steps / self.seconds,
            "step_ms": 1000 * self.seconds / steps,
            "data_wait": self.data_wait,
            "peak_memory_mib": self.peak_memory_mib,
        }


def peak_memory_mib(device: str) -> float:
    """Peak memory in MiB. On a GPU: allocated by PyTorch since `forget_peak`. On a CPU: the largest resident set size
    of this process (without loader workers) since it started, which cannot be reset."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def forget_peak(device: str) -> None:
    """Start a new measurement of the peak on `device`. On a CPU this has no effect."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
