"""The engine of a sweep on this machine."""

import os
import subprocess
import time

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sweep.process import start
from vit_tickets.train.sweep.protocols import POLL_S, Ended, log_of, open_log
from vit_tickets.train.sweep.steps import Step, argv


class LocalEngine:
    """Processes of this machine."""

    def __init__(self, gpus: list[str | None], logs: str, gpus_per_run: int = 1):
        """Offer one slot per entry of `gpus`.

        Args:
            gpus: the value of CUDA_VISIBLE_DEVICES in each slot; None to leave the environment as it is.
            logs: folder of the steps' output.
            gpus_per_run: processes that train one run, by torchrun.
        """
        self.slots = len(gpus)
        self._free, self._logs, self._gpus_per_run = list(reversed(gpus)), logs, gpus_per_run
        self._running: dict[str, tuple[Step, subprocess.Popen, str | None]] = {}

    def start(self, step: Step) -> None:
        with open_log(log_of(self._logs, step)) as log:
            gpu = self._free[-1]
            environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
            if gpu is None and self.slots > 1:
                threads = max(1, len(os.sched_getaffinity(0)) // self.slots)
                environment = {"OMP_NUM_THREADS": str(threads)} | environment
            process = start(argv(step, self._gpus_per_run), stdout=log, stderr=log, env=environment)
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


def local_gpus(found: int, gpus: int | None, per_gpu: int, jobs: int | None) -> list[str | None]:
    """The GPU of each slot: `per_gpu` slots on each of `gpus`, at most `jobs`; None for slots without a GPU.

    found: GPUs that this machine offers. Raises UserError if more is asked for than there is.
    """
    if gpus is not None and gpus > found:
        raise UserError(f"--gpus: expected at most {found}, found {gpus}")
    count = found if gpus is None else gpus
    if count == 0:
        return [None] * (jobs or 1)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(found)]
    slots: list[str | None] = [*(names[:count] * per_gpu)]
    if jobs is not None and jobs > len(slots):
        raise UserError(f"--jobs: expected at most {len(slots)} on {count} GPUs, found {jobs}; see --jobs-per-gpu")
    return slots[:jobs]
