"""Which view of which sample goes into which step: exact epochs for any number of ranks and workers. Pure arithmetic.

An epoch has `steps` full global batches. Samples that do not fill one are left out: a stretch of the dataset that moves
from epoch to epoch, so that every sample is left out equally often. The rest is laid out shard after shard, the shards
in an order drawn from (seed, epoch), and the sequence is cut into one part for each loader worker of every rank: its
*lane*. A worker reads its lane from first to last, gives a fixed number of views to every step, and shuffles what it
reads: a sample moves by at most `WINDOW` places, so at most `WINDOW` samples ever wait in a worker. There may be more
lanes than shards.

With repeated augmentation (Hoffer et al. 2020; DeiT) an epoch of the same length takes 1/r of the samples, r views of
each, and r epochs together take each sample in one of them. A *visit* to a sample reads and decodes it once, for m of
its views, which follow each other and so are in one batch. If m does not divide a rank's batch, two steps of the rank
share one visit, as two batches of DeiT share an image. The r/m visits to a sample are in r/m passes over the epoch's
samples.

The plan alone determines which views were given before any step. So resuming within an epoch takes only the numbers of
ranks and lanes and the steps that they made (`Segment`), and what is left can be divided among any other numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vit_tickets.pipeline.system.errors import UserError

WINDOW = 2000
LEFT_OUT, SHARDS, PASS, MIX = range(4)  # what a generator's draws are for


@dataclass(frozen=True)
class Segment:
    """`steps` steps of an epoch, made by `num_ranks` ranks of `lanes_of_rank` lanes each."""

    num_ranks: int
    lanes_of_rank: int
    steps: int


@dataclass(frozen=True)
class Position:
    """Where a run is."""

    epoch: int = 0  #: number of the unfinished epoch, from 0
    segments: tuple[Segment, ...] = ()  #: who made the steps of that epoch

    @property
    def step(self) -> int:
        """Steps made in `epoch`."""
        return sum(segment.steps for segment in self.segments)

    def after_step(self, num_ranks: int, lanes_of_rank: int) -> "Position":
        """One step further, made by `num_ranks` ranks of `lanes_of_rank` lanes."""
        last = self.segments[-1] if self.segments else None
        if last is not None and (last.num_ranks, last.lanes_of_rank) == (num_ranks, lanes_of_rank):
            return replace(self, segments=(*self.segments[:-1], replace(last, steps=last.steps + 1)))
        return replace(self, segments=(*self.segments, Segment(num_ranks, lanes_of_rank, 1)))

    def after_epoch(self) -> "Position":
        return Position(self.epoch + 1)


@dataclass(frozen=True)
class Lane:
    """What a worker still has to do in an epoch: V visits, in the order in which it reads, and I views, in the order in
    which it gives them to steps."""

    shard_V: np.ndarray  #: int (V,): shard of each visit
    member_V: np.ndarray  #: int (V,): the visited sample, counted among those of its shard that take part
    visit_I: np.ndarray  #: int (I,): which visit each view is of
    repeat_I: np.ndarray  #: int (I,): which of the sample's views of this epoch it is, 0 .. repeats - 1
    shares: list[int]  #: how many of the views go into each of the remaining steps

    def stretches(self) -> Iterator[tuple[int, np.ndarray]]:
        """The visits as (shard, ascending members), in reading order."""
        turns = np.flatnonzero((np.diff(self.shard_V) != 0) | (np.diff(self.member_V) <= 0)) + 1
        for visits in np.split(np.arange(len(self.shard_V)), turns):
            if len(visits):
                yield int(self.shard_V[visits[0]]), self.member_V[visits]


@dataclass(frozen=True)
class Plan:
    """The epochs of a run. The views of an epoch are numbered 0 .. steps * batch_size - 1 in reading order."""

    counts: Sequence[int]  #: samples of each shard that take part
    batch_size: int  #: views of a step, of all ranks together; a multiple of the number of ranks
    seed: int  #: of every draw
    repeats: int = 1  #: r: views of a sample in an epoch that takes it
    views_per_decode: int = 1  #: m: how many of them share a visit; a divisor of `repeats`

    @cached_property
    def steps(self) -> int:
        """Full global batches in an epoch, the same number in each; raises UserError if there is none."""
        views = sum(self.counts) // self.repeats * self.repeats
        if views < self.batch_size:
            raise UserError(
                f"expected at least one batch of {self.batch_size} images, found {sum(self.counts):,} images to train "
                "on; --batch-size sets another"
            )
        return views // self.batch_size

    @cached_property
    def samples_per_epoch(self) -> int:
        """Distinct samples that an epoch takes."""
        return -(-self.steps * self.batch_size // self.repeats)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    def visits(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Shard and member of each visit of an epoch, in reading order, before they are cut into lanes."""
        total, taken = sum(self.counts), self.samples_per_epoch
        cycle, part = divmod(epoch, self.repeats)
        shard = np.repeat(np.arange(len(self.counts)), self.counts)
        member = np.arange(total) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)

        left = total - taken * self.repeats
        first = int(self._rng(LEFT_OUT).integers(total)) + cycle * left
        takes_part = np.ones(total, dtype=bool)
        takes_part[(first + np.arange(left)) % total] = False

        place = self._rng(SHARDS, cycle).permutation(len(self.counts))
        order = np.argsort(place[shard], kind="stable")
        passes = [order[takes_part[order]][part * taken : (part + 1) * taken]]
        for number in range(1, self.repeats // self.views_per_decode):
            place = self._rng(PASS, epoch, number).permutation(len(self.counts))
            passes.append(passes[0][np.argsort(place[shard[passes[0]]], kind="stable")])
        sequence = np.concatenate(passes)
        return shard[sequence], member[sequence]

    def lane(
        self, epoch: int, done: Sequence[Segment], num_ranks: int, lanes_of_rank: int, rank: int, lane: int
    ) -> Lane:
        """What lane `lane` of rank `rank` still has to give in `epoch`, after the segments `done`.

        Every segment divides the views that are left among its lanes, as if it made all remaining steps, and each lane
        gives the first of its views in its own order. So, one segment after the other:

        1. Replay what each lane of an earlier segment gave, and remove it: `views` are those that are left.
        2. Divide these among the present lanes, and order this lane's part. If the last segment already had the same
           ranks and lanes, it continues: it is not replayed, and the lane skips what it gave in it.
        3. Turn the numbers of the views into visits, and the visits into shards and members.
        """
        done = list(done)
        current = Segment(num_ranks, lanes_of_rank, 0)
        if done and (done[-1].num_ranks, done[-1].lanes_of_rank) == (num_ranks, lanes_of_rank):
            current = done.pop()
        views, steps = np.arange(self.steps * self.batch_size), self.steps
        for number, segment in enumerate(done):
            given = [
                self._order(part, epoch, number, r * segment.lanes_of_rank + n)[: self._size(segment, n, segment.steps)]
                for (r, n), part in self._cut(views, steps, segment)
            ]
            views, steps = np.setdiff1d(views, np.concatenate(given), assume_unique=True), steps - segment.steps
        mine = dict(self._cut(views, steps, current))[rank, lane]
        order = self._order(mine, epoch, len(done), rank * lanes_of_rank + lane)
        order = order[self._size(current, lane, current.steps) :]

        visit_I, copy_I = order // self.views_per_decode, order % self.views_per_decode
        repeat_I = visit_I // self.samples_per_epoch * self.views_per_decode + copy_I
        needed, visit_I = np.unique(visit_I, return_inverse=True)
        shard, member = self.visits(epoch)
        shares = [self._share(current, lane, step) for step in range(current.steps, steps)]
        return Lane(shard[needed], member[needed], visit_I, repeat_I, shares)

    def _cut(self, views: np.ndarray, steps: int, by: Segment) -> list[tuple[tuple[int, int], np.ndarray]]:
        """`views` divided among the lanes of `by`, by (rank, lane), if it made all remaining `steps` steps.

        The lanes take consecutive stretches. If a rank's batch is not a whole number of visits, the last lanes of all
        ranks come last, as only their stretches may split visits.
        """
        lanes = range(by.lanes_of_rank)
        places = [(rank, lane) for rank in range(by.num_ranks) for lane in lanes]
        if self.batch_size // by.num_ranks % self.views_per_decode:
            places.sort(key=lambda place: place[1] == lanes[-1])
        sizes = {lane: self._size(by, lane, steps) for lane in lanes}
        ends = np.cumsum([sizes[lane] for _, lane in places])
        return list(zip(places, np.split(views, ends[:-1]), strict=True))

    def _order(self, views: np.ndarray, epoch: int, segment: int, number: int) -> np.ndarray:
        """The views of lane `number` (of all ranks' lanes) of an epoch's segment in the order in which it gives them:
        visits moved by less than `WINDOW` places, the views of a visit together."""
        visits, index = np.unique(views // self.views_per_decode, return_inverse=True)
        moved = np.arange(len(visits)) + WINDOW * self._rng(MIX, epoch, segment, number).random(len(visits))
        return views[np.argsort(moved[index], kind="stable")]

    def _size(self, by: Segment, lane: int, steps: int) -> int:
        """Views that `lane` (of its rank) gives in `steps` steps."""
        return sum(self._share(by, lane, step) for step in range(steps))

    def _share(self, by: Segment, lane: int, step: int) -> int:
        """Views that `lane` (of its rank) gives to the rank's batch at `step`: whole visits; the last lane also gives
        what is left."""
        visits, rest = divmod(self.batch_size // by.num_ranks, self.views_per_decode)
        whole = self.views_per_decode * lane_share(visits, by.lanes_of_rank, lane, step)
        return whole + (rest if lane == by.lanes_of_rank - 1 else 0)


def lane_share(batch_of_rank: int, lanes_of_rank: int, lane: int, step: int) -> int:
    """What `lane` (of its rank) gives to the rank's batch at `step`; who gives one more changes with the step."""
    whole, rest = divmod(batch_of_rank, lanes_of_rank)
    return whole + ((lane + step) % lanes_of_rank < rest)


def even_parts(counts: Sequence[int], num_lanes: int) -> list[list[tuple[int, np.ndarray]]]:
    """All samples in the dataset's order as (shard, members), cut into `num_lanes` lanes as evenly as possible."""
    ends = np.cumsum(counts)
    whole, rest = divmod(sum(counts), num_lanes)
    lanes, start = [], 0
    for lane in range(num_lanes):
        stop = start + whole + (lane < rest)
        bounds = [
            (max(start, end - count), min(stop, end), end - count) for count, end in zip(counts, ends, strict=True)
        ]
        lanes.append([(shard, np.arange(a - first, b - first)) for shard, (a, b, first) in enumerate(bounds) if a < b])
        start = stop
    return lanes
