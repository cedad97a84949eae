"""The training loop: batches in, weights out; it can stop after any step and go on with the very next batch."""

import contextlib
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from vit_tickets.pipeline.manifests.folds import hash_word
from vit_tickets.pipeline.runs.config import BEST, FINAL, LAST
from vit_tickets.pipeline.runs.log import METRICS
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.data.plan import Position
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches
from vit_tickets.train.evaluation.predict import accuracy, eval_config, val_sets
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.loop.inputs import Inputs, Preparation
from vit_tickets.train.loop.losses import loss_of
from vit_tickets.train.loop.optim import build_optimizer, load_state, set_learning_rate
from vit_tickets.train.loop.parts import check_parts, parts_of
from vit_tickets.train.loop.schedule import kept_at, learning_rate
from vit_tickets.train.models.pruned import PrunedViT
from vit_tickets.train.runs.folder import save_weights
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.compiled import compiled
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.interrupts import Interrupts
from vit_tickets.train.runtime.log import RunLog
from vit_tickets.train.runtime.sums import Sums, forget_peak, peak_memory_mib
from vit_tickets.train.views.alignment import clumping
from vit_tickets.train.views.augment import Augment

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Options:
    """How a run is carried out, as opposed to what it is. checkpoint_minutes: 0 saves after every step. grad_accum:
    parts in which a step's batch is passed. channels_last: memory format of the network and its images. compile: the
    training pass."""

    workers: int
    skip_errors: bool = False
    max_pixels: int = 100_000_000
    checkpoint_minutes: float = 10.0
    progress: bool = True
    grad_accum: int = 1
    channels_last: bool = False
    compile: bool = False


