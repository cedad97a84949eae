"""A program that trains with growing masks on ranks."""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.train.sparsity.stepping import Model
from tests.training import SMALL, in_pieces, run_of
from vit_tickets.train.loop.options import Options
from vit_tickets.train.loop.run_hooks import hooks_of
from vit_tickets.train.loop.trainer import Trainer
from vit_tickets.train.runtime.distributed import World, world
from vit_tickets.train.runtime.hooks import StepState
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.methods.grow import Grow
from vit_tickets.train.sparsity.methods.units import Units
from vit_tickets.train.sparsity.schedule import Growth
from vit_tickets.train.sparsity.units.alive import RandomUnits

RECIPE = SMALL.override(epochs=2, patch_size=8, clip_grad=1.0, ema=0.9)  # of 7 steps each
STEPS = 14


class Noted(Grow):
    """Notes a hash of its masks after every step."""

    def __init__(self, *args):
        super().__init__(*args)
        self.digests: list[int] = []

    def after_step(self, step: StepState) -> None:
        self.digests.append(self.masks.digest())


class NotedUnits(Noted, Units):
    """The same of whole units."""


def growing(kind: str = "weights") -> Noted:
    if kind == "weights":
        return Noted(RandomMasks("blocks", 0.5, 1), Growth(2, every=1))
    return NotedUnits(RandomUnits(0.3, 0.6, 1), Growth(2, every=1))


def trainer(
    data: str, out: str, here: World, hook: Grow, workers: int, minutes: float = 9, kind: str = "weights"
) -> Trainer:
    chosen = {"path": "learned", "sparsity": 0.5} if kind == "learned" else {}
    run = run_of(data, out, recipe=RECIPE, **chosen)
    passed = Options(workers, checkpoint_minutes=minutes, progress=False, grad_accum=2)
    return Trainer(run, here, passed, [hook, *hooks_of(run)])


def whole_numbers(here: World) -> list[int]:
    """Hashes of the masks of a layer after each step, its gradients multiples of 1/64 and its weights of 1/1024."""
    torch.manual_seed(0)
    layer, hook = nn.Linear(24, 20, bias=False), growing()
    model = Model(nn.Sequential(layer))
    share = 64 // here.size
    hook.initial = RandomMasks("all", 0.5, 1)
    with torch.no_grad():
        layer.weight.mul_(32).round_().div_(32)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1 / 16, momentum=0.5)
    hook.start(model, optimizer)
    parallel: nn.Module = layer if here.size == 1 else DistributedDataParallel(layer)
    for number in range(STEPS - 2):
        generator = torch.Generator().manual_seed(number)
        x = torch.randint(-3, 4, (64, 24), generator=generator).float()
        t = torch.randint(-3, 4, (64, 20), generator=generator).float()
        mine = slice(here.rank * share, (here.rank + 1) * share)
        optimizer.zero_grad()
        ((parallel(x[mine]) * t[mine]).sum() / share).backward()
        step = StepState(number, STEPS // 2, model, model, optimizer, 0, here)
        hook.after_gradients(step)
        optimizer.step()
        hook.after_step(step)
    return hook.digests


def main(data: str, out: str, saves: int = 0, kind: str = "weights") -> None:
    """Train a run under `out`, unplugged after every `saves` saves if there are any, then a layer whose gradients are
    whole numbers, so that sums do not depend on their order. Every rank writes the masks that it had to
    masks-RANK.json.

    kind: `weights`, `units` (whole heads and neurons), or `learned` (the same on patches that a scorer chooses).
    """
    with world("cpu") as here:
        hooks = []

        def another(_: int) -> Trainer:
            hooks.append(growing(kind))
            return trainer(data, f"{out}/run", here, hooks[-1], 1, 0 if saves else 9, kind)

        if saves:
            in_pieces(another, saves)
        else:
            another(0).fit()
        digests = [digest for hook in hooks for digest in hook.digests]
        record = {"run": digests, "whole_numbers": whole_numbers(here) if kind == "weights" else []}
        Path(out, f"masks-{here.rank}.json").write_text(json.dumps(record))
