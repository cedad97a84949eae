"""What the ranks of a run tell each other in every step."""

from dataclasses import dataclass

from torch import Tensor

from vit_tickets.train.runtime.distributed import World


@dataclass(frozen=True)
class Attempt:
    """A step as this rank computed it, before any weight moves.

    Attributes:
        loss: of the rank's images, with its graph; None if the rank failed.
        value: the loss as a number.
        clumping: see `alignment.clumping`.
        waited: seconds spent waiting for the batch.
        skipped: images that were left out of the batch.
        macs: multiply-adds of the rank's part of the step; nan where they cannot be counted.
        failure: why the rank failed; None if it did not.
    """

    loss: Tensor | None = None
    value: float = 0.0
    clumping: float = 0.0
    waited: float = 0.0
    skipped: int = 0
    macs: float = 0
    failure: Exception | None = None


@dataclass(frozen=True)
class Agreed:
    """What all ranks know of a step, and so decide alike.

    Attributes:
        loss: mean over the ranks, as are `clumping` and `waited` (seconds).
        skipped: images that were left out, of all ranks.
        macs: multiply-adds of all ranks, a whole number below 2^53; nan where they cannot be counted.
        failed: number of ranks that failed.
        stop: number of ranks that were asked to stop.
        save: number of ranks that want `last.pt` to be saved.
    """

    loss: float
    clumping: float
    waited: float
    skipped: float
    macs: float
    failed: float
    stop: float
    save: float

    @classmethod
    def on(cls, attempt: Attempt, world: World, stop: bool, save: bool) -> "Agreed":
        """The attempts of all ranks together; every rank calls this once per step."""
        means = (value / world.size for value in (attempt.value, attempt.clumping, attempt.waited))
        return cls(*world.sum(*means, attempt.skipped, attempt.macs, attempt.failure is not None, stop, save))
