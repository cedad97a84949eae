"""The folder of a local Ray's session: closed to others, gone at the end, swept away where its process was killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.command import holder
from vit_tickets.pipeline.system.cluster import FOLDERS, SESSION, session_folder
from vit_tickets.pipeline.system.errors import UserError

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("vit_tickets.pipeline.system.cluster.BELOW_SESSION", 0)  # pytest's folders have long names
    return tmp_path


def test_a_session_folder_is_closed_to_others_and_gone_afterwards(temporary):
    with session_folder() as session:
        (folder,) = temporary.iterdir()
        assert Path(session).parent == folder
        assert folder.name.startswith(FOLDERS)
        assert folder.stat().st_mode & 0o077 == 0
        Path(session).mkdir()
    assert list(temporary.iterdir()) == []


def test_folders_of_the_dead_are_swept_away_and_those_of_the_living_are_not(temporary):
    living, dead, other = (temporary / name for name in (f"{FOLDERS}living", f"{FOLDERS}dead", "other"))
    for folder in (living, dead, other):
        (folder / SESSION).mkdir(parents=True)
    (dead / ".lock").write_text("process 1 on a machine that was switched off\n")
    with holder(living), session_folder():
        assert living.exists()
        assert not dead.exists()
    assert sorted(temporary.iterdir()) == [other, living]


def test_a_path_too_long_for_sockets_is_told(temporary, monkeypatch):
    monkeypatch.setattr("vit_tickets.pipeline.system.cluster.BELOW_SESSION", 200)
    with pytest.raises(UserError, match=r"expected TMPDIR to be \d+ bytes shorter"), session_folder():
        pass
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_leaves_no_session_and_what_a_kill_leaves_is_swept_away_by_the_next():
    program = (
        "import time; from vit_tickets.pipeline.system.cluster import ray_session\n"
        "with ray_session(None, 200 << 20): print(flush=True); time.sleep(60)"
    )
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # for Ray's sockets
    left = []
    for number in (signal.SIGKILL, signal.SIGINT):
        environment = os.environ | {"TMPDIR": str(short)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-c", program]
        process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
        assert process.stdout.readline() == b"\n"
        os.killpg(process.pid, number)
        process.wait(timeout=60)
        left.append(len(list(short.glob(f"{FOLDERS}*"))))
    shutil.rmtree(short)
    assert left == [1, 0]
