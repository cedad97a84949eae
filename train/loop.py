"""The training loop: batches in, weights out; it can stop after any step and go on with the very next batch."""

import contextlib
import hashlib
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from vit_tickets.pipeline.errors import UserError, WorkFailed
from vit_tickets.train import checkpoint
from vit_tickets.train.alignment import aligned_ticket
from vit_tickets.train.data import SplitData
from vit_tickets.train.distributed import World
from vit_tickets.train.evaluate import accuracy, eval_config
from vit_tickets.train.interrupts import Interrupts
from vit_tickets.train.log import RunLog
from vit_tickets.train.optim import build_optimizer, set_learning_rate
from vit_tickets.train.plan import Position
from vit_tickets.train.run import BEST, FINAL, LAST, METRICS, Run, save_weights
from vit_tickets.train.schedule import learning_rate
from vit_tickets.train.stream import TrainStreamConfig, train_batches

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Options:
    """How a run is carried out, as opposed to what it is. checkpoint_minutes: 0 saves after every step."""

    workers: int
    skip_errors: bool = False
    max_pixels: int = 100_000_000
    checkpoint_minutes: float = 10.0
    progress: bool = True


class Trainer:
    """One rank of a run. `position` says how far it is; `restore` takes it to where `last.pt` is."""

    def __init__(self, run: Run, world: World, options: Options):
        self.run, self.world, self.options = run, world, options
        recipe = run.recipe
        self.model = run.build_model().to(world.device)
        self.ema = ModelEmaV3(self.model, decay=recipe.ema) if recipe.ema else None
        self.parallel = world.parallel(self.model, run.image_size)
        self.optimizer = build_optimizer(self.model.network, recipe)
        self.autocast = DTYPES.get(run.precision)
        self.scaler = torch.amp.GradScaler(world.device.split(":")[0], enabled=run.precision == "fp16")
        held_out = run.config["holdout"]
        self.data = SplitData(
            run.dataset, run.config["split"], run.manifest, (held_out, False) if held_out else None, run.config["limit"]
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
            repeats=recipe.repeats,
            views_per_decode=recipe.views_per_decode,
            max_pixels=options.max_pixels,
            skip_errors=options.skip_errors,
            rank=world.rank,
            num_ranks=world.size,
        ).with_workers(options.workers)
        self.steps = self.stream.plan.steps
        self.mean, self.std = (
            torch.tensor(values, device=world.device).view(1, 3, 1, 1) * 255
            for values in (run.eval_view.mean, run.eval_view.std)
        )
        self.val_sets = self._val_sets()
        self.position, self.best, self.skipped = Position(), -math.inf, 0
        self.loss, self.seconds = 0.0, 0.0  # of the unfinished epoch: the sum of its steps' losses, training time
        self.val_top1: float | None = None
        self.interrupts, self.saved_at = Interrupts(insistent=world.size == 1), time.monotonic()

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

    @property
    def scored(self) -> nn.Module:
        """The model that is evaluated and kept: the weights' moving average where the recipe has one."""
        return self.model if self.ema is None else self.ema.module

    @property
    def step(self) -> int:
        """Steps made since the start of the run."""
        return self.position.epoch * self.steps + self.position.step

    @property
    def lr(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def fit(self) -> None:
        """Train to the last epoch, with metrics and `last.pt` after each, and `last.pt` in between; then `final`.

        Raises WorkFailed where a loss is not finite, or after a signal asked to stop and `last.pt` is saved.
        """
        run, batch_size = self.run, self.run.recipe.batch_size
        stream = replace(self.stream, start=self.position)
        bar = tqdm(
            total=batch_size * self.steps * run.recipe.epochs,
            initial=batch_size * self.step,
            desc=run.path,
            unit="img",
            disable=not (self.options.progress and self.world.is_main),
        )
        batches = train_batches(stream, self.options.workers, pin_memory=self.world.device.startswith("cuda"))
        log = RunLog(run.root, METRICS, self.step, enabled=self.world.is_main)
        with self.interrupts, contextlib.closing(batches), bar, log:
            while self.position.epoch < run.recipe.epochs:
                self._train(batches, bar, log)
                metrics = self._metrics()
                if self.world.is_main and metrics.get("holdout_top1", -math.inf) > self.best:
                    self.best = metrics["holdout_top1"]
                    save_weights(self.scored, run.place(BEST))
                log.after_epoch(metrics)
                self.val_top1 = metrics.get("val_top1")
                self.position, self.loss, self.seconds = self.position.after_epoch(), 0.0, 0.0
                self.save()
        if self.world.is_main:
            save_weights(self.scored, run.place(FINAL))

    def _train(self, batches, bar: tqdm, log: RunLog) -> None:
        """The remaining steps of the epoch. All ranks agree on each: whether to take it, to save after it, to stop."""
        self.parallel.train()
        before = time.monotonic()
        while self.position.step < self.steps:
            failure, loss, skipped = None, None, 0
            try:
                batch = next(batches)
                loss, skipped = self.batch_loss(batch), batch["skipped"]
            except (UserError, WorkFailed) as error:
                failure = error
            due = time.monotonic() - self.saved_at >= 60 * self.options.checkpoint_minutes
            mean_loss, failed, skipped, stop, save = self.world.sum(
                0.0 if loss is None else loss.item() / self.world.size,
                failure is not None,
                skipped,
                self.interrupts.stop is not None,
                self.interrupts.save or (due and self.world.is_main),
            )
            if failed:
                self.save()
                raise failure or SystemExit(1)
            if not math.isfinite(mean_loss):
                self._give_up(
                    f"the loss is {mean_loss} in epoch {self.position.epoch + 1}, step {self.position.step + 1} of "
                    f"{self.steps}; {self.run.root} keeps its last checkpoint"
                )
            self.update(loss)
            self.position = self.position.after_step(self.world.size, self.stream.lanes)
            self.loss, self.skipped = self.loss + mean_loss, self.skipped + int(skipped)
            before, self.seconds = time.monotonic(), self.seconds + time.monotonic() - before
            log.after_step(self.step, loss=mean_loss, lr=self.lr)
            bar.update(self.run.recipe.batch_size)
            bar.set_postfix(epoch=self.position.epoch + 1, loss=f"{mean_loss:.3f}", refresh=False)
            if save or stop:
                self.save()
            if stop:
                self._give_up(self._stopped())

    def batch_loss(self, batch: dict[str, Any]) -> Tensor:
        """The rank's loss on `batch`, at the learning rate and with the random draws of the current step."""
        images, kept_BK, label_B = self.inputs(batch)
        set_learning_rate(self.optimizer, learning_rate(self.run.recipe, self.step, self.steps))
        torch.manual_seed(step_seed(self.run.config["seed"], self.step, self.world.rank))
        with torch.autocast(images.device.type, self.autocast, enabled=self.autocast is not None):
            logits_BC = self.parallel(images, kept_BK)
        return F.cross_entropy(logits_BC.float(), label_B, label_smoothing=self.run.recipe.smoothing)

    def update(self, loss: Tensor) -> None:
        """Move the weights by the gradient of `loss`, averaged over the ranks, and their moving average after them."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.run.recipe.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.recipe.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model)

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

    def _metrics(self) -> dict[str, Any]:
        """The finished epoch's line: mean loss, accuracies, speed."""
        started = time.monotonic()
        metrics = {
            "epoch": self.position.epoch + 1,
            "step": self.step,
            "loss": self.loss / self.steps,
            "lr": self.lr,
        }
        self.world.share(self.scored.buffers())
        for name, data in self.val_sets.items():
            on = self.run.path if self.run.path in ("lt", "rc") else "dense"
            config = eval_config(self.run, data, rank=self.world.rank, num_ranks=self.world.size)
            correct = accuracy(
                self.scored, config, [on], self.world.device, self.options.workers, self.autocast, self._between_batches
            )
            hits, seen = self.world.sum(*correct[on])
            metrics[f"{name}_top1"] = 100 * hits / seen
        metrics["images_per_s"] = self.run.recipe.batch_size * self.steps / self.seconds
        metrics["seconds"] = self.seconds + time.monotonic() - started
        if self.skipped:
            metrics["skipped"] = self.skipped
        return metrics

    def _between_batches(self) -> None:
        """Signals during an evaluation, which has no state of its own: it is done again after a restart."""
        if self.interrupts.stop is not None or self.interrupts.save:
            self.save()
        if self.interrupts.stop is not None:
            self._give_up(self._stopped())

    def _give_up(self, message: str) -> None:
        """Leave; one rank says why."""
        raise WorkFailed(message) if self.world.is_main else SystemExit(1)

    def _stopped(self) -> str:
        by = self.interrupts.stop or "a signal to another rank"
        return (
            f"stopped by {by} in epoch {self.position.epoch + 1}, step {self.position.step} of {self.steps}; "
            f"{self.run.root} is saved, --resume goes on"
        )

    def result(self) -> str:
        """The last epoch's accuracy on val, for the user to read; empty where there is none."""
        return "" if self.val_top1 is None else f", {self.val_top1:.2f}% top-1 on val"

    def save(self) -> None:
        """Write `last.pt`, on the main rank."""
        self.saved_at, self.interrupts.save = time.monotonic(), False
        if not self.world.is_main:
            return
        state = {
            "model": self.model.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "position": checkpoint.pack_position(self.position),
            "loss": self.loss,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "best": self.best,
        }
        checkpoint.save(self.run.place(LAST), state)

    def restore(self) -> None:
        """Go to where `last.pt` is, whatever number of ranks and workers wrote it."""
        state = checkpoint.load(self.run.place(LAST))
        self.model.network.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.network.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = checkpoint.unpack_position(state["position"])
        self.loss, self.seconds = state["loss"], state["seconds"]
        self.skipped, self.best = state["skipped"], state["best"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of what the model draws (drop path, dropout) in one step on one rank."""
    digest = hashlib.blake2b(f"step:{seed}:{step}:{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
