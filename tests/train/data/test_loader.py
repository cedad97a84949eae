"""A worker that is lost, or cannot hand over what it read, is told in one line."""

import os
import shlex
import signal
import subprocess

import pytest
import torch
from torch.utils.data import IterableDataset

from tests.command import VIT_TICKETS
from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.data import loader
from vit_tickets.train.data.batches import Share, TrainBatch


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset by peer"), EOFError(), FileNotFoundError(2, "gone")]
)
def test_a_worker_killed_while_it_hands_over_is_told_alike(monkeypatch, error):
    class Shares:
        def __iter__(self):
            return self

        def __next__(self):
            raise error

        def _shutdown_workers(self):
            pass

    monkeypatch.setattr(loader, "_loader", lambda *_: Shares())
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        with pytest.raises(WorkFailed, match=r"a DataLoader worker was lost while it handed over .* fewer --workers"):
            next(loader.shares_of(None, 1))
    finally:
        signal.signal(signal.SIGCHLD, handler)
    with pytest.raises(type(error)):
        next(loader.shares_of(None, 0))


class Numbers(IterableDataset):
    """Three shares per worker; the second of them is what `second` does."""

    def __init__(self, second=None):
        self.second = second

    def __iter__(self):
        for number in range(3):
            if number == 1 and self.second is not None:
                self.second()
            yield Share(TrainBatch(pixels=torch.full((2, 3, 4, 4), number, dtype=torch.uint8), label=torch.zeros(2)))


def shares(second=None, workers=2) -> list[Share]:
    before = signal.getsignal(signal.SIGCHLD)
    try:
        return list(loader.shares_of(Numbers(second), workers))
    finally:
        signal.signal(signal.SIGCHLD, before)


def full(*_, **__):
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def no_files(*_, **__):
    raise RuntimeError("unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)")


@pytest.mark.process
@pytest.mark.timeout(40)
@pytest.mark.parametrize(
    ("fault", "told"),
    [(full, r"expected room in /dev/shm .*--workers 0.*--shm-size"), (no_files, r"ulimit -n.*--workers 0")],
)
def test_a_share_that_cannot_be_handed_over_is_told_and_never_waited_for(monkeypatch, fault, told):
    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", fault)
    with pytest.raises(WorkFailed, match=told) as failed:
        shares()
    assert "\n" not in str(failed.value)
    assert len(shares(workers=0)) == 3


@pytest.mark.process
@pytest.mark.timeout(40)
@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGKILL, "killed by SIGKILL, as where memory ran out; fewer --workers"),
        (signal.SIGBUS, "room in /dev/shm"),
    ],
)
def test_a_worker_that_is_killed_is_told_with_what_may_have_killed_it(number, told):
    with pytest.raises(WorkFailed, match=told) as failed:
        shares(lambda: os.kill(os.getpid(), number))
    assert "\n" not in str(failed.value)


def without_memory():
    raise MemoryError


@pytest.mark.process
def test_a_worker_without_memory_is_told_in_one_line():
    with pytest.raises(WorkFailed, match="a DataLoader worker found no memory; fewer --workers"):
        shares(without_memory)


SMALL = "mount -t tmpfs -o size=256k tmpfs /dev/shm || exit 77; exec "


@pytest.mark.process
@pytest.mark.parametrize("workers", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_a_container_with_a_small_dev_shm(packed, tmp_path, workers):
    out = tmp_path / "run"
    command = [VIT_TICKETS, "train", packed, "--model", "deit_micro", "--path", "dense", "--epochs", "2", "--out", out]
    command += ["--batch-size", "8", "--image-size", "96", "--skip-errors", "--workers", workers]
    text = SMALL + shlex.join(map(str, command))
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", text], capture_output=True, text=True, timeout=100, start_new_session=True
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounts are not allowed here")
    if not workers:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: expected room in /dev/shm for the shares")
