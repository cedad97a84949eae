"""`train` killed with SIGKILL again and again, on one rank and on two, against a run that nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tests.command import words
from tests.soak.data import SIDE, write_dataset

START_LIMIT_S = 120
OPTIONS = words(
    f"--model deit_micro --path dense --image-size {SIDE} --patch-size 4 --batch-size 24 --drop-path 0.2 --ema 0.99 "
    "--clip-grad 1.0 --device cpu --checkpoint-minutes 0.002"
)
CLOCKS = ("seconds", "images_per_s", "step_ms", "data_wait", "peak_memory_mib")


@dataclass
class Outcome:
    """kills: where each kill fell, as `last.pt` had it then. unequal: what differs from the undisturbed run's files."""

    ranks: int
    kills: list[str] = field(default_factory=list)
    torn: int = 0
    unequal: list[str] = field(default_factory=list)


def command(data: Path, out: Path, ranks: int, *options) -> list[str]:
    launcher = [sys.executable, "-m"]
    if ranks > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    return [*launcher, "vit_tickets.train", *arguments(data, out, *options)]


def arguments(data: Path, out: Path, *options) -> list[str]:
    """Those of `train`, without `train`."""
    return [str(word) for word in (data, *OPTIONS, *options, "--workers", 1, "--out", out, "--resume")]


def start(words: list[str], log: Path, **options) -> subprocess.Popen:
    """Start `train` in a process group of its own, its output appended to `log`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as stream:
        return subprocess.Popen(words, stdout=stream, stderr=stream, env=environment, start_new_session=True, **options)


def start_until(text: str, words: list[str], log: Path) -> subprocess.Popen:
    """`start`, and return when `text` is in the log."""
    process, limit = start(words, log), time.monotonic() + 600
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < limit
        time.sleep(0.05)
    return process


def wait_for_training(process: subprocess.Popen, log: Path, starts: int) -> None:
    """Return when the `starts`th start of the run has begun to train; raise where it ends or takes too long."""
    limit = time.monotonic() + START_LIMIT_S
    while log.read_text(errors="replace").count(" epochs of ") < starts:
        if process.poll() is not None or time.monotonic() > limit:
            raise AssertionError(f"no training: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def wait_for_saves(process: subprocess.Popen, path: Path, count: int) -> None:
    """Return when the file at `path` was replaced `count` times; raise where the process ends before."""
    written, limit = modified(path), time.monotonic() + START_LIMIT_S
    while count:
        if process.poll() is not None or time.monotonic() > limit:
            raise AssertionError(f"expected {count} more of {path}, found the process at its end")
        if (now := modified(path)) != written:
            written, count = now, count - 1
        time.sleep(0.005)


def modified(path: Path) -> int:
    """When the file at `path` was written, in ns; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def ranks_of(process: subprocess.Popen) -> list[int]:
    """Process ids of the ranks that torchrun started."""
    return children(process.pid)


def children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []


def tree(pid: int) -> list[int]:
    """`pid` and all processes below it."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def kill(process: subprocess.Popen, victims: list[int]) -> None:
    """SIGKILL to `victims`; return when all that `process` had started has ended, raise where it does not in a minute.

    Only what was killed and who noticed may end it.
    """
    everyone = tree(process.pid)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=60)
    limit = time.monotonic() + 60
    while alive := [pid for pid in everyone if Path(f"/proc/{pid}").exists() and _state(pid) != "Z"]:
        if time.monotonic() > limit:
            raise AssertionError(f"still alive after {victims} of {everyone} were killed: {alive}")
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def where(out: Path) -> str:
    """Epoch and step of `last.pt`, as "3:17"; "start" where there is none."""
    if not (out / "last.pt").exists():
        return "start"
    position = torch.load(out / "last.pt", weights_only=True)["position"]
    return f"{position['epoch']}:{sum(segment['steps'] for segment in position['segments'])}"


def trial(
    data: Path,
    folder: Path,
    ranks: int,
    kills: int,
    epochs: int,
    seed: int,
    spread_s: float,
    options: tuple[str, ...] = (),
    most_saves: int = 0,
) -> Outcome:
    """Train undisturbed, and again with `kills` kills at random moments, each 0 to `spread_s` after training began and
    has written `last.pt` 0 to `most_saves` times.

    In turn all its processes are killed, the first alone (torchrun, with two ranks), and each rank alone.
    """
    rng, outcome = random.Random(seed), Outcome(ranks)
    whole, broken, log = folder / f"whole-{ranks}", folder / f"broken-{ranks}", folder / f"log-{ranks}"
    options = ("--epochs", str(epochs), *options)
    done = subprocess.run(
        command(data, whole, ranks, *options), capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise AssertionError(done.stderr.decode()[-2000:])
    typed = command(data, broken, ranks, *options)
    for number in range(kills):
        log.touch()
        process = start(typed, log)
        wait_for_training(process, log, number + 1)
        wait_for_saves(process, broken / "last.pt", rng.randint(0, most_saves))
        time.sleep(rng.uniform(0, spread_s))
        if process.poll() is not None:
            raise AssertionError(f"finished before kill {number + 1}: {log.read_text()[-1000:]}")
        choices = [tree(process.pid), [process.pid]] + [[rank] for rank in ranks_of(process) if ranks > 1]
        kill(process, choices[number % len(choices)])
        outcome.torn += any(broken.glob(".last.pt.*"))
        outcome.kills.append(where(broken))
    process = start(typed, log)
    if process.wait(timeout=600):
        raise AssertionError(log.read_text()[-2000:])
    outcome.unequal = differences(whole, broken)
    return outcome


def differences(whole: Path, broken: Path) -> list[str]:
    """What the two runs' files do not have in common, clocks aside."""
    unequal = []
    if (whole / "final.safetensors").read_bytes() != (broken / "final.safetensors").read_bytes():
        unequal.append("final.safetensors")
    logs = []
    for run in (whole, broken):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        logs.append([{name: value for name, value in line.items() if name not in CLOCKS} for line in lines])
    if logs[0] != logs[1]:
        unequal.append("metrics.jsonl")
    states = [torch.load(run / "last.pt", weights_only=True) for run in (whole, broken)]
    for part in ("model", "hooks", "optimizer", "scaler", "position", "sums", "val_top1", "best"):
        if not same(states[0][part], states[1][part]):
            unequal.append(f"last.pt: {part}")
    if left := [path.name for path in broken.glob(".*")]:
        unequal.append(f"left behind: {left}")
    return unequal


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def run(quick: bool = False) -> bool:
    """quick: one kill of a run of two ranks, in the first of three epochs."""
    good = True
    trials, epochs, spread_s = (((2, 1),), 3, 0.5) if quick else (((1, 20), (2, 20), (3, 6)), 20, 2.5)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_dataset(data, [500, 300, 407], val=64)
        for ranks, kills in trials:
            outcome = trial(data, Path(folder), ranks, kills, epochs, seed=ranks, spread_s=spread_s)
            inside = sum(not (kill == "start" or kill.endswith(":0")) for kill in outcome.kills)
            print(f"kills: {ranks} rank{'s' * (ranks > 1)}, {kills} SIGKILLs, last.pt then at epoch:step")
            print("  " + " ".join(outcome.kills))
            print(
                f"  {inside} inside an epoch, {outcome.torn} in the middle of a write; "
                f"differs from the undisturbed run: {', '.join(outcome.unequal) or 'nothing'}",
                flush=True,
            )
            good &= not outcome.unequal
    return good
