"""Running steps one after another: what is done is left out, signals reach the one that runs."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.sweep.steps import Step, argv, typed

LISTENED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Runner:
    """Runs steps, each as a process that writes to our own stdout and stderr.

    SIGINT, SIGTERM and SIGHUP end the step that runs by SIGTERM, so that it saves and stops, and even while it starts
    there is no traceback; those that follow are passed on as they are. A step is in a process group of its own, where
    Ctrl-C does not reach it a second time. Killed outright, we take the step with us.
    """

    def __init__(self, gpus: int, echo: Callable[[str], None]):
        self._gpus, self._echo = gpus, echo
        self._process: subprocess.Popen | None = None
        self._signal: str | None = None

    def run(self, steps: list[Step], done: list[bool]) -> None:
        """Run those of `steps` that are not `done`, in order.

        Raises WorkFailed where we are told to stop, and it, or UserError, where a step fails: those after it are not
        begun.
        """
        with listening(self._pass_on):
            for number, step in enumerate(steps, start=1):
                if done[number - 1]:
                    continue
                place = f"[{number}/{len(steps)}]"
                if self._signal is None:
                    self._echo(f"{place} {step.title}")
                    code = self._wait(step)
                if self._signal is not None:
                    said = f"stopped by {self._signal} at {place} {step.title}; the same command goes on"
                    raise WorkFailed(said)
                if code:
                    kind = UserError if code == 2 else WorkFailed
                    raise kind(f"{place} {step.title} {how_it_ended(code)}: {typed(step)}")
                if not step.is_done():
                    raise WorkFailed(f"{place} {step.title} ended without what it should have made: {typed(step)}")

    def _wait(self, step: Step) -> int:
        self._process = start(argv(step, self._gpus))
        if self._signal is not None:  # while it was started
            self._process.terminate()
        try:
            return self._process.wait()
        finally:
            self._process = None

    def _pass_on(self, number: int, _) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM if self._signal is None else number)
        self._signal = self._signal or signal.Signals(number).name


def how_it_ended(code: int) -> str:
    """In words, for the exit status of a process that failed."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit status {code}"


def start(arguments: list[str], **options) -> subprocess.Popen:
    """Start a process in a group of its own, without input, that gets SIGTERM when we end. options: of Popen."""
    before = os.getpid()
    return subprocess.Popen(  # noqa: S603 (our own commands)
        arguments, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=lambda: _end_with(before), **options
    )


@contextlib.contextmanager
def listening(handler: Callable) -> Iterator[None]:
    """Signals that end a program go to `handler` until the block ends."""
    before = {number: signal.signal(number, handler) for number in LISTENED}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous or signal.SIG_DFL)


def _end_with(parent: int) -> None:
    """In a new process: SIGTERM when `parent` ends (on Linux), so that no step goes on beside the one that takes its
    place."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
