"""`python -m tests.bench.golden`: SHA-256 of what the commands write, to compare before and after a change of code.

    python -m tests.bench.golden --out before.json --keep before/   # with the old code
    python -m tests.bench.golden --against before.json              # with the new code: the same bytes?
    python -m tests.bench.golden --reopen before/                   # does the new code open the old code's files?

Everything is built by the command line alone, on a CPU, with one thread per process and fixed seeds, from 448 of the
digits. Hashes hold for one machine and one set of library versions.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RECORD = "golden.json"
COMMAND = [sys.executable, "-m", "vit_tickets.pipeline.cli"]
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "120",
    "CUDA_VISIBLE_DEVICES": "",
    "SOURCE_DATE_EPOCH": "1700000000",
}
LIMIT_S = 300
TRAIN_IMAGES, VAL_IMAGES = 384, 64

#: Keys of JSON that differ from run to run, with the reason; they are left out before hashing, at any depth.
VOLATILE = {
    "wall_time_s": "measured time",
    "selector_seconds": "measured time",
    "seconds": "measured time",
    "images_per_s": "measured time",
    "step_ms": "measured time",
    "data_wait": "measured time",
    "peak_memory_mib": "measured memory",
    "root": "absolute path of the dataset",
    "tickets_dir": "absolute path of the manifest",
    "labels_dir": "absolute path of the label maps",
    "device": "the machine",
    "hardware": "the machine",
    "versions": "of libraries",
}
#: What replaces measured values in copies of what is reported and exported, so that both are the same bytes each time.
FROZEN_EPOCH = {"seconds": 2.5, "images_per_s": 100.0, "step_ms": 10.0, "data_wait": 0.1, "peak_memory_mib": 500.0}
FROZEN_TICKETS = {"wall_time_s": 20.0, "selector_seconds": 300.0}

DENSE = "--model deit_micro --path dense --recipe digits --epochs 3 --batch-size 32"
MICRO = "--model deit_micro --recipe digits --epochs 1 --batch-size 32"
RUNS = {
    "dense": f"{DENSE} --workers 1",
    "fold1": f"{MICRO} --path dense --limit 128 --without-fold 1/2",
    "fold2": f"{MICRO} --path dense --limit 128 --without-fold 2/2",
    "lt": f"{MICRO} --path lt --tickets manifests/staged --workers 2",
    "rc": f"{MICRO} --path rc --tickets manifests/staged",
    "small": f"{MICRO} --path small --tickets manifests/staged",
    "crops": f"{MICRO} --path lt --tickets manifests/crops --limit 128",
    "deit": "--model deit_micro --path lt --tickets manifests/staged --epochs 1 --batch-size 32 --ema 0.9",
    "lvvit": "--model lvvit_micro --path lt --tickets manifests/staged --labels manifests/labels --recipe lvvit "
    "--epochs 1 --limit 48 --batch-size 16 --epoch-lag 1 --no-rand-augment-first",
    "resnet20": "--model resnet20 --path lt --tickets manifests/staged --epochs 1 --limit 64 --batch-size 32",
    "swin": "--model swin_t --path lt --tickets manifests/staged --epochs 1 --limit 16 --batch-size 8",
}
MANIFESTS = {
    "staged": "--predictions --sparsity 0.5 --stages 2,4 --selector runs/dense",
    "crops": "--sparsity 0.5 --view crops:2 --crop-ranks --selector runs/dense",
    "full2": "--sparsity 0.5 --view full@2 --selector runs/dense",
    "centre": "--sparsity 0.5 --method centre --selector runs/dense",
    "rollout": "--keep-rate 0.6 --method rollout --selector runs/dense",
    "crossfit": "--sparsity 0.5 --cross-fit 2 --selector runs/fold1,runs/fold2",
}
REPORTED = ("dense", "lt", "rc", "small")
SCORED = {name: "--tickets manifests/staged" if name == "dense" else "" for name in (*REPORTED, "resnet20")}


class Folder:
    """A folder in which the commands run; paths of commands are relative to it."""

    def __init__(self, root: Path):
        self.root = root

    def vt(self, line: str, text: str | None = None) -> None:
        """Run a command; `text` names the file that keeps what it prints. Raises RuntimeError where it fails."""
        done = subprocess.run(
            COMMAND + line.split(), cwd=self.root, env=ENVIRONMENT, capture_output=True, text=True, timeout=LIMIT_S
        )
        if done.returncode:
            raise RuntimeError(f"vit-tickets {line}: exit code {done.returncode}\n{done.stdout}{done.stderr[-3000:]}")
        if text:
            (self.root / "texts").mkdir(exist_ok=True)
            (self.root / "texts" / f"{text}.txt").write_text(done.stdout)

    def pack(self) -> None:
        """Pack the digits of val, and of those an image folder of two splits; a packed dataset stays as it is."""
        if (self.root / "data/digits/dataset.json").exists():
            return
        self.vt("pack digits data/all --split val")
        parts: dict[str, dict[str, bytes]] = {}
        for shard in sorted((self.root / "data/all/val").glob("*.tar")):
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, _, kind = member.name.rpartition(".")
                    parts.setdefault(key, {})[kind] = tar.extractfile(member).read()
        for index, key in enumerate(sorted(parts)[: TRAIN_IMAGES + VAL_IMAGES]):
            split = "train" if index < TRAIN_IMAGES else "val"
            path = self.root / "source" / split / parts[key]["cls"].decode() / f"{key}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(parts[key]["png"])
        self.vt("pack source data/digits --shard-size 128")

    def train(self, run: str) -> None:
        options = RUNS[run] if "--workers" in RUNS[run] else f"{RUNS[run]} --workers 0"
        self.vt(f"train data/digits {options} --device cpu --out runs/{run} --resume")

    def interrupt_and_resume(self) -> None:
        """Stop the dense run by SIGTERM after its first checkpoint, and resume a copy of it as runs/resumed."""
        stopped = self.root / "runs/interrupted"
        if not (stopped / "last.pt").exists():
            options = f"{DENSE} --workers 1 --checkpoint-minutes 0 --device cpu --out runs/interrupted"
            command, quiet = [*COMMAND, "train", "data/digits", *options.split()], subprocess.DEVNULL
            process = subprocess.Popen(command, cwd=self.root, env=ENVIRONMENT, stdout=quiet, stderr=quiet)
            try:
                limit = time.monotonic() + LIMIT_S
                while not (stopped / "last.pt").exists() and process.poll() is None and time.monotonic() < limit:
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=60)
            finally:
                process.kill()
            if process.returncode != 1 or (stopped / "final.safetensors").exists():
                raise RuntimeError(f"runs/interrupted: expected exit code 1 on SIGTERM, found {process.returncode}")
        shutil.copytree(stopped, self.root / "runs/resumed")
        self.vt(f"train data/digits {DENSE} --workers 1 --device cpu --out runs/resumed --resume")

    def generate(self, name: str) -> None:
        options = f"{MANIFESTS[name]} --engine local --workers 1 --device cpu"
        self.vt(f"generate data/digits {options} --out manifests/{name}")

    def labels(self) -> None:
        options = "--annotator runs/dense --engine local --workers 1 --device cpu"
        self.vt(f"labels data/digits {options} --out manifests/labels")

    def archive(self) -> None:
        """Export the staged tickets, and make a manifest of the archive; an archive that is there stays as it is."""
        if not (self.root / "archive.parquet").exists():
            copy = self.root / "frozen/staged"
            shutil.copytree(self.root / "manifests/staged", copy)
            index = json.loads((copy / "ticket.json").read_text()) | FROZEN_TICKETS
            (copy / "ticket.json").write_text(json.dumps(index, indent=1))
            self.vt("export frozen/staged archive.parquet")
        self.vt("join archive.parquet data/digits --out manifests/joined")

    def evaluate(self, run: str) -> None:
        self.vt(f"evaluate runs/{run} {SCORED[run]} --workers 0 --device cpu")

    def report(self) -> None:
        """Report copies of the scored runs in which all measured values are fixed."""
        for run in REPORTED:
            copy = self.root / "frozen" / run
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.root / "runs" / run, copy, ignore=shutil.ignore_patterns("last.pt", "events*"))
            config = json.loads((copy / "config.json").read_text()) | {"hardware": "a CPU", "versions": {}}
            config["tickets"] = config["tickets"] and config["tickets"] | FROZEN_TICKETS
            (copy / "config.json").write_text(json.dumps(config, indent=1))
            epochs = [json.loads(line) | FROZEN_EPOCH for line in (copy / "metrics.jsonl").read_text().splitlines()]
            (copy / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
        folders = " ".join(f"frozen/{run}" for run in REPORTED)
        self.vt(f"report {folders} --out report --html --gallery 4", text="report")

    def build(self) -> None:
        """Make all that is not there yet, two commands at a time."""
        self.pack()
        self.together([(self.train, "dense"), (self.train, "fold1"), (self.train, "fold2")])
        self.together([(self.interrupt_and_resume,), (self.labels,), *((self.generate, name) for name in MANIFESTS)])
        others = [run for run in reversed(RUNS) if run not in ("dense", "fold1", "fold2")]
        self.together([*((self.train, run) for run in others), (self.archive,)])
        self.together(
            [
                *((self.evaluate, run) for run in SCORED),
                (self.vt, "compare manifests/staged manifests/centre", "compare"),
                (self.vt, "inspect manifests/staged --dataset data/digits", "inspect"),
                *(
                    (self.vt, f"verify manifests/{name} --dataset data/digits")
                    for name in (*MANIFESTS, "labels", "joined")
                ),
            ]
        )
        self.report()

    def together(self, steps: list[tuple[Callable[..., None], Any]]) -> None:
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(*step) for step in steps]:
                future.result()

    def make_incomplete(self) -> None:
        """Remove a part of everything, so that `build` has to go on from files that are there."""
        for name in (*MANIFESTS, "labels"):
            (self.root / "manifests" / name / "train/000001.parquet").unlink()
        for path in ("runs/resumed", "runs/lt", "runs/lvvit", "manifests/joined", "frozen", "report", "texts"):
            shutil.rmtree(self.root / path)
        for path in (self.root / "runs").glob("*/predictions-*.parquet"):
            path.unlink()

    def record(self) -> dict[str, dict[str, Any]]:
        """items: SHA-256 by path, for what must stay the same; configs: the config.json of runs, which may change."""
        items, configs = {}, {}
        patterns = ("data/**/*.*", "manifests/**/*.*", "runs/*/*", "report/*", "texts/*", "archive.parquet")
        for path in sorted({path for pattern in patterns for path in self.root.glob(pattern)}):
            name = str(path.relative_to(self.root))
            if name.startswith("runs/interrupted/") or not path.is_file():
                continue
            if path.name == "config.json":
                configs[name] = stable(json.loads(path.read_text()))
            elif path.suffix == ".json":
                items[name] = sha(canonical(json.loads(path.read_text())))
            elif path.suffix == ".jsonl":
                items[name] = sha(canonical([json.loads(line) for line in path.read_text().splitlines()]))
            elif path.suffix in (".parquet", ".safetensors", ".tar", ".txt", ".md", ".html", ".png"):
                items[name] = sha(path.read_bytes())
        if items["runs/resumed/final.safetensors"] != items["runs/dense/final.safetensors"]:
            raise RuntimeError("runs/resumed: the final weights are not those of the run that nobody stopped")
        return {"items": items, "configs": configs}


def stable(value: Any) -> Any:
    """`value` without the VOLATILE keys of its objects."""
    if isinstance(value, dict):
        return {key: stable(below) for key, below in value.items() if key not in VOLATILE}
    return [stable(below) for below in value] if isinstance(value, list) else value


def canonical(value: Any) -> bytes:
    return json.dumps(stable(value), sort_keys=True).encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """Print a table of all items; return the names of those that differ, config.json not among them."""
    names = sorted(before["items"] | after["items"])
    width = max(map(len, names))
    print(f"{'item':{width}}  before        after         equal")
    for name in names:
        old, new = (record["items"].get(name, "absent")[:12] for record in (before, after))
        print(f"{name:{width}}  {old:12}  {new:12}  {'yes' if old == new else 'NO'}")
    for name in sorted(before["configs"] | after["configs"]):
        old, new = (record["configs"].get(name, {}) for record in (before, after))
        keys = [key for key in old | new if old.get(key) != new.get(key)]
        print(f"{name}: " + ("equal" if not keys else f"may change; differs in {', '.join(keys)}"))
    return [name for name in names if before["items"].get(name) != after["items"].get(name)]


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.golden", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the hashes to this file")
    parser.add_argument("--against", type=Path, metavar="FILE.json", help="compare with these; exit 1 on a difference")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="build in this new folder, and leave it behind")
    parser.add_argument("--reopen", type=Path, metavar="DIR", help="go on in a copy of a kept folder, and compare")
    chosen = parser.parse_args(args)
    if chosen.keep and chosen.keep.exists():
        parser.error(f"--keep: expected a new folder, found {chosen.keep}")
    if chosen.reopen and not (chosen.reopen / RECORD).exists():
        parser.error(f"--reopen: expected a folder that --keep left, found {chosen.reopen}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Folder((chosen.keep or Path(temporary) / "golden").absolute())
        if chosen.reopen:
            shutil.copytree(chosen.reopen, folder.root)
            folder.make_incomplete()
        else:
            folder.root.mkdir(parents=True)
        folder.build()
        record = folder.record()
    for path in (chosen.out, chosen.keep and chosen.keep / RECORD):
        if path:
            path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{len(record['items'])} items in {time.monotonic() - began:.0f} s")
    against = chosen.against or (chosen.reopen and chosen.reopen / RECORD)
    if not against:
        print("\n".join(f"{digest}  {name}" for name, digest in record["items"].items()))
        return 0
    differing = differences(json.loads(against.read_text()), record)
    print(f"{len(differing)} items differ" + (f": {', '.join(differing)}" if differing else ""))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
