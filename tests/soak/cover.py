"""Exact cover: real ranks (gloo) with real loader workers over three shards of unequal size.

Every rank takes part in a collective after each of its batches, so unequal step counts would hang; `TIMEOUT` ends that.
"""

import contextlib
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests import forks  # noqa: F401 (what the server imports)
from tests.helpers import augmenting
from tests.soak.data import SIDE, numbers_of, write_dataset
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.train.data.plan import Position
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import START, TrainStreamConfig, train_batches

SIZES = (97, 30, 120)
BATCH = 24
STEPS = sum(SIZES) // BATCH
EPOCHS = 3
TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True)
class Link:
    """`ranks` x `workers` for `steps` steps, or to the end of the last epoch."""

    ranks: int
    workers: int
    steps: int | None = None

    @property
    def lanes(self) -> int:
        return max(1, self.workers)


@dataclass(frozen=True)
class Trial:
    """Links that go on where the one before them was interrupted."""

    links: tuple[Link, ...]

    def __str__(self) -> str:
        return ", then ".join(
            f"{link.ranks} x {link.workers}" + (f" for {link.steps} steps" if link.steps else "") for link in self.links
        )


@dataclass(frozen=True)
class Cover:
    """What a trial gave in each epoch: samples, how many of them twice or more, those that it left out, the order."""

    trial: Trial
    seen: list[int]
    doubled: list[int]
    left_out: list[frozenset[int]]
    orders: list[tuple[int, ...]]


def plain_trials() -> list[Trial]:
    return [Trial((Link(ranks, workers),)) for ranks in (1, 2, 3, 4) for workers in (0, 1, 2, 3)]


def interrupted_trials() -> list[Trial]:
    return [
        Trial((Link(1, 1, 4), Link(4, 3))),
        Trial((Link(4, 3, 4), Link(1, 2))),
        Trial((Link(2, 2, 3), Link(4, 1, 4), Link(3, 1))),
        Trial((Link(3, 2, 15), Link(2, 0, 2), Link(1, 3))),
        Trial((Link(2, 2, 5), Link(2, 2))),
    ]


def stream(root: str, rank: int, ranks: int, seed: int = 0, start: Position = START) -> TrainStreamConfig:
    views, place = augmenting(SIDE, 0.5), {"rank": rank, "num_ranks": ranks, "start": start}
    data = SplitData(Dataset.open(root), "train")
    return TrainStreamConfig(data, "dense", views, BATCH, EPOCHS, seed, grid=6, mask_seed=0, **place)


def covers(trials: Sequence[Trial], seed: int = 0) -> list[Cover]:
    """Carry out `trials`, in processes of their own."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_dataset(Path(folder) / "data", SIZES).root
        most = max(link.ranks for trial in trials for link in trial.links)
        mp.start_processes(_rank, (most, root, tuple(trials), seed, folder), nprocs=most, start_method="forkserver")
        return [
            _cover(trial, [_steps(f"{folder}/{number}-{at}", link.ranks) for at, link in enumerate(trial.links)])
            for number, trial in enumerate(trials)
        ]


def _rank(rank: int, ranks: int, root: str, trials: Sequence[Trial], seed: int, folder: str) -> None:
    warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=ranks, timeout=TIMEOUT)
    for number, trial in enumerate(trials):
        start = START
        for at, link in enumerate(trial.links):
            group = dist.new_group(range(link.ranks), timeout=TIMEOUT)
            if rank < link.ranks:
                steps = []
                batches = train_batches(stream(root, rank, link.ranks, seed, start), link.workers)
                with contextlib.closing(batches):
                    for batch in islice(batches, link.steps):
                        dist.all_reduce(torch.ones(1), group=group)
                        steps.append(numbers_of(batch.pixels))
                torch.save(steps, f"{folder}/{number}-{at}-{rank}")
            dist.barrier()
            for _ in range(link.steps or 0):
                start = start.after_step(link.ranks, link.lanes)
                start = start.after_epoch() if start.step == STEPS else start
    dist.destroy_process_group()


def _steps(prefix: str, ranks: int) -> list[list[int]]:
    """The global batches that `ranks` ranks had; raises AssertionError unless they made equally many."""
    by_rank = [torch.load(f"{prefix}-{rank}", weights_only=True) for rank in range(ranks)]
    if len({len(steps) for steps in by_rank}) != 1:
        raise AssertionError(f"unequal steps: {[len(steps) for steps in by_rank]}")
    return [list(chain(*parts)) for parts in zip(*by_rank, strict=True)]


def _cover(trial: Trial, by_link: list[list[list[int]]]) -> Cover:
    steps = list(chain(*by_link))
    if len(steps) != EPOCHS * STEPS:
        raise AssertionError(f"{trial}: expected {EPOCHS} x {STEPS} steps, found {len(steps)}")
    orders = [tuple(chain(*steps[epoch * STEPS : (epoch + 1) * STEPS])) for epoch in range(EPOCHS)]
    counted = [Counter(order) for order in orders]
    return Cover(
        trial,
        seen=[len(order) for order in orders],
        doubled=[sum(n > 1 for n in times.values()) for times in counted],
        left_out=[frozenset(range(sum(SIZES))) - set(times) for times in counted],
        orders=orders,
    )


def faults(cover: Cover) -> list[str]:
    """What is wrong with a cover; nothing where it is exact."""
    rest = sum(SIZES) % BATCH
    wrong = []
    if any(seen != sum(SIZES) - rest for seen in cover.seen):
        wrong.append(f"saw {cover.seen} samples, expected {sum(SIZES) - rest}")
    if any(cover.doubled):
        wrong.append(f"{cover.doubled} samples more than once")
    if any(len(out) != rest for out in cover.left_out):
        wrong.append(f"left out {[len(out) for out in cover.left_out]}, expected {rest}")
    if len(set(cover.left_out)) != len(cover.left_out):
        wrong.append("the same samples left out in two epochs")
    if len(set(cover.orders)) != len(cover.orders):
        wrong.append("the same order in two epochs")
    return wrong


def run(quick: bool = False) -> bool:
    """quick: two ranks at most."""
    plain, interrupted = plain_trials(), interrupted_trials()
    if quick:
        plain, interrupted = [Trial((Link(1, 0),)), Trial((Link(2, 1),))], interrupted[-1:]
    trials = plain + interrupted
    print(f"cover: shards of {SIZES} samples, batches of {BATCH}, {EPOCHS} epochs of {STEPS} steps")
    first, again, other = covers(trials), covers(trials), covers(plain, seed=1)
    print(f"{'ranks x workers':56}{'samples an epoch':18}{'twice':8}{'left out':10}fault")
    good = True
    for cover, repeated in zip(first, again, strict=True):
        wrong = faults(cover) + ([] if cover.orders == repeated.orders else ["another order in the second try"])
        good &= not wrong
        seen, doubled = "/".join(map(str, cover.seen)), "/".join(map(str, cover.doubled))
        left_out = "/".join(str(len(out)) for out in cover.left_out)
        print(f"{cover.trial!s:56}{seen:18}{doubled:8}{left_out:10}{'; '.join(wrong) or 'none'}")
    differ = sum(a.orders != b.orders for a, b in zip(first, other, strict=False))
    print(f"another seed gives another order in {differ} of {len(other)}; the same seed the same one in all")
    return good and differ == len(other)
