"""Path `learned` in training: the temperature of its choice of patches, and what it chose."""

from typing import Any, cast

from torch import nn
from torch.optim import Optimizer

from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.recipes.schedule import tau_at
from vit_tickets.train.runtime.hooks import EpochState, Hook, StepState


class TokenChoice(Hook):
    """Sets the temperature of every step, and reports of every epoch which places were chosen.

    epochs: of the run.
    """

    name = "token_choice"

    def __init__(self, epochs: int):
        self.epochs = epochs

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.times_kept: list[float] = [0] * cast("LearnedViT", model).times_kept_N.numel()
        self.alike: float = 0

    def before_step(self, step: StepState) -> None:
        model = cast("LearnedViT", step.model)
        model.tau.fill_(tau_at(step.number, step.steps_per_epoch * self.epochs))
        model.times_kept_N.zero_()
        model.kept_alike.zero_()

    def after_step(self, step: StepState) -> None:
        model = cast("LearnedViT", step.model)
        *kept, alike = step.world.sum(*model.times_kept_N.tolist(), int(model.kept_alike))
        self.times_kept = [before + now for before, now in zip(self.times_kept, kept, strict=True)]
        self.alike += alike

    def after_epoch(self, epoch: EpochState) -> dict[str, float]:
        """Over the epoch and all ranks, `ever_kept`: share of the N places that were kept for at least one image; and
        `kept_without_noise`: share of the kept patches that the scores alone would keep, too."""
        kept = sum(self.times_kept)
        found = {
            "ever_kept": sum(times > 0 for times in self.times_kept) / len(self.times_kept),
            "kept_without_noise": self.alike / kept if kept else 0.0,
        }
        self.times_kept, self.alike = [0] * len(self.times_kept), 0
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"times_kept": self.times_kept, "alike": self.alike}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.times_kept, self.alike = list(state["times_kept"]), state["alike"]
