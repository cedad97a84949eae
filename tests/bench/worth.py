"""What it is worth that tickets follow the pixels: accuracy of `lt` training under each way to make and carry them.

command       python -m tests.bench.worth DATASET --selector RUN [--sparsity 0.75] [--seeds 3] [--out DIR] [--train ...]
what          the same model, recipe, seeds and crops' distribution; tickets made and carried in each of the ways below,
              every run scored on val with tickets (view center, the same ones for all) and with all patches
naive         the stored mask applied to whatever the crop shows (--no-align)
full, full@2  ranks of the whole image, resampled through the crop; from a grid twice as fine
crops:8       crops drawn from 8 stored ones, each with its own exact ticket; crops:E from as many as there are epochs
online        the selector runs on every crop: what the authors do

The figures of docs/results.md on CIFAR-10 are from a dataset packed of the first 10,000 images of train and 5,000 of
test, a selector trained for 8 epochs on all 50,000, and
    --epochs 24 --crop-scale 0.08 --crop-flip 0.5 --train --image-size 32 --patch-size 4 --recipe cifar-deit
    --batch-size 128 --lr 4e-3 --schedule step --rand-augment none --erasing 0 --mixup 0 --cutmix 0 --repeats 1
    --drop-path 0
The selector's options were these, but for --crop-scale 0.25 and the recipe's schedule.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd

WAYS = ("naive", "full", "full@2", "crops:8", "crops:E", "online")


def command(*arguments) -> None:
    """Run vit-tickets, its bars hidden; raise where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "vit_tickets.pipeline.cli", *map(str, arguments)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"vit-tickets {' '.join(map(str, arguments))}: {done.stderr.strip().splitlines()[-1]}")


def manifest(way: str, chosen: argparse.Namespace) -> Path:
    """The manifest that a way trains on, made where it is missing."""
    view = {"naive": "full", "online": "full", "crops:E": f"crops:{chosen.epochs}"}.get(way, way)
    place = Path(chosen.out) / f"tickets-{view.replace(':', '')}"
    if not (place / "ticket.json").exists():
        crops = ("--crop-scale", chosen.crop_scale, "--crop-flip", chosen.crop_flip) if ":" in view else ()
        for split, of_split in (("train", view), ("val", "center")):
            options = crops if of_split == view else ()
            selected = ("--selector", chosen.selector, "--sparsity", chosen.sparsity)
            seen = ("--split", split, "--view", of_split, *options)
            command("generate", chosen.dataset, *selected, *seen, "--engine", "local", "--out", place)
    return place


def accuracy(way: str, seed: int, chosen: argparse.Namespace) -> dict[str, float]:
    """Top-1 in percent of one run, on tickets and on whole images."""
    tickets = manifest(way, chosen)
    run = Path(chosen.out) / f"{way.replace(':', '')}-seed{seed}"
    source = ("--tickets", "online", "--selector", chosen.selector, "--sparsity", chosen.sparsity)
    if way != "online":
        source = ("--tickets", tickets, *(("--no-align",) if way == "naive" else ()))
    defined = ("--model", chosen.model, "--path", "lt", *source, "--seed", seed, "--epochs", chosen.epochs)
    command("train", chosen.dataset, *defined, "--out", run, "--resume", *chosen.train)
    command("evaluate", run, "--tickets", manifest("full", chosen), "--on", "lt,dense")
    found = {}
    for on in ("lt", "dense"):
        frame = pd.read_parquet(run / f"predictions-{on}.parquet")
        found[on] = 100 * float((frame["label"] == frame["prediction"]).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.worth", description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--selector", required=True, help="a finished dense run")
    parser.add_argument("--model", default="deit_micro")
    parser.add_argument("--sparsity", type=float, default=0.75)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--crop-scale", type=float, default=0.6)
    parser.add_argument("--crop-flip", type=float, default=0.0)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--out", default="runs/worth")
    parser.add_argument("--train", nargs=argparse.REMAINDER, default=[], help="further options of `train`")
    chosen = parser.parse_args()
    os.makedirs(chosen.out, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {way: [] for way in chosen.ways}
    for seed in range(chosen.seeds):
        for way in chosen.ways:
            found[way].append(accuracy(way, seed, chosen))
            print(f"seed {seed} {way:8} " + " ".join(f"{on} {v:.2f}" for on, v in found[way][-1].items()), flush=True)
    print(f"\n{'way':10}{'on tickets':>22}{'on whole images':>22}   {chosen.seeds} seeds, mean ± standard deviation")
    for way, runs in found.items():
        cells = [spread([run[on] for run in runs]) for on in ("lt", "dense")]
        print(f"{way:10}{cells[0]:>22}{cells[1]:>22}")
    Path(chosen.out, "worth.json").write_text(json.dumps(found, indent=1))


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
