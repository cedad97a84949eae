"""The engine of a sweep on a Ray cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from vit_tickets.pipeline.system.cluster import machines_of, ray_session, whole_or_part
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sweep.process import start
from vit_tickets.train.sweep.protocols import POLL_S, Ended, log_of, open_log
from vit_tickets.train.sweep.steps import Step, argv

OBJECT_STORE = 128 << 20  # bytes; nothing but exit statuses goes through it


def run_logged(arguments: list[str], log: str, folder: str) -> int:
    """In a Ray worker, run this Python with `arguments` in `folder`; returns its exit status. If the task is cancelled,
    the process gets SIGTERM and is waited for."""
    os.chdir(folder)
    with open_log(log) as stream:
        process = start([sys.executable, *arguments], stdout=stream, stderr=stream)
    while True:
        try:
            return process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)


class RayEngine:
    """Tasks of a Ray cluster whose machines share the folders that the steps name.

    A task asks for so little that `slots` of them run at once, even on one CPU.
    """

    def __init__(self, ray: ModuleType, per_gpu: int, jobs: int | None, gpus: int | None, on_cpu: bool, logs: str):
        machines = machines_of(ray)
        cpus = sum(machine.cpus for machine in machines) or 1
        found = 0 if on_cpu else sum(machine.gpus for machine in machines)
        if gpus is not None and gpus > found:
            raise UserError(f"--gpus: expected at most {found} in the Ray cluster, found {gpus}")
        count = found if gpus is None else gpus
        self.slots = jobs or max(1, count * per_gpu)
        if count and self.slots > count * per_gpu:
            raise UserError(
                f"--jobs: expected at most {count * per_gpu} on {count} GPUs, found {jobs}; see --jobs-per-gpu"
            )
        self._ray, self._logs = ray, os.path.abspath(logs)
        self._task = ray.remote(run_logged).options(
            max_retries=0,
            num_cpus=whole_or_part(cpus / self.slots),
            num_gpus=whole_or_part(1 / per_gpu) if count else 0,
        )
        self._running: dict[Any, Step] = {}

    def start(self, step: Step) -> None:
        reference = self._task.remote(argv(step)[1:], log_of(self._logs, step), os.getcwd())
        self._running[reference] = step

    def wait(self, timeout_s: float) -> list[Ended]:
        if not self._running:
            time.sleep(timeout_s)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=timeout_s)
        return [self._ended(reference) for reference in done]

    def _ended(self, reference: Any) -> Ended:
        step, errors = self._running.pop(reference), self._ray.exceptions
        try:
            return Ended(step, self._ray.get(reference))
        except errors.TaskCancelledError:
            return Ended(step, -signal.SIGTERM)
        except errors.RayError as error:
            return Ended(step, fault=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")

    def signal(self, number: int) -> None:
        for reference in self._running:
            self._ray.cancel(reference)


@contextlib.contextmanager
def ray_engine(
    per_gpu: int, jobs: int | None, gpus: int | None, on_cpu: bool, logs: str, address: str | None
) -> Iterator[RayEngine]:
    with ray_session(address, OBJECT_STORE) as ray:
        yield RayEngine(ray, per_gpu, jobs, gpus, on_cpu, logs)
