"""How long runs of a model will take on this device, from a few measured steps: without a run, or a manifest."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn

from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.pipeline.geometry.patches import small_grid_side
from vit_tickets.pipeline.runs.paths import TrainingPath
from vit_tickets.train.accounting.counting import StepMacs, forward_pass, skeleton
from vit_tickets.train.accounting.equal_cost import Cut, cut_of
from vit_tickets.train.models.frozen import freeze
from vit_tickets.train.models.sparse import Model, build_model
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.recipes.schedule import kept_at
from vit_tickets.train.views.augment import Augment

SECONDS = 4.0  # of measuring, about: three parts of it steps, one part images
MEAN = (0.5, 0.5, 0.5)
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Speed:
    """What a device was found to do.

    Attributes:
        macs_per_s: multiply-adds of training per second, forward and backward.
        update_s: seconds of an update of the weights.
        image_s: seconds in which one CPU core reads and augments an image.
        on_cpu: whether the steps run on the CPU, too, so that both take their time.
        workers: loader processes; 0 for none.
    """

    macs_per_s: float
    update_s: float
    image_s: float
    on_cpu: bool
    workers: int

    def step(self, macs: float, views: int) -> float:
        """Seconds of a step of that many multiply-adds on so many views of images."""
        computing, reading = macs / self.macs_per_s + self.update_s, views * self.image_s
        if self.on_cpu:
            return computing + reading / min(max(1, self.workers), _cores())
        return max(computing, reading / self.workers) if self.workers else computing + reading


class Estimate:
    """Seconds of the runs of one model on this device. Measures for about `SECONDS` when it is made.

    Args:
        model: short name, or name in timm.
        num_classes: number of classes.
        recipe: how the runs are trained; its image size and patch size, where it has any, are used.
        image_size: side of the images in pixels, where the recipe has none.
        samples: some encoded images, of which those are read that there is time for; without any, reading is not
            counted.
        device: as torch names it.
        precision: `fp32`, `bf16` or `fp16`.
        workers: loader processes; 0 reads in the process that trains.
        seconds: of measuring.

    Attributes:
        num_patches: N of the model at this size.
        speed: what was measured.

    Raises:
        UserError: there is no such model, or not of this size.
    """

    def __init__(
        self,
        model: str,
        num_classes: int,
        recipe: Recipe,
        image_size: int,
        samples: Iterable[bytes] = (),
        device: str = "cpu",
        precision: str = "fp32",
        workers: int = 0,
        seconds: float = SECONDS,
    ):
        self.recipe, self.image_size = recipe, recipe.image_size or image_size
        self._model, self._num_classes = model, num_classes
        network = self._build(self.image_size).to(device).train()
        self.num_patches = network.grid**2
        self._macs_at = cache(self._macs_of)
        self._cuts: dict[tuple[int, Recipe], Cut] = {}
        rate, update_s = _measured(network, self._macs_at(self.image_size), recipe, device, precision, 0.75 * seconds)
        image_s = _reading(recipe, self.image_size, samples, 0.25 * seconds)
        self.speed = Speed(rate, update_s, image_s, device == "cpu", workers)

    def training(self, path: TrainingPath, kept: int, train_images: int, val_images: int = 0) -> float:
        """Seconds of a run, with an evaluation after every epoch. The selection of tickets is not part of it.

        Args:
            path: what it is trained on.
            kept: k, of `num_patches`.
            train_images: images that it is trained on.
            val_images: images that it is scored on.
        """
        recipe, side = self.recipe, self.image_size
        if path.low_resolution:
            side = side // round(self.num_patches**0.5) * small_grid_side(self.num_patches, kept)
        if path.same_cost:
            recipe = recipe.cut(self.cut(kept).epochs)
        steps = max(1, min(train_images, recipe.limit or train_images) // recipe.batch_size)
        epochs = [self._epoch(recipe, path, kept, side, epoch) * steps for epoch in range(recipe.epochs)]
        scored = recipe.epochs * self.evaluation(val_images, kept if path.sees_part else None, side)
        return sum(epochs) + scored

    def cut(self, kept: int) -> Cut:
        """What path `short` is cut to, at the cost of training on `kept` patches."""
        side, key = self.image_size, (kept, self.recipe)
        if key not in self._cuts:
            self._cuts[key] = cut_of(self._build(side), side, kept, self.num_patches, self.recipe)
        return self._cuts[key]

    def evaluation(self, val_images: int, kept: int | None = None, image_size: int | None = None) -> float:
        """Seconds of classifying images, from `kept` patches of each or from all."""
        side = image_size or self.image_size
        model = self._macs_at(side)
        kept = kept if getattr(model.model, "can_drop_patches", False) else None
        per_image = forward_pass(skeleton(model.model), side, kept)
        return replace(self.speed, update_s=0.0).step(val_images * per_image, val_images) if val_images else 0.0

    def _epoch(self, recipe: Recipe, path: TrainingPath, kept: int, side: int, epoch: int) -> float:
        """Seconds of a step in the middle of an epoch, counted from 0."""
        macs = self._macs_at(side)
        if not path.sees_part or epoch >= recipe.epochs - recipe.finish_dense:
            kept = macs.num_patches
        elif recipe.keep_warmup is not None:
            kept = kept_at(recipe.keep_warmup, kept, macs.num_patches, epoch + 0.5)
        return self.speed.step(macs.count([recipe.batch_size], kept), recipe.batch_size)

    def _macs_of(self, side: int) -> StepMacs:
        model = skeleton(self._build(side)).train()
        return StepMacs(model, side, model.grid**2, drops_patches=True)

    def _build(self, side: int) -> Model:
        recipe, cell = self.recipe, self.recipe.patch_size or 16
        model = build_model(
            self._model, self._num_classes, side, recipe.patch_size, max(1, side // cell), recipe.drop_path
        )
        if recipe.frozen:
            freeze(model.network)
        return model


def _measured(
    network: Model, macs: StepMacs, recipe: Recipe, device: str, precision: str, seconds: float
) -> tuple[float, float]:
    """Multiply-adds per second of forward and backward passes, and seconds of an update: the best of a few."""
    optimizer = _optimizer(network, recipe)
    images, side = 2, macs.image_size

    def passed() -> float:
        began = _now(device)
        with torch.autocast(device.split(":")[0], AUTOCAST.get(precision), enabled=precision in AUTOCAST):
            outputs = network(torch.zeros(images, 3, side, side, device=device))
        parts = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        torch.autograd.backward([part.float().sum() for part in parts])
        return _now(device) - began

    until = time.monotonic() + seconds
    took = passed()
    if took < seconds / 3:  # the first one warms up
        took = passed()
    # small steps are mostly overhead, the more so where other programs compute
    while 2 * images <= recipe.batch_size and time.monotonic() + 4 * took < until:
        images *= 2
        took = passed()
    times = [took]
    while time.monotonic() + took < until:
        times.append(passed())
    updates = []
    for _ in range(3):
        began = _now(device)
        optimizer.step()
        updates.append(_now(device) - began)
    return macs.count([images], macs.num_patches) / min(times), min(updates)


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.opt == "sgd":
        return torch.optim.SGD(network.parameters(), lr=0.0, momentum=recipe.momentum)
    return torch.optim.AdamW(network.parameters(), lr=0.0, fused=True)


def _reading(recipe: Recipe, image_size: int, samples: Iterable[bytes], seconds: float) -> float:
    """Mean seconds of reading and augmenting one of `samples`; 0 without any that can be read."""
    augment, taken, until = Augment(recipe, image_size, MEAN), [], time.monotonic() + seconds
    for number, data in enumerate(samples):
        began = time.process_time()
        try:
            augment.view(images.decode(data), keyed_rng("estimate", number))
        except images.UndecodableImage:
            continue
        taken.append(time.process_time() - began)
        if time.monotonic() > until:
            break
    warm = taken[1:] or taken
    return sum(warm) / len(warm) if warm else 0.0


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
