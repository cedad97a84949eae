"""The hooks of a run, built from its recipe."""

from typing import Any

from timm.utils import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.loop.sparsifiers import sparsifiers_of
from vit_tickets.train.loop.token_choice import TokenChoice
from vit_tickets.train.recipes.schedule import kept_at
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.hooks import Hook, StepState


def hooks_of(run: Run) -> list[Hook]:
    """The hooks of `run`, in the order in which they are called. Another kind of hook is another line here."""
    recipe, hooks = run.recipe, sparsifiers_of(run)
    if recipe.keep_warmup is not None:
        hooks.append(KeepWarmup(recipe.keep_warmup, run.kept, run.grid**2))
    if recipe.finish_dense:
        hooks.append(FinishDense(recipe.epochs - recipe.finish_dense, run.grid**2))
    if PATHS[run.path].chooses_patches:
        hooks.append(TokenChoice(recipe.epochs))
    if recipe.ema:
        hooks.append(MovingAverage(recipe.ema))
    return hooks


class KeepWarmup(Hook):
    """Keeps more patches at the start of a run: see `schedule.kept_at`, whose arguments it has."""

    name = "keep_warmup"

    def __init__(self, keep_warmup: tuple[float, float], kept: int, num_patches: int):
        self.keep_warmup, self.kept, self.num_patches = keep_warmup, kept, num_patches

    def before_step(self, step: StepState) -> None:
        epochs = step.number / step.steps_per_epoch
        step.kept = kept_at(self.keep_warmup, self.kept, self.num_patches, epochs)


class FinishDense(Hook):
    """Keeps all patches from epoch `first` on, counted from 0 (Li et al. 2023, FLIP, section 3: unmasked tuning).

    num_patches: N.
    """

    name = "finish_dense"

    def __init__(self, first: int, num_patches: int):
        self.first, self.num_patches = first, num_patches

    def before_step(self, step: StepState) -> None:
        if step.number >= self.first * step.steps_per_epoch:
            step.kept = self.num_patches


class MovingAverage(Hook):
    """Keeps an exponential moving average of the weights, which is evaluated and kept instead of them.

    decay: the share of the average that stays in each step.
    """

    name = "moving_average"

    def __init__(self, decay: float):
        self.decay = decay

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.average = ModelEmaV3(model, decay=self.decay)

    def after_step(self, step: StepState) -> None:
        self.average.update(step.model)

    def scored(self) -> nn.Module:
        return self.average.module

    def state_dict(self) -> dict[str, Any]:
        return self.average.module.network.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average.module.network.load_state_dict(state)
