"""Paired timing: things take turns in one process, and only ratios between them are claimed.

A machine that is busy slows all that take part in a round alike, so the ratio is taken round by round, and its median
stands for the run.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Options:
    """runs: rounds that count. quick: fewer images and no warm-up, to see that everything runs; its ratios prove
    nothing."""

    runs: int
    quick: bool = False

    @property
    def warmup(self) -> int:
        """Rounds that do not count."""
        return 0 if self.quick else 1


@dataclass(frozen=True)
class Timing:
    """One turn: seconds on the wall, and seconds of CPU time over all threads of the process, and of the processes that
    it started and that have ended."""

    wall_s: float
    cpu_s: float

    def since(self, earlier: "Timing") -> "Timing":
        return Timing(self.wall_s - earlier.wall_s, self.cpu_s - earlier.cpu_s)

    def times(self, factor: float) -> "Timing":
        return Timing(self.wall_s * factor, self.cpu_s * factor)


@dataclass(frozen=True)
class Ratio:
    """Median, least and greatest of the ratios of pairs."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Finding:
    """How much faster `ours` is than `baseline`: both timed in the same rounds.

    arithmetic: what the operation counts alone would give. target: the least ratio that is wanted, None where the
    comparison is only for information.
    """

    what: str
    ours: str
    baseline: str
    ours_turns: list[Timing]
    baseline_turns: list[Timing]
    arithmetic: float | None = None
    target: float | None = None

    @property
    def ratio(self) -> Ratio:
        return pairwise([turn.wall_s for turn in self.baseline_turns], [turn.wall_s for turn in self.ours_turns])

    @property
    def cpu_ratio(self) -> Ratio:
        return pairwise([turn.cpu_s for turn in self.baseline_turns], [turn.cpu_s for turn in self.ours_turns])

    @property
    def reached(self) -> bool | None:
        return None if self.target is None else self.ratio.median >= self.target


@dataclass(frozen=True)
class Duration:
    """Seconds that something may take: `turns` on the wall, and at most `limit_s`, or None for information.

    The one thing that is not a ratio: on a busy machine it says little.
    """

    what: str
    turns: list[float]
    limit_s: float | None = None

    @property
    def median_s(self) -> float:
        return statistics.median(self.turns)

    @property
    def reached(self) -> bool | None:
        return None if self.limit_s is None else self.median_s <= self.limit_s


@dataclass(frozen=True)
class Share:
    """What `part` takes of a loop: its seconds, and those of the whole loop, in each turn. For information."""

    what: str
    part: str
    part_s: list[float]
    whole_s: list[float]

    reached = None

    @property
    def ratio(self) -> Ratio:
        return pairwise(self.part_s, self.whole_s)


def take_turns(
    contestants: dict[str, Callable[[], object]],
    runs: int,
    warmup: int = 1,
    clock: Callable[[], Timing] | None = None,
) -> dict[str, list[Timing]]:
    """Time each of `contestants` once per round, in the given order (A B A B ...): `runs` turns per name.

    The first `warmup` rounds are not counted. A contestant that returns a Timing has timed itself: part of what it did
    does not count.
    """
    clock = clock or now
    turns: dict[str, list[Timing]] = {name: [] for name in contestants}
    for number in range(warmup + runs):
        for name, contestant in contestants.items():
            before = clock()
            result = contestant()
            timing = result if isinstance(result, Timing) else clock().since(before)
            if number >= warmup:
                turns[name].append(timing)
    return turns


def now() -> Timing:
    """The clocks, once the device has done all that was asked of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Timing(time.perf_counter(), time.process_time() + ended.ru_utime + ended.ru_stime)


def pairwise(numerators: list[float], denominators: list[float]) -> Ratio:
    """Ratios of the two lists, pair by pair."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def median_wall_s(turns: list[Timing]) -> float:
    return statistics.median(turn.wall_s for turn in turns)


def fastest(turns: dict[str, list[Timing]], names: list[str]) -> str:
    """Which of `names` has the least median on the wall."""
    return min(names, key=lambda name: median_wall_s(turns[name]))


@contextmanager
def arithmetic_threads(count: int) -> Iterator[None]:
    """torch's own threads set to `count`, and back to what they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    return os.cpu_count() or 1
