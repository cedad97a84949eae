"""The masked weights of a run: opened or worked out, checked against its network."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.networks.state import state_sha256
from vit_tickets.pipeline.runs.config import CONFIG, RunConfig
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.rows import patches_of
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.redaction import redacted
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.methods import METHODS, UNITS
from vit_tickets.pipeline.weights.record import DENSE, FIXED, INIT, MASKED, REINIT, SMALL_DENSE, TICKET, SparseWeights
from vit_tickets.pipeline.weights.ticket import WeightTicket
from vit_tickets.train.recipes.recipe import DEFAULTS, Recipe
from vit_tickets.train.runs.request import Request, check_depth
from vit_tickets.train.sparsity.allocation import alive_counts, check_alive
from vit_tickets.train.sparsity.scopes import default_scope, masked_parameters
from vit_tickets.train.sparsity.units.alive import Alive, RandomUnits


@dataclass(frozen=True)
class Sparse:
    """What `--masks`, `--weight-method` and `--start-epoch` come to."""

    record: SparseWeights
    #: The ticket whose masks training does not change; None where a method chooses them.
    ticket: WeightTicket | None = None
    #: Its masks by name, bool, True for weights that stay.
    masks: dict[str, Tensor] | None = field(default=None, repr=False)
    #: Its weights, where training begins with them.
    start: Start | None = field(default=None, repr=False)


def open_weights(request: Request, recipe: Recipe, network: nn.Module) -> Sparse | None:
    """What the request comes to on `network`, which may be on the device meta; None for a dense run.

    Raises UserError where ticket, network, recipe and options do not go together.
    """
    if (opened := request.weight_ticket()) is not None:
        sparse = _of_ticket(request, opened, network)
    elif request.weight_method is not None:
        sparse = Sparse(_of_method(request, recipe, network))
    elif request.start_epoch:
        sparse = Sparse(SparseWeights(method=DENSE, start=INIT, start_epoch=request.start_epoch))
    elif request.depth is None:
        return None
    else:
        sparse = Sparse(SparseWeights(method=DENSE, start=INIT if request.init is not None else None))
    if request.depth is not None:
        sparse = replace(sparse, record=_of_fewer_blocks(sparse.record, request, network))
    if sparse.record.start_epoch >= recipe.epochs:
        found = f"--start-epoch {sparse.record.start_epoch}"
        if sparse.start is not None:
            found = f"{request.masks}, whose weights are of epoch {sparse.record.start_epoch}"
        over = "epoch is" if recipe.epochs == 1 else f"{recipe.epochs} epochs are"
        raise UserError(f"expected to start before the run's {over} over, found {found}; give --epochs more")
    if sparse.record.start_epoch and request.trained_on.chooses_patches:
        found = f"those of epoch {sparse.record.start_epoch}"
        raise UserError(
            f"--path {request.path}: expected initial weights, as later ones lack the scorer, found {found}"
        )
    return sparse


def put_on(network: nn.Module, masks: str, config: RunConfig) -> SparseWeights:
    """Set the weights of `network` to 0 that the weight ticket in the folder `masks` drops; what config.json says then.

    config: of the run whose weights these are.

    Raises UserError where the ticket is of another network.
    """
    opened, option = ticket.read(masks), f"--masks {masks}"
    if short_name(opened.model) != short_name(config.model):
        raise UserError(f"{option}: expected masks of {short_name(config.model)}, found {short_name(opened.model)}")
    check_depth(opened, config.depth, option)
    begun = state_sha256(network.state_dict())
    sparse = _of_masks(opened, network, config.model)
    for name, mask in (sparse.masks or {}).items():
        network.get_parameter(name).data.masked_fill_(~mask, 0)
    return replace(sparse.record, start=MASKED, start_epoch=0, rewind_sha256=begun, depth=config.depth)


def _of_fewer_blocks(record: SparseWeights, request: Request, network: nn.Module) -> SparseWeights:
    """`record` of a `network` of `--depth` blocks; without masks, how much of the model it leaves out."""
    if record.has_masks:
        return replace(record, depth=request.depth)
    own, blocks = (
        sum(each.numel() for each in part.parameters())
        for part in (network, registry.sketch(request.model).get_submodule("blocks"))
    )
    whole = own + blocks - sum(each.numel() for each in network.get_submodule("blocks").parameters())
    return replace(
        record,
        method=SMALL_DENSE,
        depth=request.depth,
        alive=own,
        size=whole,
        parameters=whole,
        of_network=(whole - own) / whole,
    )


def record_in(config: RunConfig, sparse: Sparse | None) -> SparseWeights | None:
    """The entry `weights` of a run, which says what its ticket was found on where that are other patches than its own.

    config: of the run, without that entry.
    """
    if sparse is None or sparse.ticket is None or sparse.record.merge or sparse.ticket.found_on == patches_of(config):
        return sparse and sparse.record
    return replace(sparse.record, found_on=sparse.ticket.found_on or "dense")


def unlike(config: RunConfig, sparse: Sparse | None) -> str | None:
    """In what a run was asked for otherwise than the one that its ticket, or its weights of a later epoch, are of.

    None if in nothing, where that run is not to be found, and for fine-tuning, which differs by design.
    """
    if sparse is None or (config.init is not None and not config.first_epoch):
        return None
    source, what = sparse.ticket and sparse.ticket.run, "ticket"
    if config.init is not None:
        source, what = config.init.rpartition("/")[0] or ".", "weights"
    if source is None or not files.exists(files.join(source, CONFIG)):
        return None
    begun: dict[str, Any] = {"weights": None, "init": None, "initial": None, "weights_key": None}
    found = replace(RunConfig.read(source, ("recipe",)), **begun)
    different = replace(config, **begun).difference(found, DEFAULTS)
    return different and f"{source}, the source of its {what}, was trained otherwise: {different}"


def _of_masks(opened: WeightTicket, network: nn.Module, model: str) -> Sparse:
    """The masks of a ticket on `network`, and their record without where it starts; raises UserError as above."""
    masks, parameters = opened.masks(), dict(network.named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    ticket.check_fits(masks, shapes, opened.root, model)
    try:
        check_alive({name: alive for name, (alive, _) in opened.counts.items()})
    except UserError as error:
        raise UserError(f"--masks {opened.root}: {error}") from None
    kept = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    alive, size = opened.alive, opened.size
    if opened.criterion == UNITS:
        reading = Alive.of_masks(network, kept).reading_masks(network).values()
        alive, size = alive + sum(int(mask.sum()) for mask in reading), size + sum(mask.numel() for mask in reading)
    record = SparseWeights(
        method=FIXED,
        scope=opened.scope,
        allocation=opened.allocation,
        sparsity=opened.sparsity,
        head_sparsity=opened.head_sparsity,
        neuron_sparsity=opened.neuron_sparsity,
        **_counted(alive, size, parameters),
        masks_dir=files.absolute(opened.root),
        masks_sha256=opened.masks_sha256,
        rewind_epoch=opened.rewind_epoch,
        criterion=opened.criterion,
        rounds=opened.rounds,
        merge=opened.soup and opened.soup.merge,
    )
    return Sparse(record, opened, kept)


def _of_ticket(request: Request, opened: WeightTicket, network: nn.Module) -> Sparse:
    found = _of_masks(opened, network, request.model)
    start = None
    if request.start != REINIT and (weights := opened.rewind()) is not None:
        state = {name: torch.from_numpy(value) for name, value in weights.items()}
        start = Start(files.join(opened.root, ticket.REWIND), redacted(opened.root), state)
    record = replace(
        found.record,
        start=REINIT if request.start == REINIT else INIT if start is None else TICKET,
        start_epoch=(opened.rewind_epoch or 0) if start else request.start_epoch or 0,
        rewind_sha256=opened.rewind_sha256 if start else None,
    )
    return replace(found, record=record, start=start)


def _of_method(request: Request, recipe: Recipe, network: nn.Module) -> SparseWeights:
    method = METHODS[request.weight_method or ""]
    if recipe.frozen:
        raise UserError(f"--weight-method {method.name}: expected a recipe that trains all weights, found --frozen")
    if "head_sparsity" in method.needs:
        return _of_units(request, network)
    scope = request.prune_scope or default_scope(network)
    shapes = {name: tuple(weight.shape) for name, weight in masked_parameters(network, scope).items()}
    allocation = request.allocation or next(iter(method.allocations), None)
    if allocation is None or request.weight_sparsity is None:
        return SparseWeights(method=method.name, scope=scope)
    try:
        alive = sum(alive_counts(allocation, shapes, request.weight_sparsity).values())
    except UserError as error:
        raise UserError(f"--weight-sparsity {request.weight_sparsity:g}: {error}") from None
    size = sum(network.get_parameter(name).numel() for name in shapes)
    return SparseWeights(
        method=method.name,
        scope=scope,
        allocation=allocation,
        sparsity=request.weight_sparsity,
        update_every=request.update_every,
        start=INIT if request.init is not None else None,
        start_epoch=request.start_epoch or 0,
        **_counted(alive, size, dict(network.named_parameters())),
    )


def _of_units(request: Request, network: nn.Module) -> SparseWeights:
    """Of whole heads and neurons: what is removed in the end counts as dropped, with the weights that read them."""
    heads, neurons = request.head_sparsity or 0.0, request.neuron_sparsity or 0.0
    try:
        alive = RandomUnits(heads, neurons, request.seed, request.unit_multiple or 1).of(network)
    except UserError as error:
        raise UserError(f"--weight-method {request.weight_method}: {error}") from None
    masks = alive.masks(network) | alive.reading_masks(network)
    size, left = sum(mask.numel() for mask in masks.values()), sum(int(mask.sum()) for mask in masks.values())
    return SparseWeights(
        method=request.weight_method or "",
        scope=UNITS,
        head_sparsity=heads,
        neuron_sparsity=neurons,
        unit_multiple=request.unit_multiple if (request.unit_multiple or 1) > 1 else None,
        update_every=request.update_every,
        start=INIT if request.init is not None else None,
        start_epoch=request.start_epoch or 0,
        **_counted(left, size, dict(network.named_parameters())),
    )


def _counted(alive: int, size: int, parameters: dict[str, nn.Parameter]) -> dict[str, Any]:
    total = sum(parameter.numel() for parameter in parameters.values())
    return {"alive": alive, "size": size, "parameters": total, "of_network": (size - alive) / total}
