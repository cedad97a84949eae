"""How many workers go on the machines of a cluster, and what each asks for, so that all of them find a place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CPUS_PER_WORKER = 4


@dataclass(frozen=True)
class Machine:
    """What a machine of the cluster offers: CPUs may be a fraction, as Ray counts them."""

    cpus: float
    gpus: int = 0


@dataclass(frozen=True)
class Placement:
    """`count` workers of `threads` decoding and arithmetic threads, each asking for `cpus` and `gpus`."""

    count: int
    threads: int
    cpus: float
    gpus: float


def place(machines: Sequence[Machine], workers: int | None, on_gpu: bool) -> Placement:
    """Where `workers` go; None: one per GPU, or one for every four CPUs of a machine.

    All workers ask for the same, and as many of them as there are fit side by side, no machine being asked for more
    than it has: on a GPU the machines' GPUs are shared evenly, on CPUs the threads are as many as leave room for all.
    """
    if on_gpu:
        holders = [machine for machine in machines if machine.gpus]
        count = workers or sum(machine.gpus for machine in holders)
        sharing = -(-count // sum(machine.gpus for machine in holders))
        cpus = min(machine.cpus / (machine.gpus * sharing) for machine in holders)
        return Placement(count, max(1, int(cpus)), _whole_or_part(cpus), _whole_or_part(1 / sharing))
    holders = [machine for machine in machines if machine.cpus > 0] or [Machine(1)]
    count = workers or sum(max(1, int(machine.cpus) // CPUS_PER_WORKER) for machine in holders)
    most = int(max(machine.cpus for machine in holders))
    for threads in range(most, 0, -1):
        if sum(int(machine.cpus) // threads for machine in holders) >= count:
            return Placement(count, threads, threads, 0)
    parts = 1
    while sum(int(machine.cpus * parts) for machine in holders) < count:
        parts += 1
    return Placement(count, 1, _whole_or_part(1 / parts), 0)


def _whole_or_part(amount: float) -> float:
    """As Ray takes it: whole from 1 on, else of 4 digits, rounded down so that all parts fit."""
    return int(amount) if amount >= 1 else math.floor(amount * 1e4) / 1e4
