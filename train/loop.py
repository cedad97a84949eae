"""The training loop: batches in, weights out; epoch by epoch, resumable."""

import hashlib
import json
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from tqdm import tqdm

from vit_tickets.pipeline import files
from vit_tickets.pipeline.errors import WorkFailed
from vit_tickets.train import checkpoint
from vit_tickets.train.alignment import aligned_ticket
from vit_tickets.train.data import SplitData
from vit_tickets.train.distributed import World
from vit_tickets.train.evaluate import accuracy, eval_config
from vit_tickets.train.run import BEST, FINAL, LAST, METRICS, Run, save_weights
from vit_tickets.train.stream import TrainStreamConfig, train_batches


@dataclass(frozen=True)
class Options:
    """How a run is carried out, as opposed to what it is."""

    workers: int
    precision: str = "fp32"
    skip_errors: bool = False
    max_pixels: int = 100_000_000
    progress: bool = True


class Trainer:
    """One rank of a run."""

    def __init__(self, run: Run, world: World, options: Options):
        self.run, self.world, self.options = run, world, options
        self.model = run.build_model().to(world.device)
        self.parallel: nn.Module = self.model
        if world.size > 1:
            devices = [world.device] if world.device.startswith("cuda") else None
            self.parallel = nn.parallel.DistributedDataParallel(self.model, device_ids=devices)
        recipe = run.recipe
        self.optimizer = create_optimizer_v2(
            self.model.network, opt="adamw", lr=recipe.peak_lr, weight_decay=recipe.weight_decay
        )
        manifest = run.manifest
        held_out = run.config["holdout"]
        self.data = SplitData(
            run.dataset, run.config["split"], manifest, (held_out, False) if held_out else None, run.config["limit"]
        )
        self.stream = TrainStreamConfig(
            data=self.data,
            path=run.path,
            image_size=run.image_size,
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            seed=run.config["seed"],
            grid=run.grid,
            kept=run.kept,
            mask_seed=run.config["mask_seed"],
            min_scale=recipe.crop_scale,
            hflip=recipe.hflip,
            interpolation=run.eval_view.interpolation,
            max_pixels=options.max_pixels,
            skip_errors=options.skip_errors,
            rank=world.rank,
            num_ranks=world.size,
        )
        self.steps = self.stream.steps
        self.scheduler = CosineLRScheduler(
            self.optimizer,
            t_initial=max(2, recipe.epochs * self.steps),
            lr_min=min(recipe.min_lr, recipe.peak_lr),
            warmup_t=round(recipe.warmup_epochs * self.steps),
            warmup_lr_init=min(recipe.warmup_lr, recipe.peak_lr),
            t_in_epochs=False,
        )
        self.mean, self.std = (
            torch.tensor(values, device=world.device).view(1, 3, 1, 1) * 255
            for values in (run.eval_view.mean, run.eval_view.std)
        )
        self.val_sets = self._val_sets()
        self.epoch, self.best, self.skipped = 0, -math.inf, 0
        self.val_top1: float | None = None
        self.autocast = options.precision == "bf16"

    def _val_sets(self) -> dict[str, SplitData]:
        """What is scored after every epoch: val, and the part of train that is held out."""
        run, sets = self.run, {}
        manifest = run.manifest
        has_tickets = manifest is None or "val" in manifest.splits
        if "val" in run.dataset.splits and (has_tickets or run.path in ("dense", "small")):
            sets["val"] = SplitData(run.dataset, "val", manifest if has_tickets else None)
        if run.config["holdout"]:
            held_out = (run.config["holdout"], True)
            sets["holdout"] = SplitData(run.dataset, run.config["split"], manifest, held_out, run.config["limit"])
        return sets

    def fit(self) -> None:
        """Train from the current epoch to the last, writing metrics and `last.pt` after each, then `final`."""
        recipe, options = self.run.recipe, self.options
        stream = replace(self.stream, start_epoch=self.epoch)
        batches = train_batches(stream, options.workers, pin_memory=self.world.device.startswith("cuda"))
        writer = self._tensorboard()
        images = recipe.batch_size * self.steps
        with tqdm(
            total=images * recipe.epochs,
            initial=images * self.epoch,
            desc=self.run.path,
            unit="img",
            disable=not (options.progress and self.world.is_main),
        ) as bar:
            for epoch in range(self.epoch, recipe.epochs):
                metrics = self._epoch(epoch, batches, bar)
                self.epoch, self.val_top1 = epoch + 1, metrics.get("val_top1")
                if self.world.is_main:
                    self._record(metrics, writer)
        if self.world.is_main:
            save_weights(self.model, self.run.place(FINAL))
        if writer is not None:
            writer.close()

    def _epoch(self, epoch: int, batches, bar: tqdm) -> dict[str, Any]:
        started = time.monotonic()
        self.parallel.train()
        total = torch.zeros((), device=self.world.device)
        for step in range(epoch * self.steps, (epoch + 1) * self.steps):
            batch = next(batches)
            loss = self.step(batch, step)
            total += loss
            self.skipped += batch["skipped"]
            bar.update(self.run.recipe.batch_size)
            if step % 10 == 0:
                bar.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}", refresh=False)
        trained = time.monotonic() - started
        mean_loss = self.world.sum(total.item() / self.steps)[0] / self.world.size
        metrics = {"epoch": epoch + 1, "step": (epoch + 1) * self.steps, "loss": mean_loss, "lr": self.lr}
        for name, data in self.val_sets.items():
            on = self.run.path if self.run.path in ("lt", "rc") else "dense"
            config = eval_config(self.run, data, rank=self.world.rank, num_ranks=self.world.size)
            correct = accuracy(self.model, config, [on], self.world.device, self.options.workers, self.autocast)
            hits, seen = self.world.sum(*correct[on])
            metrics[f"{name}_top1"] = 100 * hits / seen
        metrics["images_per_s"] = self.run.recipe.batch_size * self.steps / trained
        metrics["seconds"] = time.monotonic() - started
        if self.skipped:
            metrics["skipped"] = self.skipped
        return metrics

    @property
    def lr(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def step(self, batch: dict[str, Any], step: int) -> Tensor:
        """One optimizer step on `batch`, the `step`th of the run; returns the loss, detached.

        Raises WorkFailed before the optimizer moves where the loss is not finite.
        """
        images, kept_BK, label_B = self.inputs(batch)
        self.scheduler.step_update(step)
        torch.manual_seed(step_seed(self.run.config["seed"], step, self.world.rank))
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            logits_BC = self.parallel(images, kept_BK)
        loss = F.cross_entropy(logits_BC.float(), label_B, label_smoothing=self.run.recipe.smoothing)
        if not torch.isfinite(loss):
            raise WorkFailed(
                f"the loss is {loss.item()} in epoch {step // self.steps + 1}, step {step}; "
                f"{self.run.root} keeps its last checkpoint"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.run.recipe.clip_grad:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.recipe.clip_grad)
        self.optimizer.step()
        return loss.detach()

    def inputs(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Normalised images (B, 3, S, S), patches to keep (B, K) or None for all, labels (B,), on the device."""
        on_device = {
            name: value.to(self.world.device, non_blocking=True)
            for name, value in batch.items()
            if isinstance(value, Tensor)
        }
        images = (on_device["pixels"].float() - self.mean) / self.std
        kept_BK = on_device.get("kept")
        if "rank" in on_device:
            kept_BK = aligned_ticket(on_device["rank"], on_device["affine"], self.run.grid, self.run.kept)
        return images, None if kept_BK is None else kept_BK.long(), on_device["label"]

    def _record(self, metrics: dict[str, Any], writer) -> None:
        """Append the epoch's metrics, save `best` where train is held out, and then `last.pt`."""
        if metrics.get("holdout_top1", -math.inf) > self.best:
            self.best = metrics["holdout_top1"]
            save_weights(self.model, self.run.place(BEST))
        if writer is not None:
            for name, value in metrics.items():
                if name not in ("epoch", "step"):
                    writer.add_scalar(name, value, metrics["step"])
            writer.flush()
        path = self.run.place(METRICS)
        lines = files.read_bytes(path).splitlines(keepends=True)[: self.epoch - 1] if files.exists(path) else []
        with files.atomic_write(path) as stream:
            stream.write(b"".join(lines) + (json.dumps(metrics) + "\n").encode())
        checkpoint.save(self.run.place(LAST), self.state())

    def result(self) -> str:
        """The last epoch's accuracy on val, for the user to read; empty where there is none."""
        return "" if self.val_top1 is None else f", {self.val_top1:.2f}% top-1 on val"

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "skipped": self.skipped,
        }

    def restore(self) -> None:
        """Go on from `last.pt`. Every random draw depends on (seed, epoch, key) or (seed, step), so none is stored."""
        state = checkpoint.load(self.run.place(LAST))
        self.model.network.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.best, self.skipped = state["epoch"], state["best"], state["skipped"]

    def _tensorboard(self):
        if not self.world.is_main or not files.is_local(self.run.root):
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(files.filesystem(self.run.root)[1], purge_step=self.epoch * self.steps + 1)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of what the model draws (drop path, dropout) in one step on one rank."""
    digest = hashlib.blake2b(f"step:{seed}:{step}:{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
