"""A real Ray cluster: a head and two nodes started with `ray start`, with a token; nodes and actors are killed."""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import contents, write_folder
from tests.soak import kills
from vit_tickets.pipeline.datasets.pack import pack

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine"), pytest.mark.slow]

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
AT_WORK = b"ray::Worker.process"
STARTED_S = 60
DONE_S = 240


class Cluster:
    """A head without CPUs and nodes with one each, all on loopback; every node a process group of its own.

    has_jobs: whether the head takes jobs, at `jobs`.
    """

    def __init__(self, folder: Path, has_jobs: bool):
        port, jobs_port = free_ports(2)
        self.address, self.jobs = f"127.0.0.1:{port}", f"http://127.0.0.1:{jobs_port}"
        self.folder = folder
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
        }
        head = ["--head", "--port", port, "--num-cpus=0", f"--include-dashboard={has_jobs}", f"--temp-dir={folder}"]
        head += ["--dashboard-host=127.0.0.1", "--dashboard-port", jobs_port]
        self.groups = [self.start(*head)]
        self.wait_for(1)

    def start(self, *options: str) -> subprocess.Popen:
        command = [*RAY, "start", "--block", "--node-ip-address=127.0.0.1", "--disable-usage-stats", *options]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(list(map(str, command)), env=self.environment, start_new_session=True, **quiet)

    def add(self) -> subprocess.Popen:
        known = len(self.groups)
        self.groups.append(self.start("--address", self.address, "--num-cpus=1"))
        self.wait_for(known + 1)
        return self.groups[-1]

    def wait_for(self, nodes: int) -> None:
        count = "print('alive', sum(node['Alive'] for node in ray.nodes()))"
        code = f"import ray; ray.init({self.address!r}, logging_level=50); {count}"
        limit = time.monotonic() + STARTED_S
        while time.monotonic() < limit:
            done = subprocess.run([sys.executable, "-c", code], env=self.environment, capture_output=True, text=True)
            if f"alive {nodes}" in done.stdout:
                return
        raise AssertionError(f"no cluster of {nodes} nodes within {STARTED_S} s: {done.stderr[-500:]}")

    def kill(self, node: subprocess.Popen) -> None:
        for pid in kills.tree(node.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture
def cluster(tmp_path_factory, request):
    made = Cluster(tmp_path_factory.mktemp("r"), has_jobs=getattr(request, "param", False))
    yield made
    for node in made.groups:
        if node.poll() is None:
            made.kill(node)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("pictures")
    write_folder(root / "source/train", {"cat": 90, "dog": 90}, height=40, width=61)
    pack(str(root / "source"), str(root / "data"), shard_size=15, progress=False)
    return str(root / "data")


def generate(data, selector, out, *options, environment=None, through=()) -> subprocess.Popen:
    """Start the command, by the one of `through` where there is one."""
    fixed = ("--selector", selector, "--sparsity", "0.5", "--view", "crops:8", "--batch-size", "8", "--out", out)
    fixed += ("--engine", "ray")
    command = [*through, sys.executable, "-m", "vit_tickets.pipeline.cli", "generate", data, *fixed, *options]
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(list(map(str, command)), env=environment or own, **pipes)


@pytest.fixture(scope="module")
def undisturbed(pictures, selector_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "m"
    process = generate(pictures, selector_run, out, "--engine", "local")
    assert process.wait(DONE_S) == 0
    return out


def wait_for_files(out: Path, count: int, process: subprocess.Popen) -> None:
    limit = time.monotonic() + DONE_S
    while len(list(out.rglob("*.parquet"))) < count and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def is_at_work(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(AT_WORK)
    except OSError:
        return False


def kill_one_at_work(process: subprocess.Popen) -> None:
    """Kill an actor of `process` that is at work on a shard; wait for one between two shards.

    Ray takes the title away before it sends the result: an actor that is stopped and still bears it has sent none.
    """
    while process.poll() is None:
        for pid in filter(is_at_work, kills.tree(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if not is_at_work(pid):
                    os.kill(pid, signal.SIGCONT)
                    continue
                os.kill(pid, signal.SIGKILL)
                while is_at_work(pid):
                    time.sleep(0.001)
                return
        time.sleep(0.01)
    raise AssertionError(process.communicate())


HAS_JOB_SERVER = importlib.util.find_spec("aiohttp_cors") is not None
NO_JOB_SERVER = "no Ray job server: pip install -e '.[cluster]'"


@pytest.mark.parametrize(
    "cluster",
    [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_JOB_SERVER, reason=NO_JOB_SERVER))],
    ids=["joined", "job"],
    indirect=True,
)
def test_a_node_killed_in_the_middle(cluster, request, pictures, selector_run, undisturbed, tmp_path):
    cluster.add()
    second = cluster.add()
    is_job = request.node.callspec.params["cluster"]
    submit = [*RAY, "job", "submit", "--address", cluster.jobs, "--"]
    options = ("--ray-address", "auto" if is_job else cluster.address, "--workers", 2)
    process = generate(
        pictures, selector_run, tmp_path / "m", *options, environment=cluster.environment, through=submit * is_job
    )
    wait_for_files(tmp_path / "m", 3, process)
    cluster.kill(second)
    output, errors = process.communicate(timeout=DONE_S)
    assert process.returncode == 0, errors
    assert contents(tmp_path / "m") == contents(undisturbed)
    assert re.search(r"180 images done in .*, 1 shards? done again after (its|their) worker was lost", output)


def test_without_the_token_it_is_told_in_one_line(cluster, pictures, selector_run, tmp_path):
    process = generate(pictures, selector_run, tmp_path / "m", "--ray-address", cluster.address)
    _, errors = process.communicate(timeout=DONE_S)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith(f"Error: cannot join the Ray cluster at {cluster.address}")
    assert "RAY_AUTH_TOKEN" in errors.splitlines()[-1]


def test_an_actor_killed_in_the_middle(pictures, selector_run, undisturbed, tmp_path):
    process = generate(pictures, selector_run, tmp_path / "m", "--workers", 2)
    wait_for_files(tmp_path / "m", 2, process)
    kill_one_at_work(process)
    output, errors = process.communicate(timeout=DONE_S)
    assert process.returncode == 0, errors
    assert contents(tmp_path / "m") == contents(undisturbed)
    assert "1 shard done again after its worker was lost" in output


DEADLY = """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("train/000005.tar"):
        with open("/proc/self/cmdline", "rb") as title:
            if title.read().startswith(b"ray::"):
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""


def test_a_shard_that_kills_every_worker_is_given_up_and_the_others_are_done(
    pictures, selector_run, undisturbed, tmp_path
):
    (tmp_path / "sitecustomize.py").write_text(DEADLY)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = str(tmp_path)
    process = generate(pictures, selector_run, tmp_path / "m", "--workers", 1, environment=environment)
    _, errors = process.communicate(timeout=DONE_S)
    assert process.returncode == 1, errors
    assert "1 of 12 shards failed: train/000005.tar: its worker was lost 3 times" in errors
    made, expected = contents(tmp_path / "m"), contents(undisturbed)
    made.pop(".making.json")  # gone when the manifest is complete
    assert len(made) == 11
    assert made.items() <= expected.items()