class Trainer:
    """One rank of a run. `position` says how far it is; `restore` takes it to where `last.pt` is."""

    def __init__(self, run: Run, world: World, options: Options):
        self.run, self.world, self.options = run, world, options
        recipe = run.recipe
        self.layout = torch.channels_last if options.channels_last else torch.preserve_format
        self.model = run.build_model().to(world.device, memory_format=self.layout)
        if PATHS[run.path].prunes_tokens:
            self.model = PrunedViT(self.model.network, run.config["stages"], run.config["counts"])
        self.ema = ModelEmaV3(self.model, decay=recipe.ema) if recipe.ema else None
        self.parallel = world.parallel(self.model, run.image_size)
        if options.compile:
            self.parallel = compiled(self.parallel, world.device)
        self.optimizer = build_optimizer(self.model.network, recipe)
        self.autocast = DTYPES.get(run.precision)
        self.scaler = torch.amp.GradScaler(world.device.split(":")[0], enabled=run.precision == "fp16")
        self.data = SplitData(
            run.dataset,
            run.config["split"],
            run.manifest,
            holdout=None if run.left_out is None else (run.left_out, False),
            limit=run.config["limit"],
            labels=run.labels,
        )
        self.stream = TrainStreamConfig(
            data=self.data,
            path=run.path,
            augment=Augment(recipe, run.image_size, run.eval_view.mean),
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            seed=run.config["seed"],
            grid=run.grid,
            mask_seed=run.config["mask_seed"],
            rc=run.config["rc"],
            align=run.config["align"],
            repeats=recipe.repeats,
            views_per_decode=recipe.views_per_decode,
            max_pixels=options.max_pixels,
            skip_errors=options.skip_errors,
            rank=world.rank,
            num_ranks=world.size,
        ).with_workers(options.workers)
        check_parts(options.grad_accum, self.stream.batch_of_rank, bool(recipe.mix_token))
        self.steps = self.stream.plan.steps
        self.prepare = Preparation(run, world.device, self.model.has_token_outputs)
        self.val_sets = val_sets(run)
        self.position, self.best = Position(), -math.inf
        self.sums = Sums()  # over the steps of the unfinished epoch
        self.val_top1: float | None = None
        self.interrupts = Interrupts(second_sigint_aborts=world.size == 1)
        self.saved_at, self.saved_when = Position(), time.monotonic()

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
        stream, is_main = replace(self.stream, start=self.position), self.world.is_main
        pinned = self.world.device.startswith("cuda")
        with (
            self.interrupts,  # first: the log alone takes seconds to open
            contextlib.closing(train_batches(stream, self.options.workers, pin_memory=pinned)) as batches,
            Bar(
                total=batch_size * self.steps * run.recipe.epochs,
                initial=batch_size * self.step,
                desc=run.path,
                unit="img",
                disable=not (self.options.progress and is_main),
            ) as bar,
            RunLog(run.root, METRICS, self.step, enabled=is_main) as log,
        ):
            while self.position.epoch < run.recipe.epochs:
                self._train(batches, bar, log)
                if self.saved_at != self.position:
                    self.save()
                metrics = self._metrics()
                if self.world.is_main and metrics.get("holdout_top1", -math.inf) > self.best:
                    self.best = metrics["holdout_top1"]
                    save_weights(self.scored, run.place(BEST))
                log.after_epoch(metrics)
                self.val_top1 = metrics.get("val_top1")
                self.position, self.sums = self.position.after_epoch(), Sums()
                self.save()
        if self.world.is_main:
            save_weights(self.scored, run.place(FINAL))

    def _train(self, batches, bar: Bar, log: RunLog) -> None:
        """The remaining steps of the epoch. All ranks agree on each: whether to take it, to save after it, to stop."""
        self.parallel.train(not PATHS[self.run.path].prunes_tokens)  # as the authors fine-tune theirs
        forget_peak(self.world.device)
        while self.position.step < self.steps:
            started = time.monotonic()
            failure, loss, measured, skipped, waited = None, None, (0.0, 0.0), 0, 0.0
            try:
                batch = next(batches)
                waited = time.monotonic() - started
                loss, clumped = self.batch_loss(batch)
                measured, skipped = torch.stack([loss.detach(), clumped]).tolist(), batch["skipped"]
            except Exception as error:
                failure = error
            due = time.monotonic() - self.saved_when >= 60 * self.options.checkpoint_minutes
            mean_loss, clumped, waited, failed, skipped, stop, save = self.world.sum(
                *(value / self.world.size for value in (*measured, waited)),
                failure is not None,
                skipped,
                self.interrupts.stop is not None,
                self.interrupts.save or (due and self.world.is_main),
            )
            if failed:
                self.save()
                self.world.wait()
                raise failure or SystemExit(1)
            if not math.isfinite(mean_loss):
                self._diverged("loss", mean_loss)
            self.update(loss)
            self.position = self.position.after_step(self.world.size, self.stream.lanes)
            seconds, memory_mib = time.monotonic() - started, peak_memory_mib(self.world.device)
            self.sums.add(mean_loss, clumped, int(skipped), seconds, waited, memory_mib)
            log.after_step(self.step, loss=mean_loss, lr=self.lr)
            bar.update(self.run.recipe.batch_size)
            shown = {"loss": f"{mean_loss:.3f}", "wait": f"{self.sums.data_wait:.0%}"}
            bar.set_postfix(epoch=self.position.epoch + 1, **shown, refresh=False)
            if save or stop:
                self.save()
            if stop:
                self._stop()

    def batch_loss(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The rank's loss on `batch`, at the learning rate and with the random draws of the current step, and how
        clumped the patches are that it drops (0 where it drops none).

        The gradient of all parts but the last is taken here, by this rank alone: a rank may fail in any of them before
        the others wait for it. `update` takes that of the last.
        """
        set_learning_rate(self.optimizer, learning_rate(self.run.recipe, self.step, self.steps))
        torch.manual_seed(step_seed(self.run.config["seed"], self.step, self.world.rank))
        kept = kept_at(self.run.recipe.keep_warmup, self.run.kept, self.run.grid**2, self.step / self.steps)
        inputs = self.prepare(batch, self.step, self.world.rank, kept)
        self.optimizer.zero_grad(set_to_none=True)
        *earlier, (last, share) = parts_of(inputs, self.options.grad_accum)
        loss = 0.0
        for part, its_share in earlier:
            with self.world.alone(self.parallel):
                of_part = its_share * self._loss(part)
                self.scaler.scale(of_part).backward()
            loss += of_part.detach()
        loss = loss + share * self._loss(last)
        if inputs.kept_BK is None:
            return loss, torch.zeros_like(loss)
        return loss, clumping(inputs.kept_BK, self.run.grid)

    def _loss(self, inputs: Inputs) -> Tensor:
        with torch.autocast(inputs.images.device.type, self.autocast, enabled=self.autocast is not None):
            more = {} if inputs.swapped_N is None else {"swapped_N": inputs.swapped_N}
            output = self.parallel(inputs.images.to(memory_format=self.layout), inputs.kept_BK, **more)
        return loss_of(output, inputs, self.run.recipe)

    def update(self, loss: Tensor) -> None:
        """Move the weights by the gradient of `loss`, averaged over the ranks, and their moving average after them.

        loss: as `batch_loss` returns it, with the gradients of its earlier parts taken.
        """
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.run.recipe.clip_grad or math.inf).item()
        if not (math.isfinite(norm) or self.scaler.is_enabled()):  # a scaler leaves such a step out by itself
            self._diverged("norm of the gradient", norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model)

    def _metrics(self) -> dict[str, Any]:
        """The finished epoch's line: mean loss, accuracies, speed."""
        started = time.monotonic()
        metrics = {
            "epoch": self.position.epoch + 1,
            "step": self.step,
            "loss": self.sums.loss / self.steps,
            "lr": self.lr,
        }
        if PATHS[self.run.path].drops_patches:
            metrics["clumping"] = self.sums.clumping / self.steps
        self.world.share(self.scored.buffers())
        for name, data in self.val_sets.items():
            on = self.run.path if PATHS[self.run.path].drops_patches and data.manifest is not None else "dense"
            config = eval_config(
                self.run, data, self.world.rank, self.world.size, max_pixels=self.options.max_pixels,
                skip_errors=self.options.skip_errors, hint="pass --skip-errors to go on",
            )  # fmt: skip
            correct = accuracy(
                self.scored, config, [on], self.world.device, self.options.workers, self.autocast,
                lambda: self.interrupts.stop is not None,
            )  # fmt: skip
            hits, seen, stop = self.world.sum(*correct[on], self.interrupts.stop is not None)
            if stop:  # `last.pt` was saved before; what was scored is scored again
                self._stop()
            metrics[f"{name}_top1"] = 100 * hits / seen
        metrics |= self.sums.speed(self.steps, self.run.recipe.batch_size)
        metrics["seconds"] = self.sums.seconds + time.monotonic() - started
        if self.sums.skipped:
            metrics["skipped"] = self.sums.skipped
        return metrics

    def _diverged(self, what: str, value: float) -> None:
        """Leave before the weights move. All ranks come here together, and one says why."""
        place = f"epoch {self.position.epoch + 1}, step {self.position.step + 1} of {self.steps}"
        message = f"the {what} is {value} in {place}; {self.run.root} keeps its last checkpoint"
        raise WorkFailed(message) if self.world.is_main else SystemExit(1)

    def _stop(self) -> None:
        """Leave after a signal, once `last.pt` is saved. All ranks come here together, and one says why."""
        self.world.wait()
        by = self.interrupts.stop or "a signal to another rank"
        place = f"epoch {self.position.epoch + 1}, step {self.position.step} of {self.steps}"
        message = f"stopped by {by} in {place}; {self.run.root} is saved, --resume goes on"
        raise WorkFailed(message) if self.world.is_main else SystemExit(1)

    def result(self) -> str:
        """The last epoch's accuracy on val, for the user to read; empty where there is none."""
        return "" if self.val_top1 is None else f", {self.val_top1:.2f}% top-1 on val"

    def save(self) -> None:
        """Write `last.pt`, on the main rank."""
        self.saved_at, self.saved_when, self.interrupts.save = self.position, time.monotonic(), False
        if not self.world.is_main:
            return
        state = {
            "model": self.model.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "position": checkpoint.pack_position(self.position),
            "sums": asdict(self.sums),
            "val_top1": self.val_top1,
            "best": self.best,
        }
        checkpoint.save(self.run.place(LAST), state)

    def restore(self) -> None:
        """Go to where `last.pt` is, whatever number of ranks and workers wrote it."""
        path = self.run.place(LAST)
        state = checkpoint.load(path)
        with checkpoint.restoring(path):
            self.model.network.load_state_dict(state["model"])
            if self.ema is not None:
                self.ema.module.network.load_state_dict(state["ema"])
            load_state(self.optimizer, state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.position = checkpoint.unpack_position(state["position"])
            self.saved_at, self.sums = self.position, Sums(**state["sums"])
            self.val_top1, self.best = state["val_top1"], state["best"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of what the model draws (drop path, dropout) in one step on one rank."""
    return hash_word(f"step:{seed}:{step}:{rank}") >> 1
