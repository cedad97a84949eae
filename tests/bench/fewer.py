"""What fewer weights, and fewer tokens that a scorer chooses, cost and save: masks in every step, swaps of units too.

command       python -m tests.bench fewer (on a busy CPU with OMP_NUM_THREADS=1)
what          DeiT-S of which 4 of 6 heads and 921, or 928, of 1,536 neurons of every layer are left, classifying 8
              images of 224 pixels; the hook that masks gradients, and the hook that swaps units, beside a step of
              DeiT-S on 8 images; in the same rounds DeiT-S with a scorer that keeps 137 of its 196 patches (70% of 197
              tokens, SViTE+), alone and without those heads and neurons. Seconds are CPU time of this process: on a
              shared machine those on the wall say little
target        30% of the time saved without heads and neurons, 25% with 137 patches; masks take 2% of a step of 64
              images, so a sixth of one of 8; a step in which units are swapped takes three times as long as others
"""

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vit_tickets.train.accounting.counting import forward_pass, skeleton
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import StepState
from vit_tickets.train.sparsity.methods.fixed import Fixed
from vit_tickets.train.sparsity.methods.units import Units
from vit_tickets.train.sparsity.schedule import Growth
from vit_tickets.train.sparsity.units.alive import RandomUnits
from vit_tickets.train.sparsity.units.shrink import shrink

from .harness import Finding, Options, Timing, take_turns
from .step import step

IMAGES, STEPS = 8, 100
KEPT = 137  # and the class token: 70% of 197


def run(options: Options) -> list[Finding]:
    torch.manual_seed(0)
    images, label_B = torch.randn(IMAGES, 3, 224, 224), torch.randint(1000, (IMAGES,))
    return [*_shrunk(options, images), *_hooks(options, images, label_B)]


def _shrunk(options: Options, images: Tensor) -> list[Finding]:
    network: Any = build_model("deit_small", 1000, 224, 16, None).network.eval()
    smaller = {
        neurons: shrink(network, RandomUnits(0.3, 0.4, 0, multiple).of(network))
        for neurons, multiple in (("921", 1), ("928", 8))
    }
    bare: dict[str, Any] = {"learned": network, "learned, shrunk": smaller["928"]}
    learned = {of: LearnedViT(copy.deepcopy(each), "linear").eval() for of, each in bare.items()}
    macs = {of: forward_pass(skeleton(model), 224, KEPT) for of, model in learned.items()}
    whole = forward_pass(skeleton(LearnedViT(copy.deepcopy(network), "linear")), 224, None)

    def forward(model: torch.nn.Module, **how: int) -> Callable[[], Timing]:
        def work() -> None:
            with torch.inference_mode():
                model(images, **how)

        return _of_cpu(work)

    contestants = {"dense": forward(network)} | {name: forward(model) for name, model in smaller.items()}
    contestants |= {of: forward(model, choose=KEPT) for of, model in learned.items()}
    turns = take_turns(contestants, options.runs, options.warmup)
    what = f"DeiT-S, forward, {IMAGES} images, 4 of 6 heads"
    arithmetic = 1 / (1 - 0.3698)
    return [
        Finding(f"{what}, {name} of 1,536 neurons", "shrunk", "whole", turns[name], turns["dense"], arithmetic, 1 / 0.7)
        for name in smaller
    ] + [
        Finding(
            f"DeiT-S, forward, {IMAGES} images, a scorer keeps {KEPT} of 196 patches{detail}",
            of,
            "whole",
            turns[of],
            turns["dense"],
            whole / macs[of],
            1 / 0.75,
        )
        for of, detail in (("learned", ""), ("learned, shrunk", ", 4 of 6 heads, 928 of 1,536 neurons"))
    ]


def _hooks(options: Options, images: Tensor, label_B: Tensor) -> list[Finding]:
    model = build_model("deit_small", 1000, 224, 16, None).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    units = RandomUnits(0.3, 0.4, 0)
    fixed, swapping = Fixed(units.of(model.network).masks(model.network)), Units(units, Growth(1, every=1))
    swapping.start(model, optimizer)
    fixed.start(model, optimizer)

    def losses() -> list[Tensor]:
        return [F.cross_entropy(model(images), label_B)]

    state = StepState(1, STEPS, model, model, optimizer, 196, World(0, 1, "cpu"), losses)
    contestants = {
        "step": _of_cpu(step(model, lambda: model(images), label_B)),
        "masks": _of_cpu(lambda: fixed.after_gradients(state)),
        "swap": _of_cpu(lambda: swapping.change(state)),
    }
    turns = take_turns(contestants, options.runs, options.warmup)
    of_step = f"a step of DeiT-S on {IMAGES} images"
    return [
        Finding(
            f"{of_step}, masking gradients", "masks", "step", turns["masks"], turns["step"], target=50 * IMAGES / 64
        ),
        Finding(f"{of_step}, swapping units", "swap", "step", turns["swap"], turns["step"], target=0.5),
    ]


def _of_cpu(work: Callable[[], object]) -> Callable[[], Timing]:
    def timed() -> Timing:
        began = time.process_time()
        work()
        took = time.process_time() - began
        return Timing(took, took)

    return timed
