"""Weight tickets: which weights of a network are alive, as a folder of files that need PyTorch no more than we do.

WEIGHT_TICKET/masks.safetensors   a bool tensor for each masked parameter, with its own name and shape: True is alive
WEIGHT_TICKET/rewind.safetensors  optional: all weights that training starts from
WEIGHT_TICKET/ticket.json         written last; equal masks and provenance give equal bytes

docs/weights.md documents the entries.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from safetensors.numpy import save

from vit_tickets.pipeline.manifests.manifest import INDEX, WEIGHTS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import Count, Name, Positive, shown, typed
from vit_tickets.pipeline.weights.tensors import read_tensors, state_sha256, tensors_of

FORMAT_VERSION = 1
MASKS, REWIND = "masks.safetensors", "rewind.safetensors"
SHA256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="a SHA-256")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number in [0, 1]")]
Counts = Annotated[dict[str, tuple[Count, Positive]], Meta(description="[alive, size] by name")]
LOCAL = ("run", "parent", "soup_runs")  # entries with paths of the machine that wrote them


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the pruned networks whose masks were merged."""

    #: Share of weights that was dropped for it.
    sparsity: Share
    #: SHA-256 of the weights that were ranked, and of the masks that this came to.
    weights_sha256: SHA256
    masks_sha256: SHA256


@dataclass(frozen=True, kw_only=True)
class Soup:
    """Masks of several networks that were merged into one ticket."""

    #: `kept`: a weight stays that stays in one of them; `pruned`: that stays in all; `vote`: in at least half.
    merge: Name
    #: What the members' sparsities are shares of, as `prune --of` has it.
    of: Name
    #: Dropped share of the scope once masks were merged.
    sparsity: Share
    #: Share of the scope that magnitude pruning then went on to; None for no further pruning.
    top_up: Share | None = None
    members: tuple[Member, ...]


