"""Commands and ranks in forks of a server that has imported what they need.

They are real processes with signals, groups, exit codes and files of their own. What a fork does not show is how a
program starts: the imports, seconds of each process, are the server's, who makes them once.
"""

import atexit
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vit_tickets.pipeline.cli import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "vit_tickets.train.loop.trainer", "vit_tickets.train.runs.resolve", "vit_tickets.pipeline.cli"]
)
LIMIT_S = 100


class Fork(CONTEXT.Process):
    """A call in a process group of its own, whose output is appended to `log`; asked and stopped as a Popen is."""

    def __init__(self, log: Path, program: Callable, *arguments: Any, **environment: str) -> None:
        super().__init__()
        log.touch()
        self.log, self.program, self.arguments = log, program, arguments
        self.environment = os.environ | environment

    def run(self) -> None:
        os.setsid()
        with self.log.open("ab") as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
        sys.stdout.reconfigure(line_buffering=True)
        os.environ.clear()
        os.environ.update(self.environment)
        self.program(*self.arguments)

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.arguments), timeout or 0)
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


@atexit.register
def end_all() -> None:
    """A test that failed leaves none: multiprocessing would wait for it."""
    for fork in multiprocessing.active_children():
        if isinstance(fork, Fork):
            os.killpg(fork.pid, signal.SIGKILL)


def vit_tickets(*words: str) -> None:
    """The command as a user types it."""
    main(list(words))


def vit_tickets_without(module: str, *words: str) -> None:
    """The command, which fails where it imports `module`."""
    assert module not in sys.modules
    sys.modules[module] = None
    main(list(words))


def started(log: Path, program: Callable, *arguments: Any, **environment: str) -> Fork:
    """A fork that runs; what `program` is has to be the name of a function of a module."""
    fork = Fork(log, program, *arguments, **environment)
    fork.start()
    return fork


def command(log: Path, *words: Any, **environment: str) -> Fork:
    """`vit-tickets` with `words`, running."""
    return started(log, vit_tickets, *map(str, words), **environment)


def on_ranks(size: int, folder: Path, program: Callable, *arguments: Any) -> str:
    """Call `program` on `size` ranks with torchrun's environment; returns what they say, and asserts a good end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    logs = [folder / f"rank-{rank}.log" for rank in range(size)]
    ranks = [
        started(log, program, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **place)
        for rank, log in enumerate(logs)
    ]
    end = time.monotonic() + LIMIT_S
    try:
        for rank in ranks:
            rank.join(max(0.0, end - time.monotonic()))
    finally:
        for rank in ranks:
            if rank.poll() is None:
                os.killpg(rank.pid, signal.SIGKILL)
    said = [log.read_text() for log in logs]
    assert [rank.wait() for rank in ranks] == [0] * size, "\n".join(text[-3000:] for text in said)
    return "".join(said)
