"""Where our processes listen: on loopback alone."""

import ipaddress
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import words
from tests.soak import kills

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]
CLI = "vit_tickets.pipeline.cli"
LOOPBACK = {"127.0.0.1", "::1"}


def listening() -> dict[str, str]:
    """The local address of every TCP socket of this machine that listens, by the socket's name in /proc."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # TCP_LISTEN
                words = bytes.fromhex(fields[1].partition(":")[0])  # of 4 bytes each, the lowest first
                packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                found[f"socket:[{fields[9]}]"] = _unmapped(ipaddress.ip_address(packed))
    return found


def _unmapped(address) -> str:
    return str(getattr(address, "ipv4_mapped", None) or address)


def sockets_of(pid: int) -> set[str]:
    try:
        return {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
    except OSError:  # it has ended
        return set()


def where_listens(arguments: list, **environment: str) -> dict[str, set[str]]:
    """Addresses at which processes listen while the command runs to its good end: those of what we start, and those of
    all it starts in turn."""
    found = {"itself": set(), "below": set()}
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        pids, owner = set(), {}
        while process.poll() is None:
            now = listening()
            pids |= set(kills.tree(process.pid))
            for pid in sorted(pids):
                for name in sockets_of(pid) & now.keys():
                    whose = owner.setdefault(name, pid)  # a fork holds its parent's until it is another program
                    found["itself" if whose == process.pid else "below"].add(now[name])
            time.sleep(0.05)
        assert process.returncode == 0, process.stdout.read().decode()[-2000:]
    return found


def test_where_this_process_listens_is_seen():
    with socket.socket() as plain, socket.socket(socket.AF_INET6) as six:
        plain.bind(("127.0.0.1", 0))
        six.bind(("::", 0))
        plain.listen()
        six.listen()
        now = listening()
        assert {"127.0.0.1", "::"} <= {now[name] for name in sockets_of(os.getpid()) & now.keys()}


@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_alone_and_keeps_nothing_at_home(packed, selector_run, tmp_path):
    (tmp_path / "home").mkdir()
    options = ("--selector", selector_run, "--engine", "ray", "--workers", 2, "--out", tmp_path / "m")
    found = where_listens([CLI, "generate", packed, *options], HOME=str(tmp_path / "home"))
    assert found["below"] <= LOOPBACK
    assert found["itself"] <= LOOPBACK
    assert found["below"]
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_a_sweep_on_ray_listens_on_loopback_alone(packed, selector_run, tmp_path):
    train = words("--image-size 24 --patch-size 4 --batch-size 8 --workers 0 --device cpu --skip-errors")
    options = words("--paths dense --epochs 1 --engine ray --selector", selector_run, "--out", tmp_path / "s")
    found = where_listens([CLI, "sweep", packed, *options, "--", *train])
    assert found["below"] <= LOOPBACK
    assert found["itself"] <= LOOPBACK
    assert found["below"]


@pytest.mark.slow
def test_ranks_listen_on_loopback_alone(packed, tmp_path):
    """torchrun itself listens everywhere: PyTorch's TCPStore cannot be bound to an address (docs/cluster.md)."""
    launcher = words("torch.distributed.run --standalone --nproc-per-node 2 -m vit_tickets.train")
    model = "--model deit_micro --path dense --image-size 24 --patch-size 4 --batch-size 8 --epochs 1"
    options = words(f"{model} --workers 0 --device cpu --skip-errors --out", tmp_path / "run")
    found = where_listens([*launcher, packed, *options])
    assert found["below"] <= LOOPBACK
    assert found["below"]
    assert found["itself"] == {"::"}, "say so in docs/cluster.md if this has become better"
