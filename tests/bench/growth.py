"""Cost per image and memory as the data grow: what holds for 2,000 images must hold for millions.

command       python -m tests.bench.growth [--sizes 2000,20000,200000] [--loop generate] [--json FILE]
what          24-pixel PNGs in shards of 1,000, so that all that is not arithmetic weighs as much as it can; each
              measurement is a process of its own, which does the smallest size once before the clock starts, and small
              sizes again and again until 20,000 images are done:
  generate    the whole job with the local engine, index included, by a small selector (9 patches)
  loader      an `lt` epoch on those tickets, in this process, from the construction of the stream to its end
rate          images per second, the median of the rounds; in each round every size has its turn. On a busy machine look
              at the images per second of CPU time: all threads, the waiting left out
memory        the process's resident maximum, libraries included
targets       rates within 5% of that of the smallest size, or above; memory within 10%
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.helpers import augmenting
from tests.soak.data import SIDE, write_dataset
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.engines.local import local_engine
from vit_tickets.ticketgen.engines.work import Settings
from vit_tickets.ticketgen.jobs import tickets as job
from vit_tickets.ticketgen.selection.selector import open_selector
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches

SIZES = (2_000, 20_000, 200_000)
SHARD = 1_000
PATCH = 8
SLOWER, LARGER = 0.05, 0.10
LEAST = 20_000


def write_selector(root: Path) -> None:
    """A run's folder with random weights."""
    torch.manual_seed(0)
    root.mkdir()
    network = registry.create_model("deit_micro", img_size=SIDE, patch_size=PATCH, num_classes=2)
    save_file(network.state_dict(), root / "final.safetensors")
    seen = {"view": "center", "preprocessing": View("center", SIDE).preprocessing()}
    config = {"model": "deit_micro", "image_size": SIDE, "patch_size": PATCH, "num_classes": 2, "eval_view": seen}
    (root / "config.json").write_text(json.dumps(config))


def generate(folder: Path, size: int) -> None:
    selector, settings = open_selector(str(folder / "selector")), Settings(batch_size=64)
    out = folder / f"tickets-{size}"
    shutil.rmtree(out, ignore_errors=True)
    dataset = Dataset.open(str(folder / f"data-{size}"))
    request = job.Request(dataset, selector, [Budget(0.5)], [str(out)], ["train"], "auto")
    job.run(request, lambda: local_engine(selector, settings, "cpu", "fp32", None), progress=False)


def loader(folder: Path, size: int) -> None:
    dataset = Dataset.open(str(folder / f"data-{size}"))
    data = SplitData(dataset, "train", Manifest.open(str(folder / f"tickets-{size}")))
    config = TrainStreamConfig(
        data=data,
        path="lt",
        augment=augmenting(SIDE, 0.3),
        batch_size=100,
        epochs=1,
        seed=0,
        grid=SIDE // PATCH,
        mask_seed=0,
    )
    seen = sum(len(batch.label) for batch in train_batches(config, workers=0))
    if seen != size:
        raise RuntimeError(f"expected {size} images, found {seen}")


LOOPS = {"generate": generate, "loader": loader}


def measure(loop: str, folder: Path, smallest: int, size: int, least: int) -> dict[str, float]:
    """One turn of `least` images or more in a process of its own: images per second and MiB."""
    command = [sys.executable, "-m", "tests.bench.growth", "--turn", loop, *map(str, (folder, smallest, size, least))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def turn(loop: str, folder: str, smallest: str, size: str, least: str) -> None:
    torch.set_num_threads(1)
    LOOPS[loop](Path(folder), int(smallest))
    again = max(1, int(least) // int(size))
    started, cpu_started = time.perf_counter(), time.process_time()
    for _ in range(again):
        LOOPS[loop](Path(folder), int(size))
    images, seconds, cpu_s = again * int(size), time.perf_counter() - started, time.process_time() - cpu_started
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"images_per_s": images / seconds, "images_per_cpu_s": images / cpu_s, "mib": mib}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="images, multiples of 1,000")
    parser.add_argument("--runs", type=int, default=3, help="rounds")
    parser.add_argument("--least", type=int, default=LEAST, metavar="N", help="images per turn, or more")
    parser.add_argument("--loop", choices=LOOPS, help="only this one")
    parser.add_argument("--json", metavar="FILE", help="write every turn to FILE")
    parser.add_argument("--turn", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.turn:
        turn(*chosen.turn)
        return
    sizes = [int(size) for size in chosen.sizes.split(",")]
    turns = {loop: {size: [] for size in sizes} for loop in LOOPS if loop == chosen.loop or not chosen.loop}
    needed = dict.fromkeys(["generate", *turns])  # the loader reads tickets
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as name:
        folder = Path(name)
        write_selector(folder / "selector")
        for size in sizes:
            write_dataset(folder / f"data-{size}", [SHARD] * (size // SHARD))
        for _ in range(chosen.runs):
            for size in sizes:
                for loop in needed:
                    found = measure(loop, folder, min(sizes), size, chosen.least)
                    turns.get(loop, {}).get(size, []).append(found)
    for loop, by_size in turns.items():
        report(loop, by_size)
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(turns, indent=2) + "\n")


def report(loop: str, by_size: dict[int, list[dict[str, float]]]) -> None:
    first = None
    for size, found in by_size.items():
        names = ("images_per_s", "mib", "images_per_cpu_s")
        rate, mib, by_cpu = (statistics.median(one[name] for one in found) for name in names)
        first = first or (rate, mib, by_cpu)
        faster, larger, by_cpu_faster = rate / first[0] - 1, mib / first[1] - 1, by_cpu / first[2] - 1
        reached = "reached" if faster >= -SLOWER and larger <= LARGER else "MISSED"
        print(
            f"{loop:9} {size:8,} images: {rate:8,.0f} img/s ({faster:+.1%}; by CPU time {by_cpu_faster:+.1%}), "
            f"{mib:6,.0f} MiB ({larger:+.1%})  {reached}"
        )


if __name__ == "__main__":
    main()
