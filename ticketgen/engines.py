"""Where shards are worked on: in this process, or by the actors of a Ray cluster. The tasks are the same."""

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import torch

from vit_tickets.pipeline.bars import Bar
from vit_tickets.pipeline.cluster import ray_session
from vit_tickets.pipeline.errors import UserError, WorkFailed
from vit_tickets.ticketgen.driver import Finished, Task
from vit_tickets.ticketgen.work import Progress, Settings

POLL_S = 0.5
ATTEMPTS = 3  # per shard, against lost workers alone
CPUS_PER_WORKER = 4


class Spec(Protocol):
    """What workers are sent: plain values and bytes, from which each builds its network."""

    state: bytes

    def build(self, device: str, precision: str) -> Any:
        """What the `process` of a task works with."""


def resolve_device(device: str) -> str:
    """`auto` is the first GPU if there is one; raises UserError for a device that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.split(":")[0] == "cuda" and not torch.cuda.is_available():
        raise UserError("expected a GPU for --device cuda, found none")
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"expected a device among auto, cpu, cuda, found {device!r}")
    return device


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


class LocalEngine:
    """The shards one after the other in this process; `workers` threads decode and (on CPU) do arithmetic."""

    name = "local"

    def __init__(self, spec: Spec, settings: Settings, device: str, precision: str, workers: int | None):
        self.network = spec.build(device, precision)
        self.settings = replace(settings, threads=workers or os.cpu_count() or 1)
        self.device = device_name(device)

    def run(self, tasks: list[Task], bar: Bar) -> Iterator[Finished]:
        for task in tasks:
            yield Finished(task, attempt(self.network, task, self.settings, bar.count))


@contextlib.contextmanager
def local_engine(
    spec: Spec, settings: Settings, device: str, precision: str, workers: int | None
) -> Iterator[LocalEngine]:
    yield LocalEngine(spec, settings, resolve_device(device), precision, workers)


def attempt(network: Any, task: Task, settings: Settings, progress: Progress) -> str | None:
    """Do `task`; None, or in one line why the shard failed. The other shards go on."""
    try:
        task.process(network, settings, progress)
    except (UserError, WorkFailed) as error:
        return str(error)
    except Exception as error:  # whatever befalls one shard, it is named and the others are done
        return f"{type(error).__name__}: {_one_line(error)}"
    return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


class Worker:
    """A Ray actor with one network. `count` and `process` run side by side, so that progress can be asked for."""

    def __init__(self, spec: Spec, settings: Settings, device: str, precision: str):
        self.network = spec.build(device, precision)
        self.settings = settings
        self.images = self.errors = 0

    def process(self, task: Task) -> str | None:
        return attempt(self.network, task, self.settings, self._count)

    def _count(self, images: int, errors: int) -> None:
        self.images += images
        self.errors += errors

    def progress(self) -> tuple[int, int]:
        return self.images, self.errors


class RayEngine:
    """Shards over `workers` actors. Nothing but the actors asks Ray for CPUs, so any cluster size makes progress."""

    name = "ray"

    def __init__(self, ray, spec: Spec, settings: Settings, device: str, precision: str, workers: int | None):
        self.ray = ray
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 1), int(resources.get("GPU", 0))
        on_gpu = device.startswith("cuda") or (device == "auto" and gpus > 0)
        if on_gpu and not gpus:
            raise UserError("expected a GPU for --device cuda, found none in the Ray cluster")
        count = workers or (gpus if on_gpu else max(1, int(cpus) // CPUS_PER_WORKER))
        threads = max(1, int(cpus // count))
        self.settings = replace(settings, threads=threads)
        self.device = "cuda" if on_gpu else "cpu"
        self.spec = ray.put(spec)
        self.precision = precision
        self.count = count
        self.options = {
            "num_cpus": threads if cpus >= count else cpus / count,
            "num_gpus": gpus / count if on_gpu else 0,
            "max_concurrency": 2,
        }

    def _start(self):
        actor = self.ray.remote(Worker).options(**self.options)
        return actor.remote(self.spec, self.settings, self.device, self.precision)

    def run(self, tasks: list[Task], bar: Bar) -> Iterator[Finished]:
        lost = (self.ray.exceptions.RayActorError, self.ray.exceptions.OutOfMemoryError)
        waiting = list(reversed(tasks))
        attempts = Counter()
        idle = [self._start() for _ in range(min(self.count, len(tasks)))]
        seen = dict.fromkeys(idle, (0, 0))
        running = {}
        while waiting or running:
            while waiting and idle:
                worker, task = idle.pop(), waiting.pop()
                attempts[task.name] += 1
                running[worker.process.remote(task)] = worker, task
            done, _ = self.ray.wait(list(running), timeout=POLL_S)
            self._move(bar, seen)
            for reference in done:
                worker, task = running.pop(reference)
                try:
                    error = self.ray.get(reference)
                except lost as failure:
                    seen.pop(worker)
                    worker = self._start()
                    seen[worker] = (0, 0)
                    if attempts[task.name] < ATTEMPTS:
                        waiting.append(task)
                    else:
                        yield Finished(task, f"its worker was lost {ATTEMPTS} times: {_one_line(failure)}")
                else:
                    yield Finished(task, error)
                idle.append(worker)
        self._move(bar, seen)

    def _move(self, bar: Bar, seen: dict) -> None:
        """Bring `bar` up to what the workers have done."""
        asked = {worker: worker.progress.remote() for worker in seen}
        ready, _ = self.ray.wait(list(asked.values()), num_returns=len(asked), timeout=POLL_S)
        for worker, reference in asked.items():
            if reference in ready:
                with contextlib.suppress(self.ray.exceptions.RayActorError):
                    images, errors = self.ray.get(reference)
                    bar.count(images - seen[worker][0], errors - seen[worker][1])
                    seen[worker] = images, errors


@contextlib.contextmanager
def ray_engine(
    spec: Spec, settings: Settings, device: str, precision: str, workers: int | None, address: str | None
) -> Iterator[RayEngine]:
    """The actors of `ray_session`."""
    with ray_session(address, object_store_memory=max(512 << 20, 3 * len(spec.state))) as ray:
        yield RayEngine(ray, spec, settings, device, precision, workers)


def engine_of(
    name: str,
    spec: Spec,
    settings: Settings,
    device: str,
    precision: str,
    workers: int | None,
    ray_address: str | None,
) -> Callable[[], contextlib.AbstractContextManager]:
    """What opens the engine `name`, ray or local, on the network that `spec` builds."""
    if name == "local":
        return lambda: local_engine(spec, settings, device, precision, workers)
    return lambda: ray_engine(spec, settings, device, precision, workers, ray_address)
