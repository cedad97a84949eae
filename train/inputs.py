"""From a batch of the stream to what the model sees: normalised, erased and mixed images, and the patches to keep.

Legend: B images, S side of the view in pixels, N cells of its grid (T x T), K kept, C classes.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vit_tickets.pipeline.crops import keyed_rng
from vit_tickets.train import mixing
from vit_tickets.train.alignment import keep_best, resample, value_map
from vit_tickets.train.erasing import LAST, erase, erased_cells
from vit_tickets.train.run import Run


@dataclass(frozen=True)
class Inputs:
    """images (B, 3, S, S) float32; kept_BK int64, ascending, None for all; target: labels (B,), or soft ones (B, C)."""

    images: Tensor
    kept_BK: Tensor | None
    target: Tensor


class Preparation:
    """Prepares a run's batches on `device`. What it draws is drawn from (seed, step, rank)."""

    def __init__(self, run: Run, device: str):
        self.run, self.device = run, device
        self.mean, self.std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) * 255
            for values in (run.eval_view.mean, run.eval_view.std)
        )
        self.online = None if run.online is None else run.online.to(device)

    def __call__(self, batch: dict[str, Any], step: int, rank: int, kept: int) -> Inputs:
        """The inputs of `step` on rank `rank`, with `kept` patches where the run's path drops any.

        The value of a cell is that of its patch of the image; erased cells come last, and a mixed image's map is mixed
        like the image. A random counterpart that is drawn on the view's own grid takes no part in that, and an online
        selector sees what the model sees.
        """
        on_device = {
            name: value.to(self.device, non_blocking=True) for name, value in batch.items() if isinstance(value, Tensor)
        }
        images = (on_device["pixels"].float() - self.mean) / self.std
        target, values_BN, follows = on_device["label"], None, "affine" in on_device
        if "rank" in on_device:
            values_BN = value_map(on_device["rank"])
            if follows:
                values_BN = resample(values_BN, on_device["affine"], self.run.grid, on_device.get("through"))
            values_BN = values_BN.flatten(1)
        if "erased" in on_device:
            erase(images, batch["erased"])
            if follows:
                covered_BN = erased_cells(on_device["erased"], self.run.image_size, self.run.grid)
                values_BN = values_BN.masked_fill(covered_BN, LAST)
        mix = self._mix(step, rank)
        if mix is not None:
            images = mix.images(images)
            target = mix.targets(target, self.run.config["num_classes"], self.run.recipe.smoothing)
            if follows:
                values_BN = mix.maps(values_BN, self.run.image_size)
        if self.online is not None:
            kept_BK = self.online.choose(images, self.mean / 255, self.std / 255, self.run.grid, kept)
            return Inputs(images, kept_BK, target)
        return Inputs(images, None if values_BN is None else keep_best(values_BN, kept), target)

    def _mix(self, step: int, rank: int) -> mixing.Mix | None:
        recipe = self.run.recipe
        rng = keyed_rng("mix", self.run.config["seed"], step, rank)
        return mixing.draw(rng, recipe.mixup, recipe.cutmix, recipe.mix_prob, recipe.mix_switch, self.run.image_size)
