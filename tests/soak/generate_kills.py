"""`generate` killed with SIGKILL again and again, by both engines, against a manifest that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers import contents, write_selector
from tests.soak import kills
from tests.soak.data import write_dataset

SHARDS, IMAGES = 40, 12
KILLS = {"local": 20, "ray": 40}
QUICK_SHARDS, QUICK_KILLS = 8, {"local": 1, "ray": 2}
LIMIT_S = 120


@dataclass
class Outcome:
    """fell: how many files were finished at each kill; those of one worker alone end with "w"."""

    fell: list[str] = field(default_factory=list)
    manifests: int = 0
    wrong: list[str] = field(default_factory=list)


def start(root: Path, engine: str, out: Path) -> subprocess.Popen:
    options = ["--selector", root / "selector", "--sparsity", "0.5", "--view", "crops:12", "--batch-size", 8]
    options += ["--engine", engine, *(["--workers", 2] if engine == "ray" else []), "--out", out]
    command = [sys.executable, "-m", "vit_tickets.pipeline.cli", "generate", root / "data", *options]
    return kills.start(list(map(str, command)), out.with_suffix(".log"))


def files_in(out: Path) -> int:
    return len(list(out.rglob("*.parquet")))


def is_at_work(process: subprocess.Popen, out: Path) -> bool:
    """Return when there is one more finished file: True; or when the process has ended: False."""
    before, limit = files_in(out), time.monotonic() + LIMIT_S
    while process.poll() is None and files_in(out) == before:
        assert time.monotonic() < limit, out.with_suffix(".log").read_text()[-2000:]
        time.sleep(0.02)
    return process.poll() is None


def workers_of(process: subprocess.Popen) -> list[int]:
    """Processes of Ray's actors, whether at work or not."""
    named = [(pid, Path(f"/proc/{pid}/cmdline")) for pid in kills.tree(process.pid)]
    return [pid for pid, name in named if name.exists() and name.read_bytes().startswith(b"ray::Worker")]


def trial(root: Path, engine: str, count: int, expected: dict[str, str], seed: int) -> Outcome:
    """`count` kills: of all processes, after which the same command is started again, and by Ray every other time of a
    single worker. One kill in four falls while it starts, the others while it works. Whatever is finished is compared;
    then the next manifest is begun."""
    rng, outcome = random.Random(seed), Outcome()
    while len(outcome.fell) < count or not outcome.manifests:
        out = root / f"{engine}-{outcome.manifests}"
        process = start(root, engine, out)
        while len(outcome.fell) < count:
            if rng.random() < 0.25:
                time.sleep(rng.uniform(0, 8))
            elif is_at_work(process, out):
                time.sleep(rng.uniform(0, 1))
            if process.poll() is not None:
                break
            alone = engine == "ray" and len(outcome.fell) % 2 and workers_of(process)
            outcome.fell.append(f"{files_in(out)}{'w' if alone else ''}")
            if alone:
                os.kill(rng.choice(alone), signal.SIGKILL)
            else:
                kills.kill(process, kills.tree(process.pid))
                process = start(root, engine, out)
        if process.wait(timeout=600):
            raise AssertionError(out.with_suffix(".log").read_text()[-2000:])
        made = contents(out)
        outcome.wrong += [f"{out.name}: {name}" for name, _ in sorted(made.items() ^ expected.items())]
        outcome.manifests += 1
    return outcome


def run(quick: bool = False) -> bool:
    """quick: one kill of each sort, over fewer shards."""
    good = True
    shards, counts = (QUICK_SHARDS, QUICK_KILLS) if quick else (SHARDS, KILLS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root / "data", [IMAGES] * shards)
        write_selector(root / "selector")
        if start(root, "local", root / "undisturbed").wait():
            raise AssertionError((root / "undisturbed.log").read_text()[-2000:])
        expected = contents(root / "undisturbed")
        for engine, count in counts.items():
            outcome = trial(root, engine, count, expected, seed=len(engine))
            alone = sum(kill.endswith("w") for kill in outcome.fell)
            print(f"generate-kills: {engine}, {count - alone} SIGKILLs of all processes, {alone} of a single worker")
            print(f"  of {len(expected)} files there were then " + " ".join(outcome.fell))
            wrong = ", ".join(outcome.wrong) or "nothing"
            print(f"  {outcome.manifests} manifests finished; differs from the undisturbed one: {wrong}", flush=True)
            good &= not outcome.wrong
    return good
