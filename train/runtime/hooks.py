"""The base class of hooks, which take part in training between two steps, and their arguments.

All ranks call the hooks of a run in the same order and equally often: in every step `before_step`, `after_gradients`
and `after_step`, and `after_epoch` once after the last step of an epoch. So a hook may communicate through
`StepState.world`. A resumed run continues from the state in `last.pt` with the same calls as a run that never
stopped: a hook keeps what it needs in `state_dict`, and draws random numbers from its own generators, seeded by seed
and step.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from vit_tickets.train.runtime.distributed import World


@dataclass
class StepState:
    """One step of training.

    Attributes:
        number: steps made before this one, since the start of the run.
        steps_per_epoch: steps of every epoch.
        model: the trained model; `model.network` is timm's, and has the weights and gradients.
        scored: the model that is evaluated and kept, such as a moving average; else `model`.
        optimizer: of the weights, with its moments.
        kept: patches that the step keeps of each image, on paths that drop any. `before_step` may change it.
        world: the ranks.
        losses: computes the losses of the parts of this rank's batch once more, one after the other, by `model`:
            scalars with a graph, which sum to the mean loss of its images, times the factor of a gradient scaler.
            Nothing is compiled or sent to other ranks, and no gradient is computed. Empty before the batch is read.
    """

    number: int
    steps_per_epoch: int
    model: nn.Module
    scored: nn.Module
    optimizer: Optimizer
    kept: int
    world: World
    losses: Callable[[], Iterable[Tensor]] = tuple


@dataclass(frozen=True)
class EpochState:
    """An epoch whose steps are made, before the model is evaluated.

    Attributes:
        epoch: number of the epoch, from 1.
        model: the trained model.
        scored: the model that is evaluated and kept.
        optimizer: of the weights, with its moments.
        world: the ranks.
    """

    epoch: int
    model: nn.Module
    scored: nn.Module
    optimizer: Optimizer
    world: World


class Hook:
    """Takes part in training. Every method is optional; those of this class do nothing.

    Attributes:
        name: key of the hook's state in `last.pt`.
    """

    name: ClassVar[str]

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Called once, when the model has its initial weights; before `load_state_dict` in a resumed run."""

    def before_step(self, step: StepState) -> None:
        """Called before the batch of the step is read.

        It is called again for the same step if that failed and the run is resumed, so let it change no state.
        """

    def after_gradients(self, step: StepState) -> None:
        """Called when the gradients in `.grad` are those of the whole step, before they are clipped.

        They are averaged over the ranks, so equal on all of them, contain all parts of `--grad-accum`, and are not
        scaled. With fp16 they may hold inf or nan; the step is then skipped.
        """

    def after_step(self, step: StepState) -> None:
        """Called when the optimizer has moved the weights."""

    def after_epoch(self, epoch: EpochState) -> dict[str, float]:
        """Called after the last step of an epoch, before the model is evaluated; returns values for metrics.jsonl."""
        return {}

    def scored(self) -> nn.Module | None:
        """A model to evaluate and keep instead of the trained one; None to leave that as it is."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """The hook's state, of tensors and plain values, for `last.pt`; empty if it has none."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
