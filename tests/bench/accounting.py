"""What counting multiply-adds costs: in every step, and where a number of patches comes for the first time.

command       python -m tests.bench accounting (on a busy CPU with OMP_NUM_THREADS=1)
what          one step of deit_micro on 8 images of 48 pixels, the smallest network, and the count of that step;
              the first count of a step of deit_small on tickets of 101 patches, which computes nothing.
target        a count takes under 0.1% of a step (a ratio of 1,000); the first one under a second
"""

import time

import torch

from vit_tickets.train.accounting.counting import StepMacs
from vit_tickets.train.models.sparse import build_model

from .harness import Duration, Finding, Options, take_turns
from .step import step

IMAGES, REPEATS = 8, 1000


def run(options: Options) -> list[Finding | Duration]:
    torch.manual_seed(0)
    model = build_model("deit_micro", 10, 48, 8, None).train()
    images, label_B = torch.randn(IMAGES, 3, 48, 48), torch.randint(10, (IMAGES,))
    macs = StepMacs(model, 48, 36, drops_patches=True)
    macs.count([IMAGES], 18)

    def counts() -> None:
        for _ in range(REPEATS):
            macs([IMAGES], 18)

    steps = step(model, lambda: model(images), label_B)
    turns = take_turns({"step": steps, "counts": counts}, options.runs, options.warmup)
    what = f"{REPEATS} counts, one step of deit_micro on {IMAGES} images"
    # as many counts as the target has in a step take less time than the step
    each = Finding(what, "counts", "step", turns["counts"], turns["step"], target=1.0)
    return [each, Duration("first count, deit_small on 101 of 196 patches", _first(options.runs), limit_s=1.0)]


def _first(runs: int) -> list[float]:
    small, spent = build_model("deit_small", 1000, 224, 16, None).train(), []
    for _ in range(runs):
        began = time.perf_counter()
        StepMacs(small, 224, 196, drops_patches=True).count([64], 101)
        spent.append(time.perf_counter() - began)
    return spent
