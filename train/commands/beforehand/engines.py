"""Where the steps of a plan run: processes of this machine, or tasks of a Ray cluster."""

import contextlib
from contextlib import AbstractContextManager
from typing import Protocol

import click

from vit_tickets.pipeline.system.cluster import RAY, choose_engine
from vit_tickets.pipeline.system.cluster import Engine as Chosen
from vit_tickets.train.sweep.protocols import Engine


class Shared(Protocol):
    """Options on how many steps run at a time. None stands for what there is."""

    @property
    def jobs(self) -> int | None: ...
    @property
    def gpus(self) -> int | None: ...
    @property
    def jobs_per_gpu(self) -> int: ...


def chosen_engine(engine: str, ray_address: str | None, device: str | None) -> tuple[Chosen, int]:
    """The engine, and the GPUs of this machine that steps may use; of `auto` Ray where there is a cluster, else this
    machine with all its GPUs."""
    import torch

    gpus = 0 if is_cpu(device) else torch.cuda.device_count()
    return choose_engine(engine, ray_address, min(gpus, 1)), gpus


def opened(engine: Chosen, gpus: int, asked: Shared, device: str | None, logs: str) -> AbstractContextManager[Engine]:
    """The engine, with its logs in the folder `logs`. gpus: of this machine. device: of the steps."""
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
