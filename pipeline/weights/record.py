"""Entry `weights` of config.json: which weights of a run are masked, by what, and from where training begins."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import fields_fault, is_count
from vit_tickets.pipeline.weights.methods import UNITS

FIXED = "fixed"  # masks of a weight ticket, which training does not change
DENSE = "dense"  # no masks: a run that goes on at a later epoch
SMALL_DENSE = "small-dense"  # no masks: a network of fewer blocks
SOUP = "soup"
KEPT, PRUNED, VOTE = "kept", "pruned", "vote"  # how masks are merged
TICKET, INIT, REINIT = "ticket", "init", "reinit"
MASKED = "masked"  # put on trained weights, which are tested as they are then
FOUND_ON = "found-on-"  # part of a row's name
MAGNITUDE, TAYLOR, RANDOM = "magnitude", "taylor", "random"
_OWN_WEIGHTS = {
    MAGNITUDE: "omp",
    TAYLOR: "tp",
    UNITS: "ssp",
}  # rows of runs that go on from the weights that were pruned


@dataclass(frozen=True, kw_only=True)
class SparseWeights:
    """The masked weights of a run. None stands for what a method has no use for."""

    #: `fixed` for the masks of a ticket, `dense` or `small-dense` for none, else a name of `--weight-method`.
    method: str
    #: Blocks of the network, where they are fewer than the model's own.
    depth: int | None = None
    #: Name of the set of parameters that are masked.
    scope: str | None = None
    #: How many weights each of them keeps: global, uniform, erk or like.
    allocation: str | None = None
    #: Dropped share of their weights at the end of training.
    sparsity: float | None = None
    #: Dropped share of all parameters of the network at the end of training.
    of_network: float | None = None
    #: Weights of the scope that are alive at the end of training.
    alive: int | None = None
    #: Weights of the scope.
    size: int | None = None
    #: Parameters of the whole network.
    parameters: int | None = None
    #: Steps between two swaps of weights; None for the default.
    update_every: int | None = None
    #: Dropped share of the attention heads, and of the neurons of MLPs.
    head_sparsity: float | None = None
    neuron_sparsity: float | None = None
    #: What the number of living neurons of a layer was rounded up to; None for 1.
    unit_multiple: int | None = None
    #: Where a run with a ticket begins: `ticket`, the ticket's own weights; `init`, those of --init; `reinit`, others;
    #: `masked` for trained weights that were tested with masks put on.
    start: str | None = None
    #: Epoch, counted from 0, at which training begins: that of the ticket's weights.
    start_epoch: int = 0
    #: Folder of the ticket.
    masks_dir: str | None = None
    #: SHA-256 of its masks.
    masks_sha256: str | None = None
    #: SHA-256 of the weights that it begins with; None where they are not the ticket's.
    rewind_sha256: str | None = None
    #: Epoch of the ticket's weights, whether or not the run begins with them.
    rewind_epoch: int | None = None
    #: What ranked the ticket's weights: magnitude, taylor, random ...
    criterion: str | None = None
    #: How many times in a row weights were pruned for it.
    rounds: int | None = None
    #: How the masks of several runs were merged into the ticket's: kept, pruned or vote.
    merge: str | None = None
    #: What the ticket was found on, `dense` or as `lt-s0.75`, where the run is trained on other patches.
    found_on: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "SparseWeights":
        """What the entry holds, without entries that this version does not know; raises UserError for wrong types."""
        if fault := fields_fault(dict(record), _KINDS, ("method",)):
            raise UserError(f"weights.{fault}")
        own = {each.name: record[each.name] for each in fields(cls) if record.get(each.name) is not None}
        if wrong := next((name for name in _COUNTS if name in own and not is_count(own[name])), None):
            raise UserError(f"weights.{wrong}: expected a count, found {own[wrong]}")
        if wrong := next((name for name in _SHARES if name in own and not 0 <= own[name] <= 1), None):
            raise UserError(f"weights.{wrong}: expected a share in [0, 1], found {own[wrong]}")
        return cls(**own)

    def record(self) -> dict[str, Any]:
        """The JSON value, without entries that say nothing."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def has_masks(self) -> bool:
        """Whether weights are held at zero."""
        return self.method not in (DENSE, SMALL_DENSE)

    @property
    def whole(self) -> int | None:
        """Parameters of the network with all its blocks and weights; None where it was not recorded."""
        return None if self.depth and self.has_masks else self.parameters

    @property
    def identity(self) -> dict[str, Any]:
        """What sets the run apart from others: all but the place of the ticket, and where it was found."""
        return {name: value for name, value in self.record().items() if name not in ("masks_dir", "found_on")}

    @property
    def row(self) -> str:
        """The row of a report, without the sparsity.

        A method's own name; `dense:start5` without masks from epoch 5; or of fixed masks: `imp` (the ticket's weights),
        `imp:rewind5` (of epoch 5), `imp:reinit`, `imp:rewind5:reinit` (its mask on other weights), `imp:shuffled` (as
        many per layer, drawn at random), `imp:found-on-dense` where the ticket was found on other patches than the
        run's; `omp` and `tp` go on from the weights that were pruned, by magnitude or Taylor score, `soup:kept` under
        masks that were merged. `small-dense` has fewer blocks and no masks; of fewer blocks with masks it is
        `gmp:depth8`. With `:masked` at the end they are tested as they are.
        """
        fewer = f":depth{self.depth}" if self.depth and self.method != SMALL_DENSE else ""
        return f"{self._of_method}{fewer}"

    @property
    def _of_method(self) -> str:
        if self.method == DENSE or (self.method == SMALL_DENSE and self.start_epoch):
            return f"{self.method}:start{self.start_epoch}"
        if self.method != FIXED:
            return self.method
        criterion = self.criterion or MAGNITUDE
        if self.merge is not None and self.start in (INIT, MASKED):
            return ":".join((SOUP, self.merge, *((MASKED,) if self.start == MASKED else ())))
        if self.start == MASKED:
            return f"{_OWN_WEIGHTS.get(criterion, f'omp:{criterion}')}:{MASKED}"
        if self.start == INIT and not self.start_epoch:
            return _OWN_WEIGHTS.get(criterion, f"omp:{criterion}")
        parts = ["imp"]
        if epoch := self.start_epoch or self.rewind_epoch:
            parts.append(f"rewind{epoch}")
        if criterion != MAGNITUDE:
            parts.append("shuffled" if criterion == RANDOM else criterion)
        if self.merge is not None:
            parts.append(f"{SOUP}-{self.merge}")
        if self.found_on is not None:
            parts.append(f"{FOUND_ON}{self.found_on.replace(':', '-')}")
        if self.start == REINIT:
            parts.append(REINIT)
        return ":".join(parts)

    @property
    def variant(self) -> str:
        """What the folder of the run is named after: `w0.832-imp-rewind5`."""
        if not self.has_masks:
            fewer = [f"depth{self.depth}"] if self.depth else []
            return "-".join([*fewer, *([f"start{self.start_epoch}"] if self.start_epoch else [])])
        shares = [self.sparsity] if self.sparsity is not None else [self.head_sparsity, self.neuron_sparsity]
        shown = "-".join(f"{share:.4g}" for share in shares if share is not None)
        return f"w{shown}-{self.row.replace(':', '-')}"


_KINDS: dict[str, type] = {
    **dict.fromkeys(("method", "scope", "allocation", "start", "masks_dir"), str),
    **dict.fromkeys(("masks_sha256", "rewind_sha256", "criterion", "merge", "found_on"), str),
    **dict.fromkeys(("sparsity", "of_network", "head_sparsity", "neuron_sparsity"), float),
}
_COUNTS = (
    *("depth", "alive", "size", "parameters", "update_every", "unit_multiple", "start_epoch", "rewind_epoch", "rounds"),
)
_SHARES = ("sparsity", "of_network", "head_sparsity", "neuron_sparsity")
