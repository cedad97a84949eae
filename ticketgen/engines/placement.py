"""How many workers run on the machines of a cluster, and what each asks for, so that all of them fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from vit_tickets.pipeline.system.cluster import Machine, whole_or_part

CPUS_PER_WORKER = 4


@dataclass(frozen=True)
class Placement:
    """Equal workers.

    Attributes:
        count: number of workers.
        threads: decoding and arithmetic threads of a worker.
        cpus: what a worker asks Ray for.
        gpus: what a worker asks Ray for.
    """

    count: int
    threads: int
    cpus: float
    gpus: float


def place(machines: Sequence[Machine], workers: int | None, on_gpu: bool) -> Placement:
    """Place `workers` equal workers; by default one per GPU, or one per four CPUs of a machine.

    All of them fit side by side without asking a machine for more than it has. Workers on GPUs share the GPUs evenly;
    workers on CPUs have as many threads as leave room for all.
    """
    return _on_gpus(machines, workers) if on_gpu else _on_cpus(machines, workers)


def _on_gpus(machines: Sequence[Machine], workers: int | None) -> Placement:
    holders = [machine for machine in machines if machine.gpus]
    gpus = sum(machine.gpus for machine in holders)
    count = workers or gpus
    sharing = -(-count // gpus)
    cpus = min(machine.cpus / (machine.gpus * sharing) for machine in holders)
    return Placement(count, max(1, int(cpus)), whole_or_part(cpus), whole_or_part(1 / sharing))


def _on_cpus(machines: Sequence[Machine], workers: int | None) -> Placement:
    offered = [machine.cpus for machine in machines if machine.cpus > 0] or [1]
    count = workers or sum(max(1, int(cpus) // CPUS_PER_WORKER) for cpus in offered)
    for threads in range(int(max(offered)), 0, -1):
        if sum(int(cpus) // threads for cpus in offered) >= count:
            return Placement(count, threads, threads, 0)
    parts = 1
    while sum(int(cpus * parts) for cpus in offered) < count:
        parts += 1
    return Placement(count, 1, whole_or_part(1 / parts), 0)
