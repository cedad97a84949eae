"""A training step on precomputed tickets: what carrying them along costs, and what a selector in every step would.

command       python -m tests.bench online (on a busy CPU with OMP_NUM_THREADS=1)
what          deit_small, one batch of 16 (1,024 and bf16 on a GPU). Alignment: ranks resampled through an affine map
              and two operations' fill, erased cells, CutMix, the k best cells; against the dense step. Online: the `lt`
              step with its alignment, against the same step with a DeiT-Small selector on the batch, run to its end
              (the authors' way) or to the last identification.
arithmetic    0.27: 1.40 against the full pass, 1.32 against the truncated one
targets       alignment: under 2% of a dense step (a ratio of 50); online: 1.37 and 1.29, on a GPU 1.35 and 1.27
"""

import tempfile
from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import registry
from vit_tickets.train.models.online import MODES, OnlineSelector
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.views import mixing
from vit_tickets.train.views.alignment import keep_best, resample, value_map
from vit_tickets.train.views.erasing import LAST, draw_box, erased_cells

from . import arithmetic
from .harness import Finding, Options, take_turns
from .step import CLASSES, MODEL, step

SPARSITY = 0.27
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TARGETS = {"cpu": {"full": 1.37, "truncated": 1.29}, "cuda": {"full": 1.35, "truncated": 1.27}}
LEAST_RATIO = 50.0  # 2%


def run(options: Options) -> list[Finding]:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = (1024 if device == "cuda" else 16) // (4 if options.quick else 1)
    model = build_model(MODEL, CLASSES, image_size=SIDE, patch_size=None, grid=None).to(device).train()
    shape = arithmetic.Shape.of(model.network)
    kept = Budget(SPARSITY).stage_counts(shape.num_patches, 1)[-1]
    images, label_B = torch.randn(batch, 3, SIDE, SIDE, device=device), torch.randint(CLASSES, (batch,), device=device)
    align = alignment(batch, shape.num_patches, kept, device)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        save_file(registry.create_model(MODEL).state_dict(), file.name)
        selectors = {mode: OnlineSelector(MODEL, file.name, mode, Budget(SPARSITY), SIDE).to(device) for mode in MODES}

    contestants = {
        "dense": step(model, lambda: model(images), label_B),
        "alignment": align,
        "tickets": step(model, lambda: model(images, align()), label_B),
    }
    for mode, selector in selectors.items():
        contestants[mode] = online_step(model, selector, images, (mean, std), kept, label_B)
    turns = take_turns(contestants, options.runs, options.warmup)

    what = f"{batch} images, s{SPARSITY:g}"
    sparse = arithmetic.training_step(shape, kept)
    selections = {
        "full": arithmetic.pruned_forward(shape, selectors["full"].stages, selectors["full"].counts),
        "truncated": arithmetic.selection(shape, selectors["truncated"].stages, selectors["truncated"].counts),
    }
    aligned = ("alignment", "dense step", turns["alignment"], turns["dense"], None, LEAST_RATIO)
    findings = [Finding(f"alignment, {what}", *aligned)]
    for mode in MODES:
        limit = (sparse + selections[mode]) / sparse
        findings.append(
            Finding(
                f"step, {what}",
                "tickets",
                f"online {mode}",
                turns["tickets"],
                turns[mode],
                limit,
                TARGETS[device][mode],
            )
        )
    return findings


def alignment(batch: int, num_patches: int, kept: int, device: str) -> Callable[[], Tensor]:
    """What `train.inputs` does with a batch's ranks, on the device: the fullest case."""
    rng = np.random.default_rng(0)
    rank_BN = torch.from_numpy(np.stack([rng.permutation(num_patches) for _ in range(batch)]).astype(np.uint8))
    affine_B23 = torch.eye(3)[:2].repeat(batch, 1, 1) * 0.7
    through_BL23 = torch.eye(3)[:2].repeat(batch, 2, 1, 1)
    erased_B4 = torch.tensor([draw_box(rng, 0.25, SIDE) for _ in range(batch)])
    rank_BN, affine_B23, through_BL23, erased_B4 = (
        part.to(device) for part in (rank_BN, affine_B23, through_BL23, erased_B4)
    )
    mix, grid = mixing.Mix(0.7, (20, 120, 40, 160)), round(num_patches**0.5)

    def align() -> Tensor:
        values_BN = resample(value_map(rank_BN), affine_B23, grid, through_BL23)
        values_BN = values_BN.masked_fill(erased_cells(erased_B4, SIDE, grid), LAST)
        return keep_best(mix.maps(values_BN, SIDE), kept)

    return align


def online_step(model, selector, images, normalisation, kept, label_B) -> Callable[[], None]:
    grid = model.grid
    return step(model, lambda: model(images, selector.choose(images, *normalisation, grid, kept)), label_B)
