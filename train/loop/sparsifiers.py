"""The hook that masks a run's weights, by method, and the weight ticket that the run ends with."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import nn

from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.places import FINAL_MASKS
from vit_tickets.pipeline.weights.record import FIXED, SparseWeights
from vit_tickets.pipeline.weights.ticket import WeightTicket
from vit_tickets.train.accounting.per_image import alive_macs
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.hooks import Hook
from vit_tickets.train.sparsity.drawing import RandomMasks
from vit_tickets.train.sparsity.methods.fixed import Fixed
from vit_tickets.train.sparsity.methods.gradual import Gradual
from vit_tickets.train.sparsity.methods.grow import Grow
from vit_tickets.train.sparsity.methods.masked import Masked, network_of
from vit_tickets.train.sparsity.methods.units import Units
from vit_tickets.train.sparsity.schedule import Growth, Pruning, updates_of
from vit_tickets.train.sparsity.units.alive import Alive, RandomUnits
from vit_tickets.train.sparsity.units.files import write_shrunk
from vit_tickets.train.sparsity.units.layers import attentions_of, units_fault
from vit_tickets.train.sparsity.units.shrink import record_of, shrink


def sparsifiers_of(run: Run) -> list[Hook]:
    """The hook that masks the weights of `run`; none for dense weights. It is to be the first of a run's hooks."""
    weights = run.config.weights
    if weights is None or not weights.has_masks:
        return []
    return [HOOKS[weights.method](run, weights)]


def check_steps(hooks: Iterable[Hook], steps: int, begun: int) -> None:
    """Raise UserError for masks that would never change in a run of so many steps, though they are to.

    begun: steps that a run from a later epoch leaves out.
    """
    for hook in hooks:
        if isinstance(hook, Grow):
            hook.growth.check(steps, begun)


def write_final_masks(run: Run, hooks: Iterable[Hook], scored: nn.Module) -> None:
    """Write RUN/masks, the weight ticket of the masks that training ended with, if it had any.

    If they leave a head or neuron without output, write RUN/shrunk.safetensors too: the network without those.

    scored: the model whose weights are the final ones.
    """
    masks = next((hook.masks for hook in hooks if isinstance(hook, Masked)), None)
    if masks is None or run.config.weights is None:
        return
    alive = {name: mask.cpu().contiguous() for name, mask in masks.alive.items()}
    network, made = network_of(scored), _final(run, run.config, run.config.weights)
    heads = {f"{name}.qkv.weight": layer.num_heads for name, layer in attentions_of(network).items()}
    heads = {name: count for name, count in heads.items() if name in alive}
    kept = run.kept if PATHS[run.path].sees_part else None
    macs = alive_macs(scored, run.image_size, kept, masks.alive)
    made = replace(made, heads=made.heads or heads or None, macs=macs)
    ticket.write(run.place(FINAL_MASKS), made, {name: mask.numpy() for name, mask in alive.items()})
    if units_fault(network) is None and (units := Alive.of_masks(network, alive)).any_dead:
        config, shrunk = run.config, shrink(network, units)
        sizes = config.num_classes, config.image_size, config.patch_size
        write_shrunk(run.root, shrunk, record_of(config.model, *sizes, shrunk, config.depth))


def _final(run: Run, config: RunConfig, weights: SparseWeights) -> WeightTicket:
    """What is known of the last masks: as of the ticket that the run was given, or of the method."""
    if run.sparse is not None and run.sparse.ticket is not None:
        return replace(run.sparse.ticket, run=files.absolute(run.root), dataset=config.dataset, seed=config.seed)
    return WeightTicket(
        model=config.model,
        num_classes=config.num_classes,
        image_size=config.image_size,
        depth=config.depth,
        scope=weights.scope or "",
        criterion=weights.method,
        allocation=weights.allocation,
        parameters=weights.parameters or 1,
        dataset=config.dataset,
        seed=config.seed,
        run=files.absolute(run.root),
    )


def _fixed(run: Run, weights: SparseWeights) -> Hook:
    return Fixed(run.sparse.masks or {} if run.sparse else {})


def _static(run: Run, weights: SparseWeights) -> Hook:
    return Fixed(_random(run, weights))


def _units(run: Run, weights: SparseWeights) -> Hook:
    shares = weights.head_sparsity or 0.0, weights.neuron_sparsity or 0.0
    growth = Growth(run.recipe.epochs, updates_of(run.config.model), weights.update_every)
    return Units(RandomUnits(*shares, run.config.seed, weights.unit_multiple or 1), growth)


def _random(run: Run, weights: SparseWeights) -> RandomMasks:
    return RandomMasks(weights.scope or "", weights.sparsity or 0.0, run.config.seed, weights.allocation or "")


def _gradual(run: Run, weights: SparseWeights) -> Hook:
    pruning = Pruning(run.recipe.epochs, weights.sparsity or 0.0)
    return Gradual(weights.scope or "", pruning, weights.allocation or "")


def _growing(run: Run, weights: SparseWeights) -> Hook:
    growth = Growth(run.recipe.epochs, updates_of(run.config.model), weights.update_every)
    return Grow(_random(run, weights), growth)


# By `SparseWeights.method`; `pipeline.weights.methods` declares those that `--weight-method` names.
HOOKS: dict[str, Callable[[Run, SparseWeights], Hook]] = {
    FIXED: _fixed,
    "static": _static,
    "gmp": _gradual,
    "svite": _growing,
    "s2vite": _units,
}
