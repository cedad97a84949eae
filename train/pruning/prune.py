"""From weights to a weight ticket: goal, scores, masks, files."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.runs.rows import patches_of
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.locks import alone_in
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.methods import UNITS
from vit_tickets.pipeline.weights.record import MAGNITUDE, RANDOM, TAYLOR
from vit_tickets.pipeline.weights.tensors import state_sha256, tensors_of
from vit_tickets.pipeline.weights.ticket import LOCAL, REWIND, WeightTicket
from vit_tickets.train.pruning.goal import Goal, goal_of
from vit_tickets.train.pruning.pattern import Pattern
from vit_tickets.train.pruning.request import PruneOptions
from vit_tickets.train.pruning.source import Source
from vit_tickets.train.sparsity import scores
from vit_tickets.train.sparsity.allocation import GLOBAL, LIKE, check_alive
from vit_tickets.train.sparsity.ranking import keep_largest, keep_largest_of_all
from vit_tickets.train.sparsity.scopes import default_scope, masked_parameters

IMAGES = 4096  # of criteria taylor and units: 64 batches of 64
WORKED_OUT = ("counts", "sparsity", "of_network", "masks_sha256")
# From a run, names of its parameters and a number of its images to mean gradients by name, on the CPU.
Differentiate = Callable[[str, list[str], int], dict[str, Tensor]]


@dataclass(frozen=True)
class Pruning:
    """A ticket that is to be made: all that is known of it before weights are ranked."""

    source: Source
    asked: PruneOptions
    #: The masked parameters by name, in the network's order.
    parameters: dict[str, nn.Parameter]
    #: Masks of the run, bool; None where all weights are alive.
    alive: dict[str, np.ndarray] | None
    goal: Goal
    #: The ticket without what follows from its masks.
    about: WeightTicket
    #: Content of the file of weights to start from.
    rewind: bytes | None
    out: str


def plan(source: Source, asked: PruneOptions) -> Pruning:
    """Work out what `asked` comes to; raises UserError where it does not fit the source."""
    parent = source.parent
    parameters, alive = masked(source, asked)
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    like = tickets.read(asked.like) if asked.like is not None else None
    goal = goal_of(asked, shapes, source.parameters, parent and _alive(parent), like and _alive(like))
    about, rewind = described(source, asked, parameters)
    sparsity = 1 - goal.total / sum(parameter.numel() for parameter in parameters.values())
    return Pruning(source, asked, parameters, alive, goal, about, rewind, asked.out or name_of(source, about, sparsity))


def masked(source: Source, asked: PruneOptions) -> tuple[dict[str, nn.Parameter], dict[str, np.ndarray] | None]:
    """The parameters that may be masked, by name, and which of their weights are alive; None for all of them.

    Raises UserError where the run's own masks are of other parameters.
    """
    scope, parent = _scope(source, asked), source.parent
    parameters = masked_parameters(source.network, scope)
    if parent is None:
        return parameters, None
    if odd := parent.counts.keys() ^ parameters.keys():
        raise UserError(f"{parent.root}: expected masks of the weights in scope {scope}, found {min(odd)} in one alone")
    return parameters, parent.masks()


def described(source: Source, asked: PruneOptions, parameters: Collection[str]) -> tuple[WeightTicket, bytes | None]:
    """The ticket without what follows from its masks, and the file of weights to start from."""
    parent, config = source.parent, source.config
    rewind, epoch = source.rewind(asked.rewind)
    about = WeightTicket(
        model=source.model,
        num_classes=source.num_classes,
        image_size=source.image_size,
        depth=config and config.depth,
        scope=_scope(source, asked),
        criterion=asked.criterion,
        allocation=asked.pattern or (LIKE if asked.like is not None else asked.allocation),
        parameters=source.parameters,
        heads={name: count for name, count in source.heads.items() if name in parameters} or None,
        images=asked.images or IMAGES if asked.criterion in (TAYLOR, UNITS) else None,
        rounds=(parent.rounds if parent else 0) + 1,
        parent_sha256=parent and parent.masks_sha256,
        weights_sha256=source.weights_sha256,
        rewind_epoch=epoch,
        rewind_sha256=None if rewind is None else state_sha256(tensors_of(rewind, REWIND)),
        dataset=config and config.dataset,
        seed=_seed(asked, source),
        found_on=config and patches_of(config),
        run=source.run and files.absolute(source.run),
        parent=parent and files.absolute(parent.root),
    )
    return about, rewind


def carry_out(pruning: Pruning, differentiate: Differentiate, overwrite: bool) -> tuple[WeightTicket, bool]:
    """Write the ticket, unless it is there; returns it, and whether it was written.

    differentiate: gives gradients, for criterion taylor.

    Raises UserError where the folder holds another ticket that is not to be replaced, or a layer would keep no weight.
    """
    out = pruning.out
    with alone_in(out):
        if files.exists(files.join(out, INDEX)) and not overwrite:
            return _found(pruning), False
        masks = masks_of(pruning, differentiate)
        check_alive({name: int(np.count_nonzero(mask)) for name, mask in masks.items()})
        files.remove_leftovers(out)
        made = tickets.write(out, pruning.about, masks, pruning.rewind)
    return made, True


def masks_of(pruning: Pruning, differentiate: Differentiate | None = None) -> dict[str, np.ndarray]:
    """Which weights stay, bool by name; raises UserError where scores are not finite."""
    return _masks(pruning, _scores(pruning, differentiate))


def found_in(out: str, expected: WeightTicket, but: tuple[str, ...] = LOCAL) -> tuple[WeightTicket, str | None]:
    """The ticket in `out`, and in which entry it is another than `expected`, if in any; entries `but` do not count.

    Raises UserError where it is no weight ticket.
    """
    if not tickets.is_weight_ticket(out):
        raise UserError(f"{out} holds tickets of images; pass another --out")
    found = tickets.read(out)
    return found, _difference(expected, found, but)


def unlike(out: str, fault: str) -> UserError:
    return UserError(f"{out} holds another weight ticket: {fault}; pass --overwrite or another --out")


def _found(pruning: Pruning) -> WeightTicket:
    """The ticket that is there already; raises UserError where it is another one."""
    out = pruning.out
    found, fault = found_in(out, pruning.about, (*WORKED_OUT, *LOCAL))
    if not fault and found.alive != pruning.goal.total:
        expected, there = (
            f"one with {100 * (1 - alive / found.size):.4g}% of {found.scope} dropped ({alive:,} weights alive)"
            for alive in (pruning.goal.total, found.alive)
        )
        fault = f"expected {expected}, found {there}"
    if not fault and pruning.goal.counts not in (None, _alive(found)):
        fault = "expected other numbers of weights by layer"
    if fault:
        raise unlike(out, fault)
    found.masks()
    found.rewind()
    return found


def _difference(expected: WeightTicket, found: WeightTicket, but: tuple[str, ...]) -> str | None:
    if expected.rewind_sha256 != found.rewind_sha256 and "rewind_sha256" not in but:
        return f"expected {_start_of(expected)}, found {_start_of(found)}"
    ours, theirs = expected.record(), found.record()
    for name in dict.fromkeys((*ours, *theirs)):
        if name == "found_on" and name not in theirs:
            continue  # of an older version
        if name not in but and ours.get(name) != theirs.get(name):
            return f"{name}: expected {ours.get(name)}, found {theirs.get(name)}"
    return None


def _start_of(ticket: WeightTicket) -> str:
    if ticket.rewind_sha256 is None:
        return "one without weights to start from"
    return f"one with weights of epoch {ticket.rewind_epoch} ({ticket.rewind_sha256[:12]})"


def _alive(ticket: WeightTicket) -> dict[str, int]:
    return {name: alive for name, (alive, _) in ticket.counts.items()}


def _scope(source: Source, asked: PruneOptions) -> str:
    own = source.parent and source.parent.scope
    if own == UNITS and asked.criterion != UNITS:
        raise UserError(
            f"{source.run}: expected a run whose masks are of single weights, found whole heads and neurons; "
            f"`--criterion {UNITS} --head-sparsity S --neuron-sparsity S` drops more of those"
        )
    if own is not None and asked.prune_scope not in (None, own):
        raise UserError(f"--prune-scope: expected {own}, that of the run's own masks, found {asked.prune_scope}")
    return own or asked.prune_scope or default_scope(source.network)


def _seed(asked: PruneOptions, source: Source) -> int | None:
    own = source.config.seed if source.config is not None else None
    if asked.criterion != RANDOM:
        return own
    return asked.seed if asked.seed is not None else own or 0


def name_of(source: Source, about: WeightTicket, sparsity: float) -> str:
    """`masks/<run>-w<S>`, with what is not the default."""
    parts = {
        about.criterion: about.criterion != MAGNITUDE,
        str(about.allocation).replace(":", "of"): about.allocation not in (GLOBAL, LIKE),
        f"soup-{about.soup.merge}" if about.soup else "": about.soup is not None,
        f"rewind{about.rewind_epoch}": bool(about.rewind_epoch),
    }
    variant = "".join(f"-{name}" for name, applies in parts.items() if applies)
    return f"masks/{source.name}-w{sparsity:.4g}{variant}"


def _scores(pruning: Pruning, differentiate: Differentiate | None) -> dict[str, Tensor]:
    """What weights are ranked by, on the CPU; raises UserError where it is not finite."""
    asked, parameters = pruning.asked, pruning.parameters
    if asked.criterion == RANDOM:
        return scores.drawn(parameters, pruning.about.seed or 0)
    if asked.criterion == MAGNITUDE:
        return scores.magnitudes(parameters)
    if asked.criterion != TAYLOR or pruning.source.run is None or differentiate is None:
        raise UserError(f"expected criterion {MAGNITUDE}, {TAYLOR} or {RANDOM}, found {asked.criterion}")
    gradients = differentiate(pruning.source.run, list(parameters), pruning.about.images or IMAGES)
    return scores.taylor(parameters, gradients)


def _masks(pruning: Pruning, ranked: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The weights that stay, bool by name."""
    alive = pruning.alive
    among = None if alive is None else {name: torch.from_numpy(alive[name]) for name in ranked}
    counts = pruning.goal.counts
    if pruning.asked.pattern is not None:
        pattern = Pattern.parse(pruning.asked.pattern)
        kept = {name: pattern.keep(score) for name, score in ranked.items()}
    elif counts is None:
        kept = keep_largest_of_all(ranked, pruning.goal.total, among)
    else:
        kept = {
            name: keep_largest(score, counts[name], None if among is None else among[name])
            for name, score in ranked.items()
        }
    return {name: mask.numpy() for name, mask in kept.items()}
