"""Which sample goes into which step: every sample at most once an epoch, equal steps on every rank. Pure arithmetic.

The samples of an epoch are laid out shard after shard, the shards in an order drawn from (seed, epoch). This sequence
is cut into *lanes*, one per loader worker of every rank; a lane reads its stretch from first to last. Every step takes
a fixed number of samples from each lane. What does not fill a global batch is the end of the sequence, and so differs
from epoch to epoch. Any number of lanes does, more than there are shards included.
"""

from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline.errors import UserError


@dataclass(frozen=True)
class Piece:
    """A stretch of a shard: its members `start` to `stop`, counted among those that take part."""

    shard: int
    start: int
    stop: int


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Full global batches in `num_samples`; raises UserError where there is none."""
    if num_samples < batch_size:
        raise UserError(f"expected at least one batch of {batch_size} images, found {num_samples} images to train on")
    return num_samples // batch_size


def lane_share(batch_of_rank: int, lanes_of_rank: int, lane: int, step: int) -> int:
    """Samples that `lane` (of its rank) gives to the rank's batch at `step`; a remainder moves on from step to step."""
    whole, rest = divmod(batch_of_rank, lanes_of_rank)
    return whole + ((lane + step) % lanes_of_rank < rest)


def lane_size(batch_of_rank: int, lanes_of_rank: int, lane: int, steps: int) -> int:
    """Samples that `lane` gives in `steps` steps."""
    return sum(lane_share(batch_of_rank, lanes_of_rank, lane, step) for step in range(steps))


def epoch_lanes(
    counts: list[int], batch_size: int, num_ranks: int, lanes_of_rank: int, seed: int, epoch: int
) -> list[list[Piece]]:
    """The pieces that each lane reads in an epoch, for lanes 0 .. num_ranks * lanes_of_rank - 1.

    Args:
        counts: samples of each shard that take part.
        batch_size: global; a multiple of `num_ranks`.
    """
    batch_of_rank = batch_size // num_ranks
    steps = steps_per_epoch(sum(counts), batch_size)
    order = np.random.default_rng([seed, epoch]).permutation(len(counts))
    of_rank = [lane_size(batch_of_rank, lanes_of_rank, lane, steps) for lane in range(lanes_of_rank)]
    return cut([(int(shard), counts[shard]) for shard in order], of_rank * num_ranks)


def cut(shards: list[tuple[int, int]], sizes: list[int]) -> list[list[Piece]]:
    """Cut the sequence of `shards` (number, samples) into consecutive lanes of `sizes` samples."""
    lanes: list[list[Piece]] = []
    at = position = 0
    for size in sizes:
        pieces = []
        while size:
            shard, count = shards[at]
            taken = min(size, count - position)
            if taken:
                pieces.append(Piece(shard, position, position + taken))
            size, position = size - taken, position + taken
            if position == count:
                at, position = at + 1, 0
        lanes.append(pieces)
    return lanes


def even_lanes(counts: list[int], num_lanes: int) -> list[list[Piece]]:
    """All samples, in the dataset's order, cut into `num_lanes` lanes whose sizes differ by one at most."""
    whole, rest = divmod(sum(counts), num_lanes)
    return cut(list(enumerate(counts)), [whole + (lane < rest) for lane in range(num_lanes)])
