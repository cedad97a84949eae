"""Signals and failures, in real processes: what was done is saved, all ranks end, one line says why.

Two ranks are started by torchrun, one by a fork.
"""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.forks import command
from tests.helpers import png
from tests.soak import kills
from tests.soak.data import write_dataset
from vit_tickets.pipeline.datasets.shards import Sample, write_shard

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("machine")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "data"
    write_dataset(root, [200, 120, 90], val=16)
    return root


def wait_for(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def started(data, out, log, ranks, *options, **how):
    if ranks == 1:
        return command(log, "train", *kills.arguments(data, out, *options))
    return kills.start(kills.command(data, out, ranks, *options), log, **how)


def begun(data, out, log, ranks=1, **how):
    """A run of many epochs that saves every ten minutes only, once it trains."""
    process = started(data, out, log, ranks, "--epochs", 200, "--checkpoint-minutes", 10, **how)
    kills.wait_for_training(process, log, 1)
    return process


def test_usr1_saves_and_goes_on_and_term_saves_and_stops(data, tmp_path):
    log, out = tmp_path / "log", tmp_path / "run"
    process = begun(data, out, log)
    time.sleep(0.5)
    process.send_signal(signal.SIGUSR1)
    wait_for((out / "last.pt").exists)
    first = kills.where(out)
    assert first != "start"
    time.sleep(0.5)
    assert process.poll() is None
    for pid in kills.tree(process.pid):  # the loader's workers too, as Slurm does
        os.kill(pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 1
    assert kills.where(out) != first
    last = log.read_text().splitlines()[-1]
    assert "stopped by SIGTERM in epoch" in last
    assert "--resume continues" in last
    assert "Traceback" not in log.read_text()


def test_interrupt_stops_like_term(data, tmp_path):
    process = begun(data, tmp_path / "run", tmp_path / "log")
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C sends
    assert process.wait(timeout=30) == 1
    assert "stopped by SIGINT in epoch" in (tmp_path / "log").read_text()
    assert kills.where(tmp_path / "run") != "start"


def test_two_ranks_stop_together(data, tmp_path):
    """USR1 to all of Slurm's processes would end torchrun, unless the job script ignores it (docs/cluster.md)."""
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)}
    log, out = tmp_path / "log", tmp_path / "run"
    process = begun(data, out, log, ranks=2, **ignore)
    time.sleep(0.5)
    for pid in kills.tree(process.pid):
        os.kill(pid, signal.SIGUSR1)
    wait_for((out / "last.pt").exists)
    first = kills.where(out)
    time.sleep(0.3)
    os.kill(kills.ranks_of(process)[1], signal.SIGTERM)  # one rank alone is told
    assert process.wait(timeout=60) != 0
    assert kills.where(out) != first
    assert "stopped by a signal to another rank in epoch" in log.read_text()


def with_a_broken_image(root, at=30):
    dataset = write_dataset(root, [40], val=8)
    samples = [Sample(f"x{n}", 0, b"no picture" if n == at else png(n), "png") for n in range(40)]
    shard = write_shard(str(root), "train/000001.tar", samples)
    replace(dataset, splits=dataset.splits | {"train": [*dataset.shards("train"), shard]}).save()
    return root


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_failure_of_one_rank_ends_all_with_one_line_and_a_checkpoint(tmp_path, ranks):
    root, log, out = with_a_broken_image(tmp_path / "data"), tmp_path / "log", tmp_path / "run"
    asked = (root, out, log, ranks, "--epochs", 3, "--repeats", 1, "--checkpoint-minutes", 10)
    assert started(*asked).wait(timeout=120) != 0
    assert log.read_text().count("image x30 cannot be decoded") == 1
    assert "pass --skip-errors" in log.read_text()
    assert "train/loop/trainer.py" not in log.read_text(), "no traceback but torchrun's own"
    assert (out / "last.pt").exists()
    began = time.monotonic()  # now the failing batch is the first
    assert started(*asked).wait(timeout=120) != 0
    assert log.read_text().count("image x30 cannot be decoded") == 2
    assert time.monotonic() - began < 28, "no waiting for a loader or another rank"
    assert started(*asked, "--skip-errors").wait(timeout=120) == 0
    assert (out / "final.safetensors").exists()


def cmdline(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_killed_loader_worker_is_told_in_one_line(data, tmp_path):
    process = begun(data, tmp_path / "run", tmp_path / "log")
    wait_for(lambda: [pid for pid in kills.tree(process.pid)[1:] if b"vit_tickets" in cmdline(pid)])
    worker = next(pid for pid in kills.tree(process.pid)[1:] if b"vit_tickets" in cmdline(pid))
    time.sleep(0.5)
    os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    text = (tmp_path / "log").read_text()
    assert "DataLoader worker" in text
    assert "fewer --workers need less memory" in text
    assert "Traceback" not in text
    assert kills.where(tmp_path / "run") != "start"
