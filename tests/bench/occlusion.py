"""What it costs to show a model that drops no patches part of an image: the occlusion against the step it is part of.

command       python -m tests.bench occlusion (on a busy CPU with OMP_NUM_THREADS=1)
what          `occlude` with its mask, as `OccludedModel` calls them, against the dense step of swin_tiny (forward,
              loss, backward and AdamW) on the same batch: 16 images, 256 and bf16 on a GPU; 144 of 14 x 14 cells kept.
              Occluded or not, the network does the same.
target        under 1% of the step (a ratio of 100)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.train.models.sparse import OccludedModel, build_model, is_kept, occlude

from .harness import Finding, Options, median_wall_s, take_turns
from .step import CLASSES, indices, step

MODEL = "swin_tiny"
SIDE, GRID, SPARSITY = 224, 14, 0.27
LEAST_RATIO = 100.0  # 1%


def run(options: Options) -> list[Finding]:
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = (256 if device == "cuda" else 16) // (4 if options.quick else 1)
    model = build_model(MODEL, CLASSES, image_size=SIDE, patch_size=None, grid=GRID).to(device).train()
    images, label_B = torch.randn(batch, 3, SIDE, SIDE, device=device), torch.randint(CLASSES, (batch,), device=device)
    (kept,) = Budget(SPARSITY).stage_counts(GRID * GRID, 1)
    kept_BK = indices(batch, GRID * GRID, kept, device)
    contestants = {"occlusion": occlusion(model, images, kept_BK), "step": step(model, lambda: model(images), label_B)}
    turns = take_turns(contestants, options.runs, options.warmup)
    share = median_wall_s(turns["occlusion"]) / median_wall_s(turns["step"])
    what = f"occlusion, {MODEL}, {batch} images, {kept} of {GRID * GRID} cells: {share:.2%} of a step"
    return [Finding(what, "occlusion", "dense step", turns["occlusion"], turns["step"], None, LEAST_RATIO)]


def occlusion(model: OccludedModel, images: Tensor, kept_BK: Tensor) -> Callable[[], Tensor]:
    return lambda: occlude(images, is_kept(kept_BK, model.grid**2), model.fill)
