"""The training loop: batches in, weights out. It can stop after any step and resume with the very next batch."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor

from vit_tickets.pipeline.manifests.folds import hash_word
from vit_tickets.pipeline.runs.config import BEST, FINAL, LAST
from vit_tickets.pipeline.runs.log import METRICS
from vit_tickets.pipeline.runs.parts import ImageMacs
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import WorkFailed, say
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.train.accounting.counting import StepMacs
from vit_tickets.train.accounting.per_image import image_macs
from vit_tickets.train.data.batches import TrainBatch
from vit_tickets.train.data.plan import Position
from vit_tickets.train.data.stream import train_batches
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.loop.inputs import Preparation, training_stream
from vit_tickets.train.loop.learner import Learner
from vit_tickets.train.loop.options import Options
from vit_tickets.train.loop.parts import check_parts, part_sizes
from vit_tickets.train.loop.run_hooks import hooks_of
from vit_tickets.train.loop.sparsifiers import check_steps, write_final_masks
from vit_tickets.train.loop.validation import Validation
from vit_tickets.train.models.saved import save_weights
from vit_tickets.train.recipes.schedule import learning_rate
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.agreement import Agreed, Attempt
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.runtime.hooks import EpochState, Hook, StepState
from vit_tickets.train.runtime.interrupts import Interrupts
from vit_tickets.train.runtime.log import RunLog
from vit_tickets.train.runtime.sums import Sums, forget_peak, peak_memory_mib
from vit_tickets.train.views.alignment import clumping


class Trainer:
    """One rank of a run. `position` says how far it is; `restore` takes it to where `last.pt` is.

    hooks: those of the run's recipe if None.
    """

    def __init__(self, run: Run, world: World, options: Options, hooks: Sequence[Hook] | None = None):
        self.run, self.world, self.options = run, world, options
        how = {"grad_accum": options.grad_accum, "channels_last": options.channels_last, "compile": options.compile}
        self.learner = Learner(run, world, hooks_of(run) if hooks is None else hooks, **how)
        self.stream = training_stream(run, world, options)
        check_parts(options.grad_accum, self.stream.batch_of_rank, bool(run.recipe.mix_token))
        self.steps = self.stream.plan.steps
        check_steps(self.learner.hooks, run.recipe.epochs * self.steps, run.config.first_epoch * self.steps)
        sees_part = PATHS[run.path].sees_part
        self.macs = StepMacs(self.learner.model, run.image_size, run.grid**2, sees_part, run.online)
        self.prepare = Preparation(run, world.device, self.learner.model.has_token_outputs)
        self.validation = Validation(run, world, self.learner.autocast, options)
        self.position, self.best = Position(run.config.first_epoch), -math.inf
        self.sums = Sums()  # over the steps of the unfinished epoch
        self.val_top1: float | None = None
        self.interrupts = Interrupts(second_sigint_aborts=world.size == 1)
        self.saved_at, self.saved_when = self.position, time.monotonic()

    @property
    def step(self) -> int:
        """Steps made since epoch 0, with those that a run from a later epoch leaves out."""
        return self.position.epoch * self.steps + self.position.step

    def fit(self) -> None:
        """Train to the last epoch, with metrics and `last.pt` after each, and `last.pt` in between; then write `final`.

        Raises WorkFailed if a loss is not finite, or after a signal asked to stop and `last.pt` is saved.
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
            RunLog(run.root, METRICS, self.step, run.config.first_epoch, enabled=is_main) as log,
        ):
            while self.position.epoch < run.recipe.epochs:
                self._keep_weights()
                self._train(batches, bar, log)
                if self.saved_at != self.position:
                    self.save()
                metrics = self._metrics()
                if is_main and metrics.get("holdout_top1", -math.inf) > self.best:
                    self.best = metrics["holdout_top1"]
                    save_weights(self.learner.scored, run.place(BEST))
                log.after_epoch(metrics)
                self.val_top1 = metrics.get("val_top1")
                self.position, self.sums = self.position.after_epoch(), Sums()
                self.save()
        if is_main:
            write_final_masks(run, self.learner.hooks, self.learner.scored)
            save_weights(self.learner.scored, run.place(FINAL))

    def _keep_weights(self) -> None:
        """Write the weights before the epoch's first step, the trained ones, where `--keep-epochs` asks for them."""
        epoch = self.position.epoch
        if self.world.is_main and not self.position.step and epoch in self.options.keep_epochs:
            save_weights(self.learner.model, self.run.place(epoch_weights(epoch)))

    def _train(self, batches: Iterator[TrainBatch], bar: Bar, log: RunLog) -> None:
        """Make the remaining steps of the epoch. The ranks agree on each: to take it, to save after it, to stop."""
        self.learner.train()
        forget_peak(self.world.device)
        while self.position.step < self.steps:
            began = time.monotonic()
            step = self.next_step()
            attempt = self._attempt(batches, step)
            due = time.monotonic() - self.saved_when >= 60 * self.options.checkpoint_minutes
            save = self.interrupts.save or (due and self.world.is_main)
            agreed = Agreed.on(attempt, self.world, self.interrupts.stop is not None, save)
            if attempt.loss is None or agreed.failed:
                self.save()
                self.world.wait()
                raise attempt.failure or SystemExit(1)
            self._take(attempt.loss, agreed, step)
            seconds, memory_mib = time.monotonic() - began, peak_memory_mib(self.world.device)
            spent = (seconds, agreed.waited, memory_mib, agreed.macs)
            self.sums.add(agreed.loss, agreed.clumping, int(agreed.skipped), *spent)
            log.after_step(self.step, loss=agreed.loss, lr=self.learner.lr)
            bar.update(self.run.recipe.batch_size)
            shown = {"loss": f"{agreed.loss:.3f}", "wait": f"{self.sums.data_wait:.0%}"}
            bar.set_postfix(epoch=self.position.epoch + 1, **shown, refresh=False)
            if agreed.save or agreed.stop:
                self.save()
            if agreed.stop:
                self._stop()

    def of_image(self) -> ImageMacs:
        """Multiply-adds of one image, for config.json."""
        run = self.run
        kept = None if PATHS[run.path].low_resolution or PATHS[run.path].prunes_tokens else run.kept
        return image_macs(self.learner.model, run.image_size, kept, run.manifest, run.config.split)

    def next_step(self) -> StepState:
        """The step after those that are made, at its learning rate, after all hooks' `before_step`."""
        learner = self.learner
        learner.lr = learning_rate(self.run.recipe, self.step, self.steps)
        step = StepState(
            self.step, self.steps, learner.model, learner.scored, learner.optimizer, self.run.kept, self.world
        )
        for hook in learner.hooks:
            hook.before_step(step)
        return step

    def _attempt(self, batches: Iterator[TrainBatch], step: StepState) -> Attempt:
        """Compute the loss of the next batch. Whatever fails is returned, as the other ranks must learn of it."""
        began = time.monotonic()
        try:
            batch = next(batches)
            waited = time.monotonic() - began
            loss, clumped = self.batch_loss(batch, step)
            value, clumped = torch.stack([loss.detach(), clumped]).tolist()
            return Attempt(loss, value, clumped, waited, batch.skipped, self._macs_of(batch, step))
        except Exception as error:
            return Attempt(failure=error)

    def _macs_of(self, batch: TrainBatch, step: StepState) -> float:
        """Multiply-adds of the step on this rank; nan if they cannot be counted, which is said once."""
        known = self.macs.fault is None
        parts = part_sizes(len(batch.label), self.options.grad_accum, bool(self.run.recipe.mix_token))
        macs = self.macs(parts, step.kept)
        if macs is not None:
            return macs
        if known and self.world.is_main:
            say(f"multiply-adds of {self.run.config.model} are not counted: {self.macs.fault}")
        return math.nan

    def batch_loss(self, batch: TrainBatch, step: StepState) -> tuple[Tensor, Tensor]:
        """The rank's loss on `batch`, and how clumped the dropped patches are (0 if none are); float32 scalars.

        Random draws are those of `step`. `Learner.update` takes the loss.
        """
        torch.manual_seed(step_seed(self.run.config.seed, step.number, self.world.rank))
        inputs = self.prepare(batch, step.number, self.world.rank, step.kept)
        step.losses = partial(self.learner.losses, inputs)
        loss = self.learner.loss(inputs)
        if inputs.kept_BK is None:
            return loss, torch.zeros_like(loss)
        return loss, clumping(inputs.kept_BK, self.run.grid)

    def _take(self, loss: Tensor, agreed: Agreed, step: StepState) -> None:
        """Move the weights by the gradient of `loss`, unless training diverged: then leave before they move."""
        try:
            if not math.isfinite(agreed.loss):
                raise FloatingPointError(f"the loss is {agreed.loss}")
            self.learner.update(loss, step)
        except FloatingPointError as error:
            place = f"epoch {self.position.epoch + 1}, step {self.position.step + 1} of {self.steps}"
            self._leave(f"{error} in {place}; {self.run.root} keeps its last checkpoint")
        self.position = self.position.after_step(self.world.size, self.stream.lanes)

    def _metrics(self) -> dict[str, Any]:
        """The line of the finished epoch in metrics.jsonl: mean loss, accuracies, speed, and what the hooks report."""
        began, learner = time.monotonic(), self.learner
        epoch = EpochState(self.position.epoch + 1, learner.model, learner.scored, learner.optimizer, self.world)
        reported = [hook.after_epoch(epoch) for hook in learner.hooks]
        metrics = {
            "epoch": epoch.epoch,
            "step": self.step,
            "loss": self.sums.loss / self.steps,
            "lr": self.learner.lr,
        }
        if PATHS[self.run.path].drops_patches:
            metrics["clumping"] = self.sums.clumping / self.steps
        scores = self.validation.top1(self.learner.scored, lambda: self.interrupts.stop is not None)
        if scores is None:  # `last.pt` was saved before; a resumed run scores again
            self._stop()
        metrics |= {f"{name}_top1": score for name, score in scores.items()}
        metrics |= {f"{name}_view": self.validation.view(name) for name in scores}
        metrics |= self.sums.speed(self.steps, self.run.recipe.batch_size)
        metrics["seconds"] = self.sums.seconds + time.monotonic() - began
        if self.sums.macs is not None:
            metrics["macs"] = self.sums.macs
        if self.sums.skipped:
            metrics["skipped"] = self.sums.skipped
        for values in reported:
            metrics |= values
        return metrics

    def _stop(self) -> NoReturn:
        """Leave after a signal, once `last.pt` is saved."""
        self.world.wait()
        by = self.interrupts.stop or "a signal to another rank"
        place = f"epoch {self.position.epoch + 1}, step {self.position.step} of {self.steps}"
        self._leave(f"stopped by {by} in {place}; {self.run.root} is saved, --resume continues")

    def _leave(self, message: str) -> NoReturn:
        """End this rank. All ranks come here together, and the main one says why."""
        raise WorkFailed(message) if self.world.is_main else SystemExit(1)

    def result(self) -> str:
        """The last epoch's accuracy on val and the view that it is of, for the user to read; empty if there is none."""
        if self.val_top1 is None:
            return ""
        whose, view = self.validation.view("val").split(": ")
        shown = f"the manifest's view, {view}"
        if whose == "own":
            shown = f"its own view, {view}"
            if self.run.config.weights is None or self.run.path != "dense":  # which are compared as they are
                shown += "; `evaluate --tickets` scores it on a manifest's, to be compared"
        return f", {self.val_top1:.2f}% top-1 on val ({shown})"

    def save(self) -> None:
        """Write `last.pt`, on the main rank."""
        self.saved_at, self.saved_when, self.interrupts.save = self.position, time.monotonic(), False
        if not self.world.is_main:
            return
        state = self.learner.state_dict() | {
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
            self.learner.load_state_dict(state)
            self.position = checkpoint.unpack_position(state["position"])
            sums = state["sums"]
            if "macs" not in sums and self.position.step:  # an older file: those of the epoch's first steps are unknown
                sums["macs"] = None
            self.saved_at, self.sums = self.position, Sums(**sums)
            self.val_top1, self.best = state["val_top1"], state["best"]


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of what the model draws (drop path, dropout) in one step on one rank."""
    return hash_word(f"step:{seed}:{step}:{rank}") >> 1
