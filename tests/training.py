"""Small runs in this process, and what they leave in their folders."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.soak.kills import CLOCKS
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.runs.config import LAST
from vit_tickets.train.loop.options import Options
from vit_tickets.train.loop.run_hooks import hooks_of
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.runs.run import Run
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


def run_of(data, out, path="dense", tickets=None, *, recipe=SMALL, model="deit_micro", **settings) -> Run:
    return resolve(
        Dataset.open(data), recipe, Request(model=model, path=path, tickets=tickets, out=str(out), **settings)
    )


def trainer(*args, passed=None, hooks=(), **settings):
    """One rank on the CPU, of `run_of(*args, **settings)`.

    passed: how the run is carried out (`Options`). hooks: besides those of the recipe.
    """
    return trainer_of(run_of(*args, **settings), hooks=hooks, **(passed or {}))


def trainer_of(run, workers=0, hooks=(), **options) -> Trainer:
    return Trainer(run, World(0, 1, "cpu"), Options(workers, progress=False, **options), [*hooks_of(run), *hooks])


class Unplugged(Exception):
    """Stands for a sudden end."""


def unplug_after(trainer: Trainer, saves: int) -> None:
    """Let the trainer end without a word after it has saved so many times."""
    save, left = trainer.save, [saves]

    def save_and_count():
        save()
        left[0] -= 1
        if not left[0]:
            raise Unplugged

    trainer.save = save_and_count


def in_pieces(make: Callable[[int], Trainer], saves: int = 1) -> int:
    """Run to the end, unplugged after every `saves` checkpoints; returns how often it was started."""
    starts = 0
    while True:
        starts += 1
        piece = make(starts)
        piece.world.wait()
        if Path(piece.run.place(LAST)).exists():
            piece.restore()
        piece.world.wait()
        unplug_after(piece, saves)
        try:
            piece.fit()
        except Unplugged:
            continue
        return starts


def weights(out: Path, name: str = "final") -> dict[str, torch.Tensor]:
    return load_file(out / f"{name}.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two states hold the same tensors, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def without_clocks(out: Path) -> list[dict]:
    """`metrics`, but for what depends on the machine."""
    return [{name: value for name, value in line.items() if name not in CLOCKS} for line in metrics(out)]
