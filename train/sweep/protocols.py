"""Where the steps of a sweep run: as processes of this machine, or as tasks of a Ray cluster."""

import contextlib
import fcntl
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from vit_tickets.pipeline.system.cluster import ray_session
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sweep.process import start
from vit_tickets.train.sweep.steps import Step, argv

POLL_S = 0.2
SAVING_S = 120  # for what a killed sweep left behind to save and end
OBJECT_STORE = 128 << 20  # bytes; nothing but exit statuses goes through it


@dataclass(frozen=True)
class Ended:
    """A step that has ended, with its exit status; or with `fault`, what befell the machine it ran on."""

    step: Step
    code: int = 0
    fault: str | None = None


class Engine(Protocol):
    """Runs up to `slots` steps at once, each writing to LOGS/<step>.log."""

    slots: int

    def start(self, step: Step) -> None:
        """Begin `step`; not to be called while `slots` are running."""

    def wait(self, timeout_s: float) -> list[Ended]:
        """Steps that have ended, as soon as there is one, or none after `timeout_s` seconds."""

    def signal(self, number: int) -> None:
        """Tell every step that runs to stop; it saves, and ends."""


def log_of(logs: str, step: Step) -> str:
    return os.path.join(logs, f"{step.name}.log")


@contextlib.contextmanager
def open_log(path: str) -> Iterator[IO[bytes]]:
    """The log at `path`, to append to, once nobody writes to it any more: its lock is held by the process that does, so
    that no run is trained twice at a time. Raises TimeoutError where that takes longer than `SAVING_S`."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    limit = time.monotonic() + SAVING_S
    with open(path, "ab") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > limit:
                    raise TimeoutError(f"an earlier start of this step is still running, see {path}") from None
                time.sleep(POLL_S)
                continue
            except OSError:  # a file system without locks
                pass
            break
        yield stream


def last_line(path: str) -> str:
    """The last line of the file that is not empty, cut to 300 characters; empty where there is none."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - 4096))
        lines = stream.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
    return ""


class LocalEngine:
    """Processes of this machine. gpus: the value of CUDA_VISIBLE_DEVICES in each slot, None for those without a GPU."""

    def __init__(self, gpus: list[str | None], logs: str):
        self.slots = len(gpus)
        self._free, self._logs = list(reversed(gpus)), logs
        self._running: dict[str, tuple[Step, subprocess.Popen, str | None]] = {}

    def start(self, step: Step) -> None:
        with open_log(log_of(self._logs, step)) as log:
            gpu = self._free[-1]
            environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
            if gpu is None and self.slots > 1:
                threads = max(1, len(os.sched_getaffinity(0)) // self.slots)
                environment = {"OMP_NUM_THREADS": str(threads)} | environment
            process = start(argv(step), stdout=log, stderr=log, env=environment)
        self._free.pop()
        self._running[step.title] = step, process, gpu

    def wait(self, timeout_s: float) -> list[Ended]:
        limit = time.monotonic() + timeout_s
        while True:
            ended = [
                (step, process, gpu) for step, process, gpu in self._running.values() if process.poll() is not None
            ]
            if ended or time.monotonic() > limit:
                break
            time.sleep(min(POLL_S, timeout_s))
        for step, _, gpu in ended:
            del self._running[step.title]
            self._free.append(gpu)
        return [Ended(step, process.returncode) for step, process, _ in ended]

    def signal(self, number: int) -> None:
        for _, process, _ in self._running.values():
            process.send_signal(number)


def local_gpus(gpus: int | None, per_gpu: int, jobs: int | None, device: str | None) -> list[str | None]:
    """What each slot of this machine sees as its GPU: `per_gpu` slots on each of `gpus`, at most `jobs`; slots without
    one where there is none, or none is wanted. Raises UserError where more is asked for than there is."""
    import torch

    found = torch.cuda.device_count() if device is None or not device.startswith("cpu") else 0
    if gpus is not None and gpus > found:
        raise UserError(f"--gpus: expected at most {found}, found {gpus}")
    count = found if gpus is None else gpus
    if count == 0:
        return [None] * (jobs or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(found)]
    slots = names[:count] * per_gpu
    if jobs is not None and jobs > len(slots):
        raise UserError(f"--jobs: expected at most {len(slots)} on {count} GPUs, found {jobs}; see --jobs-per-gpu")
    return slots[:jobs]


def run_logged(arguments: list[str], log: str, folder: str) -> int:
    """In a Ray worker: run our Python with `arguments` in `folder`; its exit status. Cancelled, the process is told to
    stop first."""
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
    """Tasks of a Ray cluster, whose machines share the folders that the steps name.

    What a task asks for lets `slots` of them run at once, on one CPU as on many.
    """

    def __init__(self, ray, per_gpu: int, jobs: int | None, gpus: int | None, device: str | None, logs: str):
        resources = ray.cluster_resources()
        cpus, found = resources.get("CPU", 1), int(resources.get("GPU", 0))
        found = 0 if device is not None and device.startswith("cpu") else found
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
            max_retries=0, num_cpus=_share(cpus, self.slots), num_gpus=_share(1, per_gpu) if count else 0
        )
        self._running = {}

    def start(self, step: Step) -> None:
        reference = self._task.remote(argv(step)[1:], log_of(self._logs, step), os.getcwd())
        self._running[reference] = step

    def wait(self, timeout_s: float) -> list[Ended]:
        if not self._running:
            time.sleep(timeout_s)
            return []
        done, _ = self._ray.wait(list(self._running), timeout=timeout_s)
        return [self._ended(reference) for reference in done]

    def _ended(self, reference) -> Ended:
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


def _share(amount: float, parts: int) -> float:
    """What one of `parts` may ask for, so that Ray lets all of them run: whole from 1 on, else of 4 digits."""
    share = amount / parts
    return int(share) if share >= 1 else math.floor(share * 1e4) / 1e4


@contextlib.contextmanager
def local_engine(
    per_gpu: int, jobs: int | None, gpus: int | None, device: str | None, logs: str
) -> Iterator[LocalEngine]:
    yield LocalEngine(local_gpus(gpus, per_gpu, jobs, device), logs)


@contextlib.contextmanager
def ray_engine(
    per_gpu: int, jobs: int | None, gpus: int | None, device: str | None, logs: str, address: str | None
) -> Iterator[RayEngine]:
    with ray_session(address, OBJECT_STORE) as ray:
        yield RayEngine(ray, per_gpu, jobs, gpus, device, logs)
