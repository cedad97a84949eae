"""What the hooks of all methods have in common: masks that hold from the first step on, in every rank."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.runtime.hooks import EpochState, Hook, StepState
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.masks import Masks


def network_of(model: nn.Module) -> nn.Module:
    """timm's network in one of the loop's models."""
    return cast("nn.Module", model.network)


class Masked(Hook):
    """Keeps the weights masked; a method overrides `change`.

    It is the first hook of a run: a moving average is then made of masked weights, and the norm by which gradients are
    clipped is that of living weights.

    Args:
        initial: the first masks: bool by name of the parameter, or those to draw when the network is built.

    Attributes:
        masks: those in force, from `start` on.
    """

    def __init__(self, initial: Mapping[str, Tensor] | RandomMasks):
        self.initial = initial
        self.pending = False  # a change that waits for finite gradients
        self.changed = 0  # weights grown or dropped in the unfinished epoch
        self.agreed = False  # whether the ranks were seen to have equal masks

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        network = network_of(model)
        self.masks = Masks(network, self.initial.of(network) if isinstance(self.initial, RandomMasks) else self.initial)
        self.masks.mask_weights()

    def after_gradients(self, step: StepState) -> None:
        self.pending = self.pending or self.due(step)
        if self.pending and all(p.grad is None or p.grad.isfinite().all() for p in step.model.parameters()):
            changed = self.change(step)
            if changed is not None:
                self.changed += changed
                self.pending = self.agreed = False
        if not self.agreed:
            self.agreed = step.world.agrees(self.masks.digest())
            if not self.agreed:
                raise WorkFailed(f"expected equal masks on all ranks in step {step.number + 1}, found others")
        self.masks.mask_gradients()

    def due(self, step: StepState) -> bool:
        """Whether the masks are to change in this step."""
        return False

    def change(self, step: StepState) -> int | None:
        """Change the masks by the weights, and the gradients of all weights in `.grad`, which are finite.

        Returns how many weights were grown or dropped; None to be asked again in the next step.
        """
        return 0

    def after_epoch(self, epoch: EpochState) -> dict[str, float]:
        changed, self.changed = self.changed, 0
        return {"weight_sparsity": self.masks.sparsity, "weights_changed": changed}

    def state_dict(self) -> dict[str, Any]:
        return {"masks": self.masks.packed(), "pending": self.pending, "changed": self.changed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.masks.load_packed(state["masks"])
        self.pending, self.changed = state["pending"], state["changed"]
