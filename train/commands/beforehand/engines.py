"""Where the steps of a plan run: processes of this machine, or tasks of a Ray cluster."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import click

from vit_tickets.pipeline.system.cluster import AUTO, ENGINES, RAY, choose_engine
from vit_tickets.pipeline.system.cluster import Engine as Chosen
from vit_tickets.pipeline.system.fields import COUNT, option
from vit_tickets.train.sweep.protocols import Engine


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """The options of a plan on where its steps run, and how many at a time. None where it was not given."""

    engine: str = option(
        "Every step is a process of this machine, or a task of a Ray cluster whose machines share all folders.",
        default=AUTO,
        choices=ENGINES,
        show_default=True,
        section="Where it runs",
    )
    jobs: int | None = option(
        "Steps at a time.  [default: 1 on CPUs, else as many as the GPUs take]", default=None, type=COUNT
    )
    gpus: int | None = option("Number of GPUs to use.  [default: all]", default=None, type=click.IntRange(0))
    jobs_per_gpu: int = option("Steps that share a GPU.", default=1, type=COUNT, show_default=True)
    ray_address: str | None = option("Join this Ray cluster instead of starting one here.", default=None)

    def check(self) -> None:
        """Raise UserError, before anything slow is loaded, for an engine that is not to be had."""
        choose_engine(self.engine, self.ray_address, 0)


@dataclass(frozen=True)
class Place:
    """Where the steps of a plan run.

    Attributes:
        is_cluster: whether the machines are those of a cluster.
        devices: that run steps side by side on this machine; None where they are a cluster's.
        open: the engine, with its logs in a folder.
    """

    is_cluster: bool
    devices: int | None
    open: Callable[[str], AbstractContextManager[Engine]]


def place_of(asked: PlaceOptions, device: str | None) -> Place:
    """Of `--engine auto` a cluster where there is one, else this machine with all its GPUs. device: of the steps."""
    import torch

    gpus = 0 if is_cpu(device) else torch.cuda.device_count()
    engine = choose_engine(asked.engine, asked.ray_address, min(gpus, 1))
    is_cluster = engine.name == RAY
    devices = None if is_cluster else max(1, gpus if asked.gpus is None else asked.gpus)
    return Place(is_cluster, devices, lambda logs: _opened(engine, gpus, asked, device, logs))


def _opened(
    engine: Chosen, gpus: int, asked: PlaceOptions, device: str | None, logs: str
) -> AbstractContextManager[Engine]:
    if engine.name == RAY:
        from vit_tickets.train.sweep.ray_cluster import ray_engine

        if engine.why is not None:
            click.echo(str(engine))
        return ray_engine(asked.jobs_per_gpu, asked.jobs, asked.gpus, is_cpu(device), logs, engine.address)
    from vit_tickets.train.sweep.local import LocalEngine, local_gpus

    slots = local_gpus(gpus, asked.gpus, asked.jobs_per_gpu, asked.jobs)
    return contextlib.nullcontext(LocalEngine(slots, logs))


def is_cpu(device: str | None) -> bool:
    return device is not None and device.startswith("cpu")
