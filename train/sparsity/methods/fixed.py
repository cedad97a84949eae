"""Masks that training does not change: those of a weight ticket, or random ones."""

from typing import Any

from vit_tickets.train.runtime.hooks import EpochState
from vit_tickets.train.sparsity.methods.masked import Masked


class Fixed(Masked):
    """Trains the weights that the masks leave. With `RandomMasks` it is the control of methods that change theirs."""

    name = "fixed_masks"

    def after_epoch(self, epoch: EpochState) -> dict[str, float]:
        return {"weight_sparsity": self.masks.sparsity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError if the masks in `last.pt` are not those that the run was given."""
        given = self.masks.digest()
        super().load_state_dict(state)
        if self.masks.digest() != given:
            raise ValueError("expected the masks that the run was started with, found others")
