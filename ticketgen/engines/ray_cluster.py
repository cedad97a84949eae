"""The engine of a Ray cluster: shards over actors; actors lost with their machines are replaced."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from vit_tickets.pipeline.system.cluster import machines_of, ray_session
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.kinds import Met, check_same_program
from vit_tickets.ticketgen.engines.placement import place
from vit_tickets.ticketgen.engines.processor import Processor, Spec, reason
from vit_tickets.ticketgen.engines.protocols import Finished, ShardBar, Task
from vit_tickets.ticketgen.engines.work import Batches, Settings

POLL_S = 0.5
ATTEMPTS = 3  # per shard, and to start workers one after the other, against lost workers alone
PATIENCE_S = 30.0  # without any worker, until the user is notified


class Worker:
    """A Ray actor with one network. `process` and `progress` run side by side."""

    def __init__(self, spec: Spec, settings: Settings, device: str, precision: str):
        self.processor = Processor(spec, settings, device, precision)
        self.device = device
        self.images = self.errors = 0

    def about(self) -> Met:
        return Met.here(self.device)

    def process(self, task: Task) -> Finished:
        return self.processor.process(task, self._count)

    def _count(self, images: int, errors: int) -> None:
        self.images += images
        self.errors += errors

    def progress(self) -> tuple[int, int]:
        """Images so far, and errors among them."""
        return self.images, self.errors


@dataclass
class ActorState:
    """What the engine knows about an actor.

    Attributes:
        actor: the Ray handle.
        shown: images and errors that the bar shows.
        committed: those of whole shards.
    """

    actor: Any
    shown: tuple[int, int] = (0, 0)
    committed: tuple[int, int] = (0, 0)


class RayEngine:
    """Shards over actors. Only the actors ask Ray for CPUs, so a cluster of any size makes progress.

    The shard of a lost actor is processed again by another, at most `ATTEMPTS` times. Work is given only to actors
    that have started, so an actor that cannot be scheduled does not block the others.
    """

    name = "ray"

    def __init__(self, ray: ModuleType, spec: Spec, batches: Batches, device: str, precision: str, workers: int | None):
        self.ray = ray
        machines = machines_of(ray)
        gpus = sum(machine.gpus for machine in machines)
        on_gpu = device.startswith("cuda") or (device == "auto" and gpus > 0)
        if on_gpu and not gpus:
            raise UserError("expected a GPU for --device cuda, found none in the Ray cluster")
        placed = place(machines, workers, on_gpu)
        self.device, self.count = "cuda" if on_gpu else "cpu", placed.count
        settings = batches.on(self.device)
        self.batch_size = settings.batch_size
        self._spec, self._precision = ray.put(spec), precision
        self._settings = replace(settings, threads=placed.threads)
        self._options = {"num_cpus": placed.cpus, "num_gpus": placed.gpus, "max_concurrency": 2}
        self._lost = (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError)
        self._starting: dict[Any, ActorState] = {}
        self._idle: list[ActorState] = []
        self._running: dict[Any, tuple[ActorState, Task]] = {}
        self._failed_starts = 0

    def run(self, tasks: list[Task], bar: ShardBar, started: Callable[[Met], None]) -> Iterator[Finished]:
        waiting, attempts = list(reversed(tasks)), Counter()
        reported = time.monotonic()
        while waiting or self._running:
            while waiting and self._idle:
                self._assign(waiting.pop(), attempts)
            self._start(min(self.count, len(waiting) + len(self._running)))
            done, _ = self.ray.wait([*self._running, *self._starting], timeout=POLL_S)
            self._move(bar)
            for reference in done:
                if reference in self._starting:
                    why = self._register(reference, started)
                    if why and self._failed_starts >= ATTEMPTS and not self._running and not self._idle:
                        yield from (Finished(task, f"no worker starts: {why}") for task in waiting)
                        return
                    continue
                finished, lost = self._collect(reference, bar)
                if lost and attempts[finished.task.name] < ATTEMPTS:
                    bar.retried()
                    waiting.append(finished.task)
                else:
                    yield finished
            if self._running or self._idle:
                reported = time.monotonic()
            elif time.monotonic() - reported > PATIENCE_S:
                reported = time.monotonic()
                asked = f"{self._options['num_cpus']} CPUs, {self._options['num_gpus']} GPUs"
                free = f"no machine of the cluster has {asked} free"
                bar.write(f"no worker has started for {PATIENCE_S:.0f} s: {free}", file=sys.stderr)

    def _start(self, wanted: int) -> None:
        for _ in range(wanted - len(self._starting) - len(self._idle) - len(self._running)):
            worker = self.ray.remote(Worker).options(**self._options)
            actor = worker.remote(self._spec, self._settings, self.device, self._precision)
            self._starting[actor.about.remote()] = ActorState(actor)

    def _register(self, reference: Any, started: Callable[[Met], None]) -> str | None:
        """Register an actor that has started; returns why it has not, if it has failed.

        Raises UserError if another vit-tickets is installed where it runs.
        """
        worker = self._starting.pop(reference)
        try:
            met = self.ray.get(reference)
        except self._lost as failure:
            self._failed_starts += 1
            return reason(failure)
        except self.ray.exceptions.RayTaskError as failure:  # an older one cannot tell
            why = reason(failure.cause if failure.cause is not None else failure)
            raise UserError(f"expected this vit-tickets on every worker, found one that differs: {why}") from None
        check_same_program(met)
        started(met)
        self._failed_starts = 0
        self._idle.append(worker)
        return None

    def _assign(self, task: Task, attempts: Counter) -> None:
        worker = self._idle.pop()
        attempts[task.name] += 1
        self._running[worker.actor.process.remote(task)] = worker, task

    def _collect(self, reference: Any, bar: ShardBar) -> tuple[Finished, bool]:
        """The outcome of a task, and whether its worker was lost; `bar` then takes back what it showed of the task."""
        worker, task = self._running.pop(reference)
        try:
            finished = self.ray.get(reference)
        except self._lost as failure:
            bar.count(*(committed - shown for committed, shown in zip(worker.committed, worker.shown, strict=True)))
            return Finished(task, f"its worker was lost {ATTEMPTS} times: {reason(failure)}"), True
        self._show(worker, bar, commit=True)
        self._idle.append(worker)
        return finished, False

    def _move(self, bar: ShardBar) -> None:
        """Show in `bar` what the workers have done."""
        asked = {worker.actor.progress.remote(): worker for worker, _ in self._running.values()}
        ready, _ = self.ray.wait(list(asked), num_returns=len(asked), timeout=POLL_S) if asked else ([], [])
        for reference in ready:
            self._show(asked[reference], bar, reference)

    def _show(self, worker: ActorState, bar: ShardBar, reference: Any = None, commit: bool = False) -> None:
        with contextlib.suppress(*self._lost):
            done = self.ray.get(reference or worker.actor.progress.remote())
            bar.count(done[0] - worker.shown[0], done[1] - worker.shown[1])
            worker.shown = done
            if commit:
                worker.committed = done


@contextlib.contextmanager
def ray_engine(
    spec: Spec, batches: Batches, device: str, precision: str, workers: int | None, address: str | None
) -> Iterator[RayEngine]:
    """Open an engine on the cluster of `ray_session`."""
    with ray_session(address, object_store_memory=max(512 << 20, 3 * spec.num_bytes)) as ray:
        yield RayEngine(ray, spec, batches, device, precision, workers)
