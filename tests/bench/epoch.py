"""A whole epoch of the trainer against its two halves, each alone in the same rounds: what the loop itself costs.

command       OMP_WAIT_POLICY=PASSIVE python -m tests.bench epoch (`train` sets that by itself)
what          `lt` training by DeiT's recipe, sparsity 0.488, as many loader workers as `train` starts: `Trainer.fit`
              for an epoch, validation, checkpoints and final weights left out; the loader alone, the same stream
              exhausted by the same workers; the bare steps alone, forward, loss, backward and AdamW as often as the
              epoch has steps, on one prepared batch that stays in memory. deit_small and batches of 16 on a CPU; 256
              and bf16 on a GPU. --quick: deit_micro. The clock starts after the epoch's first step, which costs a run
              once: loaders fork then, and on a CPU every page that they share with the trainer is copied when it is
              next written to (0.5 s for a new deit_small, 1.5 s where moments and old activations are there too).
pictures      photographs at 224 pixels, on a GPU again and again; made ones where there are none
limits        Apart: where loader and steps share nothing, as with the arithmetic on a GPU, an epoch takes as long as
              the slower of them: min(loader, steps) in images/s. Sharing: on a CPU both live off the same cores, and
              their CPU seconds add up; where both use all cores an epoch has 1 / (1 / loader + 1 / steps) images/s. So
              the limit is their CPU seconds by the number of cores, or the slower of them where that takes longer:
              what is alone on fewer cores than there are leaves the others room.
target        0.97 of the limit that holds on the device: apart on a GPU, sharing on a CPU. On a busy CPU look at the
              ratio by CPU time: a limit from CPU seconds knows nothing of other programs.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import torch

from tests.helpers import write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.train.commands.options import default_workers
from vit_tickets.train.data.plan import Position
from vit_tickets.train.data.stream import train_batches
from vit_tickets.train.loop import options as running
from vit_tickets.train.loop import trainer as loop
from vit_tickets.train.loop.learner import loss_of
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.recipes.presets import DEIT
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.runtime.distributed import World

from . import pictures
from .harness import Finding, Options, Timing, cores, median_wall_s, now, take_turns
from .loader import exhaust
from .step import step_of

SIDE, PATCH, SPARSITY = 224, 16, 0.488
TARGET = 0.97
COPIES_ON_GPU = 16


def run(options: Options) -> list[Finding]:
    on_gpu = torch.cuda.is_available()
    count, batch = (1000, 256) if on_gpu else (64 if options.quick else 256, 16)
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder:
        kind, dataset, manifest = packed(folder, count)
        if on_gpu and not options.quick:
            dataset = replace(dataset, splits={"train": dataset.shards("train") * COPIES_ON_GPU})
        model = "deit_micro" if options.quick else "deit_small"
        trainer = trainer_of(dataset, manifest, folder, model, batch)
        contestants = {
            "epoch": lambda: epoch(trainer),
            "loader": lambda: exhaust(batches(trainer)),
            "steps": bare_steps(trainer),
        }
        turns = take_turns(contestants, options.runs, options.warmup)
    return findings(trainer, kind, turns, on_gpu)


def findings(trainer: Trainer, kind: str, turns: dict[str, list[Timing]], on_gpu: bool) -> list[Finding]:
    steps, model = trainer.steps - 1, trainer.run.config.model
    views = steps * trainer.run.recipe.batch_size
    turns = turns | {"loader": [turn.times(steps / trainer.steps) for turn in turns["loader"]]}
    rates = {name: views / median_wall_s(of) for name, of in turns.items()}
    what = f"epoch, {model}, {steps} steps, {views} views of {kind}, {rates['epoch']:.1f}/s"
    halves = f"loader {rates['loader']:.1f}/s, steps {rates['steps']:.1f}/s"
    pairs = list(zip(turns["loader"], turns["steps"], strict=True))
    limits = {"apart": [limit(a, b) for a, b in pairs], "sharing": [limit(a, b, cores()) for a, b in pairs]}
    holds = "apart" if on_gpu else "sharing"
    return [
        Finding(what, "epoch", f"{halves}, {name}", turns["epoch"], of, None, TARGET if name == holds else None)
        for name, of in limits.items()
    ]


def limit(loader: Timing, steps: Timing, shared_cores: int | None = None) -> Timing:
    """The least time of both side by side, where they share nothing, or on `shared_cores` that do all of it."""
    cpu_s, slower_s = loader.cpu_s + steps.cpu_s, max(loader.wall_s, steps.wall_s)
    return Timing(slower_s if shared_cores is None else max(slower_s, cpu_s / shared_cores), cpu_s)


def packed(folder: str, count: int) -> tuple[str, Dataset, str]:
    """What the pictures are, `count` of them as shards, and a manifest for them."""
    source = os.path.join(folder, "source")
    kind = pictures.write(source, count)
    dataset = pack(
        source, os.path.join(folder, "dataset"), split="train", shard_size=count // 4, progress=False
    ).dataset
    tickets = os.path.join(folder, "tickets")
    return kind, dataset, write_manifest(dataset, tickets, SIDE // PATCH, SPARSITY, image_size=SIDE)


def trainer_of(dataset: Dataset, manifest: str, folder: str, model: str, batch: int) -> Trainer:
    """One epoch of `lt` by DeiT's recipe, on a GPU where there is one."""
    device, precision = ("cuda", "bf16") if torch.cuda.is_available() else ("cpu", "fp32")
    recipe = DEIT.override(epochs=1, batch_size=batch, image_size=SIDE, patch_size=PATCH)
    out = os.path.join(folder, "run")
    run = resolve(dataset, recipe, Request(model=model, path="lt", tickets=manifest, out=out, precision=precision))
    return Trainer(run, World(0, 1, device), running.Options(default_workers(1), progress=False))


def batches(trainer: Trainer):
    return train_batches(trainer.stream, trainer.options.workers, trainer.world.device.startswith("cuda"))


def epoch(trainer: Trainer) -> Timing:
    """The epoch after its first step, with the weights as they are; nothing is kept."""
    trainer.position, steps = Position(), []

    def after_step(*_, **__) -> None:
        steps.append(now())

    with (
        mock.patch.object(trainer, "save"),
        mock.patch.object(loop, "save_weights"),
        mock.patch.object(loop.RunLog, "after_step", after_step),
    ):
        trainer.fit()
    return now().since(steps[0])


def bare_steps(trainer: Trainer) -> Callable[[], None]:
    inputs = trainer.prepare(next(batches(trainer)), 0, 0, trainer.run.kept)
    model = trainer.learner.model.train()
    one = step_of(
        model,
        lambda: model(inputs.images, inputs.kept_BK),
        lambda output: loss_of(output, inputs, trainer.run.recipe),
        inputs.images.device,
    )

    def steps() -> None:
        for _ in range(trainer.steps - 1):
            one()

    return steps
