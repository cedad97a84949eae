"""Processes that end when their parent ends, and signals that are handed to them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

LISTENED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def how_it_ended(code: int) -> str:
    """The exit status of a process that failed, in words."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit status {code}"


def start(arguments: list[str], **options: Any) -> subprocess.Popen:
    """Start a process in a separate group, without input, that gets SIGTERM when this one ends. options: of Popen."""
    before = os.getpid()
    return subprocess.Popen(  # noqa: S603 (our own commands)
        arguments, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=lambda: _end_with(before), **options
    )


@contextlib.contextmanager
def listening(handler: Callable) -> Iterator[None]:
    """Send signals that end a program to `handler` until the block ends."""
    before = {number: signal.signal(number, handler) for number in LISTENED}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous or signal.SIG_DFL)


def _end_with(parent: int) -> None:
    """In a new process: ask for SIGTERM when `parent` ends (on Linux), so that no step outlives its sweep."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
