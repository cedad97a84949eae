"""Runs with masked weights that are killed at random moments, and resumed: the same weights and masks in the end.

And a plan of such runs, killed in the middle of its trainings: the same table.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.soak import kills
from tests.soak.data import write_dataset
from tests.training import equal
from vit_tickets.pipeline.weights import ticket

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]
UNITS = ("--weight-method", "s2vite", "--head-sparsity", "0.3", "--neuron-sparsity", "0.4", "--update-every", "5")
LEARNED = ("--path", "learned", "--sparsity", "0.5", "--scorer", "mlp")
OPTIONS = {
    "gmp": ("--weight-method", "gmp", "--weight-sparsity", "0.8"),
    "svite": ("--weight-method", "svite", "--weight-sparsity", "0.5", "--update-every", "5"),
    "s2vite": UNITS,
    "learned": LEARNED,
    "learned, s2vite": (*LEARNED, *UNITS),
}
BESIDE = ("shrunk.safetensors", "scorer.safetensors")  # files that some of them leave


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed") / "data"
    write_dataset(root, [500, 300, 407], val=64)
    return root


@pytest.mark.parametrize("method", OPTIONS)
def test_ten_kills_change_nothing(data, tmp_path, method):
    options = ("--limit", "240", "--checkpoint-minutes", "0", *OPTIONS[method])
    outcome = kills.trial(data, tmp_path, 1, 10, epochs=9, seed=3, spread_s=0.1, options=options, most_saves=6)
    assert len(outcome.kills) == 10
    assert len(set(outcome.kills)) > 3, outcome.kills
    assert not outcome.unequal
    whole, broken = (tmp_path / f"{name}-1" for name in ("whole", "broken"))
    for name in BESIDE:
        assert (whole / name).exists() == (broken / name).exists() == (name.split(".")[0] in made(method))
        if (whole / name).exists():
            assert equal(load_file(whole / name), load_file(broken / name))
    if method != "learned":
        assert ticket.read(str(whole / "masks")).masks_sha256 == ticket.read(str(broken / "masks")).masks_sha256


def made(method: str) -> list[str]:
    return [name for name, of in (("shrunk", "s2vite"), ("scorer", "learned")) if of in method]


PLAN = ("--model", "deit_micro", "--rounds", "1", "--epochs", "5", "--seeds", "1")
EACH = ("--image-size", "24", "--patch-size", "4", "--batch-size", "24", "--workers", "0", "--device", "cpu")


def plan_of(data: Path, out: Path) -> list[str]:
    given = ("lth", str(data), *PLAN, "--out", str(out), "--", *EACH, "--checkpoint-minutes", "0")
    return [sys.executable, "-m", "vit_tickets.pipeline.cli", *given]


def unfinished(out: Path) -> Iterator[Path]:
    """Runs of the plan that have begun and are not at their end."""
    yield from (path.parent for path in out.rglob("last.pt") if not (path.parent / "final.safetensors").exists())


def wait_for_a_step(process: subprocess.Popen, out: Path, saves: int, but: set[str]) -> Path:
    """Return a run of the plan, none of `but`, once it is seen to have saved so many steps."""
    limit = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < limit:
        run = next((run for run in unfinished(out) if run.name not in but), None)
        if run is not None:
            kills.wait_for_saves(process, run / "last.pt", saves)
            return run
        time.sleep(0.02)
    raise AssertionError("expected a training that is under way, found none")


def gone(everyone: list[int]) -> None:
    """Return when all processes have ended: what a killed plan started stops by itself."""
    limit = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in everyone):
        assert time.monotonic() < limit
        time.sleep(0.05)


def results(out: Path) -> tuple[bytes, dict[str, bytes], dict[str, str | None]]:
    """The table of the report; the weights of each run, and the SHA-256 of each ticket's masks."""
    runs = {path.parent.name: path.read_bytes() for path in out.rglob("final.safetensors")}
    masks = {
        path.parent.relative_to(out).as_posix(): ticket.read(str(path.parent)).masks_sha256
        for path in out.rglob("masks.safetensors")
    }
    return (out / "weights.csv").read_bytes(), runs, masks


def test_a_plan_that_is_killed_inside_its_trainings_ends_in_the_same_table(data, tmp_path):
    """Three of its four trainings are interrupted: all is killed, then the plan alone, then the training alone, after
    which the plan tries again."""
    small, rng, log = tmp_path / "small", random.Random(5), tmp_path / "log"
    write_dataset(small, [60, 36], val=64)
    whole, broken = tmp_path / "whole" / "plan", tmp_path / "broken" / "plan"
    done = subprocess.run(plan_of(small, whole), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    log.touch()
    where: dict[str, str] = {}
    for number in range(3):
        process = kills.start(plan_of(small, broken), log)
        run = wait_for_a_step(process, broken, rng.randint(1, 9), set(where))
        everyone, training = kills.tree(process.pid), kills.children(process.pid)
        assert training, "it ended before it was killed"
        for pid in (everyone, [process.pid], training)[number]:
            os.kill(pid, signal.SIGKILL)
        if number < 2:
            assert process.wait(timeout=60) == -signal.SIGKILL
            gone(everyone)
        where[run.name] = kills.where(run)
        assert not (run / "final.safetensors").exists(), where
    assert process.wait(timeout=900) == 0, log.read_text()[-3000:]
    assert len(where) == 3
    assert sum(not at.endswith(":0") for at in where.values()) >= 2, where
    assert results(broken) == results(whole)
