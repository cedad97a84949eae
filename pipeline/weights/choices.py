"""The options of `train` that make weights sparse; what they come to is the entry `weights` of config.json."""

import math
from dataclasses import dataclass
from typing import Any

import click

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option
from vit_tickets.pipeline.weights.methods import ALLOCATIONS, METHODS, SCOPES
from vit_tickets.pipeline.weights.places import epoch_of, epoch_weights
from vit_tickets.pipeline.weights.record import REINIT, TICKET


class Share(click.FloatRange):
    """A share, such as 0.2."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            share = super().convert(value, param, ctx)
        except click.BadParameter:
            share = math.nan
        return self.fail(f"expected a share such as 0.2, found {value}", param, ctx) if math.isnan(share) else share


SPARSITY = Share(0, 1, min_open=True, max_open=True)
OF_UNITS = Share(0, 1, max_open=True)


@dataclass(frozen=True, kw_only=True)
class WeightChoices:
    """What a user decides about masked weights. None where it was not given."""

    masks: str | None = option(
        "Train the weights that a weight ticket keeps, a folder that `prune` wrote, or RUN/masks; all others stay 0. "
        "It starts from the ticket's own weights, where it has some, and at their epoch; else from --init.",
        default=None,
        metavar="TICKET",
        section="Fewer weights",
    )
    start: str | None = option(
        "With --masks: start from the ticket's weights, or draw others (reinit): the control that tells what the "
        "ticket's weights are worth.  [default: ticket]",
        default=None,
        choices=(TICKET, REINIT),
    )
    start_epoch: int | None = option(
        f"Start at epoch K, counted from 0: learning rate, order, crops and draws go on as in the run that the weights "
        f"are of, the optimizer begins anew. With --masks it is the epoch of the ticket's weights; with --init "
        f"RUN/{epoch_weights(5)} it is 5.  [default: the ticket's, else 0]",
        default=None,
        type=click.IntRange(0),
        metavar="K",
    )
    weight_method: str | None = option(
        f"Choose the weights while training. {'; '.join(f'{name}: {each.meaning}' for name, each in METHODS.items())}.",
        default=None,
        choices=tuple(METHODS),
    )
    weight_sparsity: float | None = option(
        "With --weight-method: share of the weights of --prune-scope to drop.",
        default=None,
        type=SPARSITY,
        metavar="S",
    )
    prune_scope: str | None = option(
        "With --weight-method: which weights may be dropped; never biases, norms, tokens and positions. msa and mlp: "
        "of a transformer's blocks; blocks: both; all: also patch embedding and head; conv: all convolutions but the "
        "first, conv+stem: all.  [default: blocks, of convolutional networks conv]",
        default=None,
        choices=SCOPES,
    )
    allocation: str | None = option(
        "With --weight-method: how many weights each layer keeps. global: one threshold for all; uniform: the same "
        "share; erk: more of small layers (Erdős-Rényi-Kernel).  [default: global for gmp, else erk]",
        default=None,
        choices=ALLOCATIONS,
    )
    update_every: int | None = option(
        "With --weight-method svite or s2vite: steps between two swaps.  [default: a hundredth of the run's, for "
        "deit_tiny a 75th, for deit_base a 107th, as in the paper; 20 at least]",
        default=None,
        type=COUNT,
        metavar="STEPS",
    )
    head_sparsity: float | None = option(
        "With --weight-method s2vite: share of the heads of every layer to drop. What is left is rounded down: 0.3 "
        "leaves 2 of 3, 4 of 6, 8 of 12.",
        default=None,
        type=OF_UNITS,
        metavar="S",
    )
    neuron_sparsity: float | None = option(
        "With --weight-method s2vite: share of the neurons of every MLP to drop; what is left is rounded down.",
        default=None,
        type=OF_UNITS,
        metavar="S",
    )
    unit_multiple: int | None = option(
        "With --weight-method s2vite: round the neurons that are left up to a multiple, such as 8, which computes "
        "faster.  [default: 1]",
        default=None,
        type=COUNT,
        metavar="M",
    )
    depth: int | None = option(
        "A transformer of so many blocks, fewer than its own, as timm's depth= builds it: the small dense network that "
        "networks with fewer weights are compared with.  [default: the model's]",
        default=None,
        type=COUNT,
        metavar="D",
    )

    def check_weights(self, init: str | None) -> None:
        """Raise UserError for options that do not go together. init: that of the run."""
        if self.masks is not None and self.weight_method is not None:
            raise UserError(f"expected --masks or --weight-method, found both: {self.masks}, {self.weight_method}")
        if self.start is not None and self.masks is None:
            raise UserError(f"--start {self.start}: expected --masks, the ticket to start from, found none")
        if self.start == REINIT and init is not None:
            raise UserError(f"--start {REINIT}: expected no --init, as the weights are drawn anew, found {init}")
        if self.start == REINIT and self.start_epoch:
            raise UserError(
                f"--start {REINIT}: expected --start-epoch 0, as no epoch made them, found {self.start_epoch}"
            )
        if self.start_epoch and (self.masks is None or init is not None):
            self._check_epoch(self.start_epoch, init)
        self._check_method()

    def _check_epoch(self, epoch: int, init: str | None) -> None:
        if init is None or epoch_of(init) != epoch:
            expected = (
                f"weights of that epoch (--init RUN/{epoch_weights(epoch)}, or a ticket of --masks that has some)"
            )
            found = "none" if init is None else f"--init {init}"
            raise UserError(f"--start-epoch {epoch}: expected {expected}, found {found}")

    def _check_method(self) -> None:
        of_methods: dict[str, Any] = {
            "weight_sparsity": self.weight_sparsity,
            "prune_scope": self.prune_scope,
            "allocation": self.allocation,
            "update_every": self.update_every,
            "head_sparsity": self.head_sparsity,
            "neuron_sparsity": self.neuron_sparsity,
            "unit_multiple": self.unit_multiple,
        }
        given = {name: value for name, value in of_methods.items() if value is not None}
        if self.weight_method is None:
            if given:
                name, value = next(iter(given.items()))
                found = "none" if self.masks is None else f"--masks {self.masks}, which has its own"
                raise UserError(f"{_option(name)} {value}: expected --weight-method, found {found}")
            return
        method = METHODS.get(self.weight_method)
        if method is None:
            raise UserError(f"expected a method among {', '.join(METHODS)}, found {self.weight_method!r}")
        others = [name for name in given if name not in (*method.needs, *method.takes)]
        if missing := [_option(name) for name in method.needs if given.get(name) is None]:
            found = f"{_option(others[0])}, an option of {_takers(others[0])}" if others else "none"
            raise UserError(f"--weight-method {method.name}: expected {' and '.join(missing)}, found {found}")
        if others:
            takers = _takers(others[0])
            raise UserError(f"{_option(others[0])}: expected --weight-method {takers}, found {method.name}")
        if self.weight_sparsity is not None and not 0 < self.weight_sparsity < 1:
            raise UserError(f"--weight-sparsity: expected a share between 0 and 1, found {self.weight_sparsity:g}")
        if self.allocation is not None and self.allocation not in method.allocations:
            expected = " or ".join(method.allocations) or "none"
            raise UserError(
                f"--allocation: expected {expected} with --weight-method {method.name}, found {self.allocation}"
            )
        for name in ("head_sparsity", "neuron_sparsity"):
            if (share := given.get(name)) is not None and not 0 <= share < 1:
                raise UserError(f"{_option(name)}: expected a share from 0 to below 1, found {share:g}")
        if self.head_sparsity == self.neuron_sparsity == 0:
            raise UserError("--head-sparsity, --neuron-sparsity: expected one of them above 0, found 0 and 0")


def _takers(name: str) -> str:
    """The methods that have a use for an option."""
    return " or ".join(each.name for each in METHODS.values() if name in (*each.needs, *each.takes))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
