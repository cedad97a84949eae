"""The exit codes that docs/cli.md lists, each of a real process. Those of jobs that are stopped: integration/tickets,
tests/integration/training/test_interrupts.py; of storage that fails: tests/integration/storage."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.slow]  # seconds of imports

CLI = [sys.executable, "-m", "vit_tickets.pipeline.cli"]


def ended(*words: str) -> tuple[int, str]:
    done = subprocess.run([*CLI, *words], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_0_done(tickets):
    assert ended("inspect", tickets) == (0, "")


def test_1_part_of_the_work_failed(tickets, tmp_path):
    root = shutil.copytree(tickets, tmp_path / "tickets")
    Path(root, "val", "000000.parquet").unlink()
    status, said = ended("verify", str(root))
    assert (status, said.count("finding")) == (1, 1)


@pytest.mark.parametrize(
    "words", [("inspect", "/nowhere"), ("inspect", "--no-such-option"), ("inspekt",), ("compare",)]
)
def test_2_the_request_was_wrong(words):
    status, said = ended(*words)
    assert status == 2
    assert "Error: " in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "status", "last"), [(signal.SIGINT, 1, "Aborted!"), (signal.SIGTERM, -signal.SIGTERM, "")]
)
def test_stopped_while_it_reads(tmp_path, number, status, last):
    os.mkfifo(tmp_path / "ticket.json")
    with subprocess.Popen([*CLI, "inspect", str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        writer = open_when_read(tmp_path / "ticket.json")
        process.send_signal(number)
        said = process.communicate(timeout=30)[1].strip()
        os.close(writer)
    assert (process.returncode, said) == (status, last)


def open_when_read(fifo: Path, limit_s: float = 30) -> int:
    """The end to write to, once somebody reads."""
    end = time.monotonic() + limit_s
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > end:
                raise
            time.sleep(0.02)
