"""How weights are pruned: the options of `prune`."""

import re
from dataclasses import dataclass
from typing import Any

import click

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option
from vit_tickets.pipeline.weights.methods import ALLOCATIONS, SCOPES
from vit_tickets.pipeline.weights.places import epoch_weights
from vit_tickets.pipeline.weights.record import MAGNITUDE, RANDOM, TAYLOR

ALIVE, SCOPE, NETWORK = "alive", "scope", "network"
LIKE = "like:"
NONE = "none"  # of --rewind: no weights to start from


class Allocation(click.ParamType):
    """global, uniform, erk or like:TICKET."""

    name = "allocation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in ALLOCATIONS or (value.startswith(LIKE) and value != LIKE):
            return value
        return self.fail(f"expected {', '.join(ALLOCATIONS)} or {LIKE}TICKET, found {value!r}", param, ctx)


class PatternType(click.ParamType):
    """N:M."""

    name = "n:m"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        found = re.fullmatch(r"([0-9]{1,3}):([0-9]{1,3})", value)
        if found is None or not 0 < int(found[1]) < int(found[2]):
            self.fail(f"expected a pattern such as 2:4, found {value!r}", param, ctx)
        return f"{int(found[1])}:{int(found[2])}"


class Rewind(click.ParamType):
    """An epoch counted from 0, or none."""

    name = "epoch"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == NONE or (value.isascii() and value.isdecimal()):
            return value if value == NONE else str(int(value))
        return self.fail(f"expected an epoch from 0 on, or {NONE}, found {value!r}", param, ctx)


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """The options of `prune`. Each field is documented by the help of its option."""

    weight_sparsity: float | None = option(
        "Share of the weights to drop, of those that --of names.",
        default=None,
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="S",
        section="How many weights",
    )
    of: str = option(
        "What the share is of. alive: the weights that are alive, rounded up, as in a round of iterative pruning; "
        "scope: all weights of --prune-scope; network: all parameters. A dense run's are all alive.",
        default=ALIVE,
        choices=(ALIVE, SCOPE, NETWORK),
        show_default=True,
    )
    prune_scope: str | None = option(
        "Which weights may be dropped; never biases, norms, tokens and positions. msa and mlp: of a transformer's "
        "blocks; blocks: both; all: also patch embedding and head; conv: all convolutions but the first, conv+stem: "
        "all.  [default: that of the run's own masks; else blocks, of convolutional networks conv]",
        default=None,
        choices=SCOPES,
    )
    allocation: str = option(
        "How many weights each layer keeps. global: one threshold for all; uniform: the same share; erk: more of small "
        f"layers (Erdős-Rényi-Kernel); {LIKE}TICKET: as many as that ticket, without --weight-sparsity.",
        default=ALLOCATIONS[0],
        type=Allocation(),
        metavar="RULE",
        show_default=True,
    )
    pattern: str | None = option(
        "In place of --weight-sparsity and --allocation: of every M inputs in a row of a linear layer, N stay. 2:4 is "
        "what GPUs with sparse tensor cores multiply faster.",
        default=None,
        type=PatternType(),
        metavar="N:M",
    )
    criterion: str = option(
        "The lowest are dropped. magnitude: absolute values; taylor: absolute values of weight times gradient, the "
        "latter averaged over images that are trained on; random: drawn by --seed, the control that tells what the "
        "ranking is worth.",
        default=MAGNITUDE,
        choices=(MAGNITUDE, TAYLOR, RANDOM),
        show_default=True,
        section="Which weights",
    )
    images: int | None = option(
        "With --criterion taylor: images, at even distances in the split.  [default: 4096]",
        default=None,
        type=COUNT,
    )
    seed: int | None = option("With --criterion random: of the draw.  [default: the run's]", default=None)
    rewind: str | None = option(
        "The weights that training starts from: those of the run SOURCE before epoch K, counted from 0, as `train "
        f"--keep-epochs` kept them ({epoch_weights(5)}); or {NONE}.  [default: those that the run itself started from, "
        "if they are of its ticket; else none, and `train` takes --init]",
        default=None,
        type=Rewind(),
        metavar="K",
        section="Where training starts",
    )
    model: str | None = option(
        "Where SOURCE is no run: the model.", default=None, section="Where it comes from and goes"
    )
    weights_key: str | None = option(
        "Of a file with several sets of weights the one to take, such as model_ema.", default=None, metavar="NAME"
    )
    out: str | None = option("Folder of the ticket.  [default: masks/<run>-w<S>]", default=None)

    @property
    def like(self) -> str | None:
        """The ticket whose counts are those of the layers."""
        return self.allocation.removeprefix(LIKE) if self.allocation.startswith(LIKE) else None

    def check(self) -> None:
        """Raise UserError for options that do not go together."""
        if self.pattern is not None:
            given = self.weight_sparsity is not None and f"--weight-sparsity {self.weight_sparsity:g}"
            given = given or (self.allocation != ALLOCATIONS[0] and f"--allocation {self.allocation}")
            if given:
                raise UserError(f"--pattern {self.pattern}: expected no other number of weights, found {given}")
        elif (self.weight_sparsity is None) == (self.like is None):
            found = "neither" if self.like is None else "both"
            raise UserError(f"expected --weight-sparsity, or --allocation {LIKE}TICKET, which has one; found {found}")
        for name, value, criterion in (("images", self.images, TAYLOR), ("seed", self.seed, RANDOM)):
            if value is not None and self.criterion != criterion:
                raise UserError(f"--{name} {value}: expected --criterion {criterion}, found {self.criterion}")

    def check_source(self, is_run: bool, source: str) -> None:
        """Raise UserError for options that a run, or a file of weights, has no use for."""
        if is_run and self.model is not None:
            raise UserError(f"--model: expected a file of weights, found the run {source}, which has its own model")
        if is_run and self.weights_key is not None:
            raise UserError(f"--weights-key: expected a file of weights, found the run {source}")
        if not is_run and self.model is None:
            raise UserError(f"expected the folder of a run, or --model for a file of weights, found {source}")
        if not is_run and self.criterion == TAYLOR:
            raise UserError(f"--criterion {TAYLOR}: expected a run, whose images give gradients, found {source}")
        if not is_run and self.rewind not in (None, NONE):
            raise UserError(f"--rewind {self.rewind}: expected a run that kept weights of its epochs, found {source}")