@dataclass(frozen=True, kw_only=True)
class WeightTicket:
    """ticket.json of a weight ticket. `write` works out the entries that follow from masks and weights."""

    #: Full name of the network in timm.
    model: Name
    num_classes: Positive
    #: Side of the network's input in pixels.
    image_size: Positive
    #: Blocks of the network, where they are fewer than the model's own.
    depth: Positive | None = None
    #: Name of the set of parameters that are masked.
    scope: Name
    #: What ranked the weights: `magnitude`, `taylor`, `random`, or the method that changed masks in training.
    criterion: Name
    #: How many weights each parameter keeps: `global`, `uniform`, `erk`, `like` (another ticket) or a pattern, `2:4`;
    #: None where the method alone decides.
    allocation: str | None = None
    #: Dropped share of the masked parameters.
    sparsity: Share = 0.0
    #: Of criterion `units`: dropped shares of the heads and neurons of every layer.
    head_sparsity: Share | None = None
    neuron_sparsity: Share | None = None
    #: Dropped share of all parameters of the network.
    of_network: Share = 0.0
    #: Number of all parameters of the network, biases and norms included.
    parameters: Positive = 1
    #: [alive, size] of each masked parameter, in the network's order.
    counts: Counts = field(default_factory=dict)
    #: Number of attention heads by the name of the weight that makes their queries, keys and values.
    heads: Annotated[dict[str, Positive], Meta(description="a count by name")] | None = None
    #: How many times in a row weights were pruned.
    rounds: Count = 1
    #: Gradients of so many images ranked the weights, or of all if there are fewer; None for other criteria.
    images: Positive | None = None
    #: The masks that it was merged from; None for others.
    soup: Annotated[Soup, Meta(description="a soup")] | None = None
    #: Multiply-adds of an image in which dead weights cost nothing, of the masks that a run ended with.
    macs: Positive | None = None
    #: `masks_sha256` of the ticket that this one is nested in.
    parent_sha256: SHA256 | None = None
    #: `weights_sha256` of the weights that were ranked.
    weights_sha256: SHA256 | None = None
    #: `weights_sha256` of rewind.safetensors.
    rewind_sha256: SHA256 | None = None
    #: Epochs that the weights in rewind.safetensors had been trained for.
    rewind_epoch: Count | None = None
    #: Name of the dataset.
    dataset: str | None = None
    #: Seed of the run, and of a random criterion.
    seed: int | None = None
    #: What the run was trained on, with its budget: `lt-s0.75`; None for all patches of whole images.
    found_on: str | None = None
    #: SHA-256 over names, shapes and values of the masks.
    masks_sha256: SHA256 | None = None
    #: The run that was pruned.
    run: str | None = None
    #: The ticket that this one is nested in.
    parent: str | None = None
    #: The runs whose masks were merged.
    soup_runs: tuple[str, ...] | None = None
    #: The folder that the ticket was read from; not an entry.
    root: str = ""

    @property
    def alive(self) -> int:
        """Weights that the masks keep."""
        return sum(alive for alive, _ in self.counts.values())

    @property
    def size(self) -> int:
        """Weights of the masked parameters."""
        return sum(size for _, size in self.counts.values())

    def record(self) -> dict[str, Any]:
        """The JSON value of ticket.json; entries that say nothing are left out."""
        own = {name: value for name, value in asdict(self).items() if name != "root" and value is not None}
        return {"kind": WEIGHTS, "format_version": FORMAT_VERSION} | own

    def masks(self) -> dict[str, np.ndarray]:
        """The masks by name, bool, each of its parameter's shape, in the order of `counts`.

        Raises UserError where the file cannot be read, or is not the one that ticket.json describes.
        """
        path = files.join(self.root, MASKS)
        masks = read_tensors(path)
        if odd := [name for name, mask in masks.items() if mask.dtype != bool]:
            raise UserError(f"{path}: expected masks of type bool, found {odd[0]} of type {masks[odd[0]].dtype}")
        if fault := _names_fault(self.counts, masks):
            raise UserError(f"{path}: {fault} as in {INDEX}")
        found = masks_sha256(masks)
        if found != self.masks_sha256:
            raise UserError(f"{path}: expected masks of SHA-256 {_short(self.masks_sha256)}, found {_short(found)}")
        return {name: masks[name] for name in self.counts}

    def rewind(self) -> dict[str, np.ndarray] | None:
        """All weights that training starts from, by name; None where the ticket has none.

        Raises UserError where the file cannot be read, or is not the one that ticket.json describes.
        """
        if self.rewind_sha256 is None:
            return None
        path = files.join(self.root, REWIND)
        weights = read_tensors(path)
        if (found := state_sha256(weights)) != self.rewind_sha256:
            expected = _short(self.rewind_sha256)
            raise UserError(f"{path}: expected weights of SHA-256 {expected}, found {_short(found)}")
        return weights


ENTRIES = tuple(each.name for each in fields(WeightTicket) if each.name != "root")


def is_weight_ticket(root: str) -> bool:
    """Whether the folder `root` holds a weight ticket; False for tickets of images, and where there is neither."""
    path = files.join(root, INDEX)
    if not files.exists(path):
        return False
    record = files.read_json(path)
    return isinstance(record, dict) and record.get("kind") == WEIGHTS


def read(root: str) -> WeightTicket:
    """The weight ticket in the folder `root`; masks and weights are read when they are asked for.

    Raises UserError where there is none, or ticket.json is malformed.
    """
    path = files.join(root, INDEX)
    if not files.exists(path):
        raise UserError(f"expected a weight ticket, found no {INDEX} in {root}; `vit-tickets prune RUN` writes one")
    return from_record(files.read_json(path), root)


def from_record(record: Any, root: str, path: str | None = None) -> WeightTicket:
    """The ticket in `root` that the JSON value `record` describes; raises UserError as `read` does.

    path: of the file that `record` is from; that in `root` by default.
    """
    path = path or files.join(root, INDEX)
    if not isinstance(record, dict) or record.get("kind") != WEIGHTS:
        found = "tickets of images" if isinstance(record, dict) and "splits" in record else shown(record)
        raise UserError(f"{path}: expected a weight ticket (kind {WEIGHTS!r}), found {found}")
    if (version := record.get("format_version")) != FORMAT_VERSION:
        raise UserError(f"{path}: expected format version {FORMAT_VERSION}, found {version!r}")
    try:
        ticket = typed({name: record[name] for name in ENTRIES if name in record}, WeightTicket)
        for name in ("masks_sha256", "counts"):
            if not getattr(ticket, name):
                raise UserError(f"expected an entry {name}, found none")
        for name, (alive, size) in ticket.counts.items():
            if alive > size:
                raise UserError(f"counts: {name}: expected at most {size} alive, found {alive}")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return replace(ticket, root=root)


