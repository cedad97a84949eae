"""One job at a time in a folder: who comes second is told who is there; the dead hold nothing."""

import os
import signal
import subprocess
import sys
import threading

import pandas as pd
import pytest

from tests.command import holder, refused
from tests.helpers import contents
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.locks import LOCK, alone_in

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]
COMMANDS = ("pack", "generate", "labels", "train", "sweep", "table")


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A folder for each command, and the process that holds them."""
    folders = {name: tmp_path_factory.mktemp("held") / name for name in COMMANDS}
    with holder(*folders.values()) as process:
        yield folders, process.pid


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_is_refused_and_told_who_is_there(command, commands, held):
    folders, pid = held
    told = f"Error: {folders[command]} is in use by process {pid} on {os.uname().nodename} since 20"
    assert refused(*commands[command](folders[command])).startswith(told)
    assert os.listdir(folders[command]) == [LOCK]


def test_others_wait_where_they_are_told_to(tmp_path):
    with holder(tmp_path / "a") as process:
        threading.Timer(0.2, process.communicate, ["\n"]).start()
        with alone_in(tmp_path / "a", wait=True) as locked:
            assert locked
            assert process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_dead_hold_nothing_nor_do_their_children(tmp_path, number):
    program = (
        "import os, sys, time; from vit_tickets.pipeline.system.locks import alone_in\n"
        "with alone_in(sys.argv[1]):\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE)
    child = int(process.stdout.readline())
    with pytest.raises(UserError, match="is in use"), alone_in(tmp_path):
        pass
    process.send_signal(number)
    process.wait()
    assert (tmp_path / LOCK).exists()
    os.kill(child, 0)  # as a loader's worker, which is still there
    with alone_in(tmp_path) as locked:
        assert locked
        assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()
    os.kill(child, signal.SIGKILL)
    assert os.listdir(tmp_path) == []


def test_nothing_is_left_of_it_and_nothing_is_seen(tickets, tmp_path):
    with alone_in(tmp_path / "a" / "b", tmp_path / "c"):
        (tmp_path / "c" / "kept").write_bytes(b"")
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "c", tmp_path / "c" / "kept"]
    with alone_in(f"{tickets}/train"):
        assert len(pd.read_parquet(f"{tickets}/train")) == 23
    assert LOCK not in contents(tickets)


def test_where_there_are_no_locks_it_says_so(disk):
    with alone_in("memory://bucket/out") as locked:
        assert not locked
    with disk.read_only(), alone_in(str(disk.root)) as locked:
        assert not locked
    with disk.read_only(), pytest.raises(UserError, match="Read-only file system"), alone_in(f"{disk.root}/new"):
        pass


def test_a_full_disk_holds_it_namelessly(disk):
    disk.fill(leave=0)
    with alone_in(str(disk.root)) as locked:
        assert locked
        assert (disk.root / LOCK).read_text() == ""


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="File exists"), alone_in(str(tmp_path / "file")):
        pass
