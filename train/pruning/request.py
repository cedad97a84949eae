"""How weights are pruned: the options of `prune`."""

import re
from dataclasses import dataclass
from typing import Any

import click

from vit_tickets.pipeline.runs.config import CONFIG
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option
from vit_tickets.pipeline.weights.choices import OF_UNITS, SPARSITY
from vit_tickets.pipeline.weights.methods import ALLOCATIONS, SCOPES, UNITS
from vit_tickets.pipeline.weights.places import FINAL_MASKS, epoch_weights
from vit_tickets.pipeline.weights.record import KEPT, MAGNITUDE, PRUNED, RANDOM, TAYLOR, VOTE

ALIVE, SCOPE, NETWORK = "alive", "scope", "network"
LIKE = "like:"
SOUP_SPARSITIES = (0.3, 0.35, 0.4, 0.45, 0.5)
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


class Shares(click.ParamType):
    """Shares between 0 and 1; a list."""

    name = "shares"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            shares = tuple(float(word) for word in value.split(","))
        except ValueError:
            shares = ()
        if not shares or not all(0 < share < 1 for share in shares):
            self.fail(f"expected shares between 0 and 1, such as 0.3,0.5, found {value!r}", param, ctx)
        return shares


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
        type=SPARSITY,
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
    head_sparsity: float | None = option(
        f"With --criterion {UNITS}, instead: share of the heads of every layer to drop. What is left is rounded down.",
        default=None,
        type=OF_UNITS,
        metavar="S",
    )
    neuron_sparsity: float | None = option(
        "The same of the neurons of every MLP.", default=None, type=OF_UNITS, metavar="S"
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
        f"ranking is worth; {UNITS}: whole heads by their part in the loss of such images, whole neurons by the "
        "absolute values of their weights.",
        default=MAGNITUDE,
        choices=(MAGNITUDE, TAYLOR, RANDOM, UNITS),
        show_default=True,
        section="Which weights",
    )
    images: int | None = option(
        f"With --criterion taylor or {UNITS}: images, at even distances in the split.  [default: 4096]",
        default=None,
        type=COUNT,
    )
    seed: int | None = option("With --criterion random: of the draw.  [default: the run's]", default=None)
    soup: str | None = option(
        "Prune these runs instead, each to its share of --soup-sparsities, and merge their masks; a list. SOURCE is "
        "what the ticket is for, and what --top-up ranks.",
        default=None,
        metavar="RUN,...",
        section="Several runs",
    )
    soup_sparsities: tuple[float, ...] | None = option(
        "Shares to drop, of what --of names, one for each run of --soup.  "
        f"[default: {','.join(f'{share:g}' for share in SOUP_SPARSITIES)}]",
        default=None,
        type=Shares(),
        metavar="S,...",
    )
    merge: str | None = option(
        "A weight stays if one of the runs keeps it (kept: the union of what is kept), if all do (pruned: the union of "
        "what is pruned), or if at least half do (vote).  [default: kept]",
        default=None,
        choices=(KEPT, PRUNED, VOTE),
    )
    top_up: float | None = option(
        "Then drop the smallest weights of SOURCE until this share of the scope is dropped.",
        default=None,
        type=SPARSITY,
        metavar="S",
    )
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

    @property
    def soup_runs(self) -> tuple[str, ...]:
        """The runs whose masks are merged; none for an ordinary ticket."""
        return tuple(filter(None, (run.strip() for run in (self.soup or "").split(","))))

    @property
    def shares(self) -> tuple[float, ...]:
        """What each of them drops."""
        return self.soup_sparsities or SOUP_SPARSITIES

    def check(self) -> None:
        """Raise UserError for options that do not go together."""
        self._check_soup()
        if self.soup is not None:
            return
        self._check_units()
        if self.criterion == UNITS:
            return
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

    def _check_units(self) -> None:
        shares = {"head-sparsity": self.head_sparsity, "neuron-sparsity": self.neuron_sparsity}
        if self.criterion != UNITS:
            if name := next((name for name, value in shares.items() if value is not None), None):
                raise UserError(f"--{name}: expected --criterion {UNITS}, found {self.criterion}")
            return
        others = {
            "--weight-sparsity": self.weight_sparsity is not None,
            f"--of {self.of}": self.of != ALIVE,
            "--prune-scope": self.prune_scope is not None,
            f"--allocation {self.allocation}": self.allocation != ALLOCATIONS[0],
            "--pattern": self.pattern is not None,
            "--seed": self.seed is not None,
        }
        if other := next((name for name, given in others.items() if given), None):
            raise UserError(f"--criterion {UNITS}: expected --head-sparsity and --neuron-sparsity, found {other}")
        if not self.head_sparsity and not self.neuron_sparsity:
            raise UserError(
                f"--criterion {UNITS}: expected --head-sparsity or --neuron-sparsity above 0, found neither"
            )

    def _check_soup(self) -> None:
        given = {"soup-sparsities": self.soup_sparsities, "merge": self.merge, "top-up": self.top_up}
        if self.soup is None:
            if name := next((name for name, value in given.items() if value is not None), None):
                raise UserError(f"--{name}: expected --soup, the runs whose masks are merged, found none")
            return
        if len(self.soup_runs) < 2:
            raise UserError(f"--soup: expected two runs or more, separated by commas, found {self.soup!r}")
        if twice := next((run for run in self.soup_runs if self.soup_runs.count(run) > 1), None):
            raise UserError(f"--soup: expected every run once, found {twice} twice")
        if len(self.shares) != len(self.soup_runs):
            expected = f"a share for each of the {len(self.soup_runs)} runs"
            raise UserError(f"--soup-sparsities: expected {expected}, found {len(self.shares)}")
        others = {"weight-sparsity": self.weight_sparsity, "pattern": self.pattern, "images": self.images}
        others |= {"head-sparsity": self.head_sparsity, "neuron-sparsity": self.neuron_sparsity}
        if name := next((name for name, value in (others | {"seed": self.seed}).items() if value is not None), None):
            raise UserError(f"--{name}: expected no --soup beside it, whose runs have --soup-sparsities, found one")
        if self.like is not None or (self.top_up and self.allocation != ALLOCATIONS[0]):
            why = " with --top-up" if self.like is None else " with --soup"
            raise UserError(f"--allocation {self.allocation}: expected {ALLOCATIONS[0]}{why}, found another")
        if self.criterion != MAGNITUDE:
            raise UserError(f"--criterion {self.criterion}: expected {MAGNITUDE} with --soup, found another")

    def check_out(self) -> None:
        """Raise UserError for a folder that a run lives in, or keeps its own masks in."""
        out = self.out and files.absolute(self.out).rstrip("/")
        if out and files.exists(files.join(out, CONFIG)):
            raise UserError(f"--out {self.out}: expected a folder of the ticket's own, found that of a run")
        if out and files.name_of(out) == FINAL_MASKS and files.exists(files.join(out.rpartition("/")[0], CONFIG)):
            raise UserError(
                f"--out {self.out}: expected another folder, as a run keeps the masks there that it was trained with"
            )

    def check_source(self, is_run: bool, source: str) -> None:
        """Raise UserError for options that a run, or a file of weights, has no use for."""
        if is_run and self.model is not None:
            raise UserError(f"--model: expected a file of weights, found the run {source}, which has its own model")
        if is_run and self.weights_key is not None:
            raise UserError(f"--weights-key: expected a file of weights, found the run {source}")
        if not is_run and self.model is None:
            raise UserError(f"expected the folder of a run, or --model for a file of weights, found {source}")
        if not is_run and self.criterion in (TAYLOR, UNITS):
            raise UserError(
                f"--criterion {self.criterion}: expected a run, whose images give gradients, found {source}"
            )
        if not is_run and self.rewind not in (None, NONE):
            raise UserError(f"--rewind {self.rewind}: expected a run that kept weights of its epochs, found {source}")
