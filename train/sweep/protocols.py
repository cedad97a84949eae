"""Where the steps of a sweep run: as processes of this machine, or as tasks of a Ray cluster."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten
from typing import IO, Protocol

from vit_tickets.train.sweep.steps import Step

POLL_S = 0.2
SAVING_S = 120  # for what a killed sweep left behind to save and end


@dataclass(frozen=True)
class Ended:
    """A step that has ended.

    Attributes:
        step: the step.
        code: exit status of its process.
        fault: what happened to the machine that it ran on, instead of an exit status.
    """

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
        ...

    def signal(self, number: int) -> None:
        """Send a signal to every running step; it saves and ends."""


def log_of(logs: str, step: Step) -> str:
    return os.path.join(logs, f"{step.name}.log")


@contextlib.contextmanager
def open_log(path: str) -> Iterator[IO[bytes]]:
    """Open the log at `path` for appending, once no other process writes to it.

    A writing process holds its lock, so that no run is trained twice at a time. Raises TimeoutError after `SAVING_S`.
    """
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
    """The last line of the file that is not empty, cut to whole words of 300 characters; empty where there is none."""
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        stream.seek(max(0, os.path.getsize(path) - 4096))
        lines = stream.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return shorten(next((line for line in reversed(lines) if line.strip()), ""), 300, placeholder=" ...")
    return ""
