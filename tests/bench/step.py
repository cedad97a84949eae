"""A training step on tickets against the dense step of the same model.

command       python -m tests.bench step (on a busy CPU with OMP_NUM_THREADS=1: threads that wait for each other
              suffer most, and their waiting counts as CPU time)
what          forward, loss, backward and AdamW step of one deit_small on one batch: all patches, the kept patches
              (ours: gathered before they are embedded), and timm's PatchDropout (all embedded, as many kept). fp32 and
              16 images on a CPU; bf16 and 1,024 images on a GPU.
arithmetic    196 patches: 1.387 at sparsity 0.27, 2.007 at 0.488. The optimizer is left out of it; it costs the same
              with any number of patches, so small batches stay further from the limit.
targets       0.98 of arithmetic (on a GPU 0.95); against PatchDropout 1.0

LV-ViT        the same of lvvit_small, with the trainer's loss on the image and on every kept token, but its labels are
              given, no tokens are mixed, and no moving average is kept; 256 images on a GPU. The stem runs on all
              pixels, so arithmetic is 1.473 at sparsity 0.386 (keep rate 0.85, three times); target: 90% of it
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from vit_tickets.pipeline.geometry.patches import Budget, random_subset
from vit_tickets.pipeline.networks import registry
from vit_tickets.train.loop.inputs import Inputs
from vit_tickets.train.loop.learner import loss_of
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.presets import LVVIT

from . import arithmetic
from .harness import Finding, Options, take_turns

MODEL = "deit_small"
CLASSES = 1000
SPARSITIES = (0.27, 0.488)
SHARE_OF_ARITHMETIC = {"cpu": 0.98, "cuda": 0.95}
LV_MODEL, LV_SPARSITY = "lvvit_small", 0.386
LV_SHARE_OF_ARITHMETIC = 0.9


def run(options: Options) -> list[Finding]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [*of_vit(options, device), *of_lvvit(options, device)]


def of_vit(options: Options, device: str) -> list[Finding]:
    torch.manual_seed(0)
    batch = 1024 if device == "cuda" else 16
    if options.quick:
        batch //= 4
    model = build_model(MODEL, CLASSES, image_size=224, patch_size=None, grid=None).to(device).train()
    shape = arithmetic.Shape.of(model.network)
    side = model.network.patch_embed.img_size[0]
    images = torch.randn(batch, 3, side, side, device=device)
    label_B = torch.randint(CLASSES, (batch,), device=device)

    contestants = {"dense": step(model, lambda: model(images), label_B)}
    counts = {s: Budget(s).stage_counts(shape.num_patches, 1)[-1] for s in SPARSITIES}
    for sparsity, kept in counts.items():
        contestants[f"ours {sparsity}"] = ours(model, images, indices(batch, shape.num_patches, kept, device), label_B)
        contestants[f"dropout {sparsity}"] = patch_dropout(images, shape.num_patches, kept, label_B)
    turns = take_turns(contestants, options.runs, options.warmup)

    def finding(sparsity: float, baseline: str, name: str, limit: float, target: float) -> Finding:
        what = f"step, s{sparsity:g}, {batch} images, {counts[sparsity]} of {shape.num_patches} patches"
        return Finding(what, "kept patches", name, turns[f"ours {sparsity}"], turns[baseline], limit, target)

    findings = []
    for sparsity, kept in counts.items():
        sparse = arithmetic.training_step(shape, kept)
        # the embedding of the patches that PatchDropout then drops: forward, and the gradient of its weights
        wasted = 2 * arithmetic.embedding(shape, shape.num_patches - kept)
        limit = arithmetic.training_step(shape) / sparse
        findings.append(finding(sparsity, "dense", "dense", limit, SHARE_OF_ARITHMETIC[device] * limit))
        findings.append(finding(sparsity, f"dropout {sparsity}", "PatchDropout", 1 + wasted / sparse, 1.0))
    return findings


def of_lvvit(options: Options, device: str) -> list[Finding]:
    torch.manual_seed(0)
    batch = (256 if device == "cuda" else 16) // (4 if options.quick else 1)
    model = build_model(LV_MODEL, CLASSES, image_size=224, patch_size=None, grid=None).to(device).train()
    shape, stem = arithmetic.Shape.of(model.network), arithmetic.convolutions(model.network)
    (kept,) = Budget(LV_SPARSITY).stage_counts(shape.num_patches, 1)
    images = torch.randn(batch, 3, 224, 224, device=device)

    def one_step(kept_BK: Tensor | None, num_tokens: int) -> Callable[[], None]:
        soft = torch.randn(batch, 1 + num_tokens, CLASSES, device=device).softmax(-1)
        inputs = Inputs(images, kept_BK, soft[:, 0], soft[:, 1:])
        return step_of(
            model, lambda: model(images, kept_BK), lambda output: loss_of(output, inputs, LVVIT), torch.device(device)
        )

    contestants = {
        "dense": one_step(None, shape.num_patches),
        "kept patches": one_step(indices(batch, shape.num_patches, kept, device), kept),
    }
    turns = take_turns(contestants, options.runs, options.warmup)
    dense, sparse = (arithmetic.lvvit_training_step(shape, stem, patches) for patches in (None, kept))
    what = f"{LV_MODEL} step, s{LV_SPARSITY:g}, {batch} images, {kept} of {shape.num_patches} patches"
    target = LV_SHARE_OF_ARITHMETIC * dense / sparse
    return [Finding(what, "kept patches", "dense", turns["kept patches"], turns["dense"], dense / sparse, target)]


def step(model: nn.Module, forward: Callable[[], Tensor], label_B: Tensor) -> Callable[[], None]:
    """A step of a classifier, with the cross-entropy of smoothed labels."""

    def loss(logits_BC: Tensor) -> Tensor:
        return F.cross_entropy(logits_BC.float(), label_B, label_smoothing=0.1)

    return step_of(model, forward, loss, label_B.device)


def step_of(
    model: nn.Module, forward: Callable[[], Any], loss_of_output: Callable[[Any], Tensor], device: torch.device
) -> Callable[[], None]:
    """What train/loop/trainer.py does with a batch, at a learning rate that leaves the weights about as they are."""
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-6, weight_decay=0.05, fused=True)

    def one_step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            output = forward()
        loss = loss_of_output(output)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return one_step


def ours(model: nn.Module, images: Tensor, kept_BK: Tensor, label_B: Tensor) -> Callable[[], None]:
    return step(model, lambda: model(images, kept_BK), label_B)


def indices(batch: int, num_patches: int, kept: int, device: str) -> Tensor:
    """Random subsets by the contract's hash, ascending, int64 (B, K)."""
    rows = [random_subset(0, str(image), num_patches, kept) for image in range(batch)]
    return torch.from_numpy(np.stack(rows).astype(np.int64)).to(device)


def patch_dropout(images: Tensor, num_patches: int, kept: int, label_B: Tensor) -> Callable[[], None]:
    """The step of a new model with timm's PatchDropout, whose int(N (1 - p)) is `kept`."""
    network = registry.create_model(MODEL, num_classes=CLASSES, patch_drop_rate=1 - (kept + 0.5) / num_patches)
    network = network.to(images.device).train()
    return step(network, lambda: network(images), label_B)