def write(
    root: str, ticket: WeightTicket, masks: Mapping[str, np.ndarray], rewind: bytes | None = None
) -> WeightTicket:
    """Write a weight ticket to the folder `root`, over one that is there, and return it as `read` would.

    Args:
        ticket: what is known of it besides; its sparsities, `counts`, `masks_sha256` and `rewind_sha256` are worked
            out anew.
        masks: bool, True for weights that stay, by name, in the network's order.
        rewind: content of a safetensors file with all weights that training starts from.

    Raises:
        UserError: there are no masks, one is not bool, or `rewind` cannot be read.
        files.cannot_write: the disk fails.
    """
    made = described(ticket, masks, rewind)
    files.remove(files.join(root, INDEX))
    with files.atomic_write(files.join(root, MASKS)) as stream:
        stream.write(save({name: np.ascontiguousarray(mask) for name, mask in masks.items()}))
    if rewind is None:
        files.remove(files.join(root, REWIND))
    else:
        with files.atomic_write(files.join(root, REWIND)) as stream:
            stream.write(rewind)
    files.write_json(files.join(root, INDEX), made.record())
    return replace(made, root=root)


def described(ticket: WeightTicket, masks: Mapping[str, np.ndarray], rewind: bytes | None = None) -> WeightTicket:
    """`ticket` with the entries that follow from masks and weights; arguments and errors as for `write`."""
    if not masks:
        raise UserError(f"expected masks of the parameters in scope {ticket.scope}, found none")
    for name, mask in masks.items():
        if mask.dtype != bool or not mask.size:
            raise UserError(f"{name}: expected a mask of type bool, found {mask.dtype} of shape {mask.shape}")
    counts = {name: (int(np.count_nonzero(mask)), mask.size) for name, mask in masks.items()}
    made = replace(ticket, counts=counts, masks_sha256=masks_sha256(masks))
    dropped = made.size - made.alive
    return replace(
        made,
        sparsity=dropped / made.size,
        of_network=dropped / ticket.parameters,
        rewind_sha256=None if rewind is None else state_sha256(tensors_of(rewind, REWIND)),
        rewind_epoch=None if rewind is None else ticket.rewind_epoch,
    )


def masks_sha256(masks: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and values of masks, bool; that of masks.safetensors as weights."""
    return state_sha256(masks)


def check_fits(masks: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], origin: str, model: str) -> None:
    """Raise UserError unless every mask is of a parameter of `model` and has its shape.

    shapes: of all parameters of the network by name. origin: where the masks are from, for the message.
    """
    unknown = [name for name in masks if name not in shapes]
    other = [name for name in masks if name in shapes and masks[name].shape != tuple(shapes[name])]
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise UserError(f"{origin}: expected masks of {model}, found {unknown[0]}, which it does not have{more}")
    if other:
        name, more = other[0], f" (and {len(other) - 1} more)" if len(other) > 1 else ""
        raise UserError(
            f"{origin}: expected masks of {model}, whose {name} has shape {tuple(shapes[name])}, "
            f"found shape {masks[name].shape}{more}"
        )


def _names_fault(counts: Mapping[str, Any], masks: Mapping[str, np.ndarray]) -> str | None:
    if missing := [name for name in counts if name not in masks]:
        return f"expected a mask {missing[0]}, found none"
    if extra := [name for name in masks if name not in counts]:
        return f"expected no mask {extra[0]}, found one"
    return None


def _short(sha256: str | None) -> str:
    return f"{sha256[:12]}..." if sha256 else "none"
