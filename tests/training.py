"""Small runs in this process, and what they leave in their folders."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.soak.kills import CLOCKS
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.train.loop.options import Options
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.runtime.distributed import World

#: 6 x 6 patches of 24-pixel images; the same weights on any number of ranks and parts.
SMALL = Recipe(
    epochs=3,
    batch_size=8,
    lr=1e-3,
    lr_batch=8,
    warmup_epochs=0.5,
    image_size=24,
    patch_size=4,
    drop_path=0.0,
    crop_scale=0.5,
)


def trainer(data, out, path="dense", tickets=None, *, recipe=SMALL, model="deit_micro", passed=None, **settings):
    """One rank on the CPU. passed: how the run is carried out (`Options`); settings: what it is (`resolve`)."""
    run = resolve(Dataset.open(data), model, path, recipe, tickets=tickets, out=str(out), **settings)
    return trainer_of(run, **(passed or {}))


def trainer_of(run, workers=0, **options) -> Trainer:
    return Trainer(run, World(0, 1, "cpu"), Options(workers, progress=False, **options))


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "final.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_clocks(out: Path) -> list[dict]:
    """`metrics`, but for what depends on the machine."""
    return [{name: value for name, value in line.items() if name not in CLOCKS} for line in metrics(out)]
