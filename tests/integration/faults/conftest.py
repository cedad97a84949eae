"""What the trials have in common: a small disk that can be filled, what commands get."""

import os
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import words

SIZE = 32 << 20  # bytes of the small disk
FILL = ".ballast"


@dataclass(frozen=True)
class Disk:
    """A file system of its own, so small that it can be filled."""

    root: Path

    def fill(self, leave: int) -> None:
        """Leave so many bytes free."""
        (self.root / FILL).unlink(missing_ok=True)
        stat = os.statvfs(self.root)
        with open(self.root / FILL, "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, stat.f_bavail * stat.f_bsize - leave)

    def empty(self) -> None:
        (self.root / FILL).unlink()

    @contextmanager
    def read_only(self):
        subprocess.run(["mount", "-o", "remount,ro", self.root], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", self.root], check=True)


@pytest.fixture
def disk(tmp_path):
    """A `Disk`; skips where mounting is not permitted."""
    root = tmp_path / "disk"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", root], capture_output=True)
    if mounted.returncode:
        pytest.skip("no permission to mount a small disk")
    yield Disk(root)
    subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture(scope="session")
def commands(packed, small_source, selector_run, tmp_path_factory) -> dict[str, Callable]:
    """What each command that fills a folder is asked for, by name, with the folder."""
    model = "--model deit_micro --path dense --image-size 24 --patch-size 4"
    train = words(f"{model} --batch-size 8 --epochs 1 --workers 0 --device cpu --skip-errors --repeats 1")
    stage_one = words("--engine local --workers 1 --batch-size 8 --device cpu")
    selector = ("--selector", selector_run)
    return {
        "pack": lambda out: ("pack", small_source, out, "--shard-size", 8),
        "generate": lambda out: ("generate", packed, *selector, *stage_one, "--out", out),
        "labels": lambda out: ("labels", packed, "--annotator", selector_run, *stage_one, "--out", out),
        "train": lambda out: ("train", packed, *train, "--out", out),
        "sweep": lambda out: ("sweep", packed, *selector, "--out", out),
        "table": lambda out: ("table", packed, *selector, *words("--models deit_micro --sparsity 0.5 --out", out)),
    }
