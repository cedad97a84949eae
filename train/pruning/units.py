"""Tickets of whole heads and neurons: those that matter least go, equally many of every layer."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.locks import alone_in
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.methods import UNITS
from vit_tickets.pipeline.weights.ticket import LOCAL, WeightTicket
from vit_tickets.train.pruning import prune
from vit_tickets.train.pruning.request import PruneOptions
from vit_tickets.train.pruning.source import Source
from vit_tickets.train.sparsity.ranking import keep_largest
from vit_tickets.train.sparsity.units.alive import Alive, heads_left, neurons_left
from vit_tickets.train.sparsity.units.layers import check_has_units, fc1_of, mlps_of

# From a run and a number of its images to the importance of its heads, by name of their layer, on the CPU.
ScoreHeads = Callable[[str, int], Mapping[str, Tensor]]


def carry_out(
    source: Source, asked: PruneOptions, score_heads: ScoreHeads, overwrite: bool
) -> tuple[WeightTicket, bool]:
    """Write the ticket, unless it is there; returns it, and whether it was written.

    Heads stay by `HeadScores.importance`, neurons by the sum of magnitudes of their row of fc1. Masks lie on the input
    side of the units that go, as in `train --weight-method s2vite`.

    score_heads: called where heads are dropped.

    Raises UserError where units cannot be removed, fewer are alive than are to stay, or the folder holds another
    ticket that is not to be replaced.
    """
    network = source.network
    check_has_units(network)
    before = _alive(source)
    heads = {name: heads_left(len(of), asked.head_sparsity or 0.0) for name, of in before.heads.items()}
    neurons = {name: neurons_left(len(of), asked.neuron_sparsity or 0.0) for name, of in before.neurons.items()}
    for kind, counts, units in (("heads", heads, before.heads), ("neurons", neurons, before.neurons)):
        for name, count in counts.items():
            if count > (living := int(units[name].sum())):
                raise UserError(f"{name}: expected at least the {count} {kind} that are to stay, found {living} alive")
    kept = {"heads": (before.heads, heads), "neurons": (before.neurons, neurons)}
    if all(int(units[name].sum()) == count for units, counts in kept.values() for name, count in counts.items()):
        raise UserError("expected shares that drop heads or neurons, found no more than what is dropped already")
    about, rewind = prune.described(source, asked, before.masks(network))
    shares = {"head_sparsity": asked.head_sparsity or 0.0, "neuron_sparsity": asked.neuron_sparsity or 0.0}
    about = replace(about, scope=UNITS, allocation=None, **shares)
    out = asked.out or prune.name_of(source, about, 1 - _share(before, heads, neurons, source))
    with alone_in(out):
        if files.exists(files.join(out, INDEX)) and not overwrite:
            found, fault = prune.found_in(out, about, (*prune.WORKED_OUT, *LOCAL))
            if fault:
                raise prune.unlike(out, fault)
            found.masks()
            found.rewind()
            return found, False
        kept = _kept(source, before, heads, neurons, score_heads if asked.head_sparsity else None, about.images or 0)
        masks = {name: mask.numpy() for name, mask in kept.masks(network).items()}
        files.remove_leftovers(out)
        return tickets.write(out, about, masks, rewind), True


def _alive(source: Source) -> Alive:
    """The units that the run's own masks leave."""
    if source.parent is None:
        return Alive.everything(source.network)
    if source.parent.scope != UNITS:
        expected = f"a run whose weights are all alive, or one with masks of {UNITS}"
        raise UserError(f"--criterion {UNITS}: expected {expected}, found masks of {source.parent.scope}")
    masks = {name: torch.from_numpy(mask) for name, mask in source.parent.masks().items()}
    return Alive.of_masks(source.network, masks)


def _kept(
    source: Source,
    before: Alive,
    heads: Mapping[str, int],
    neurons: Mapping[str, int],
    score_heads: ScoreHeads | None,
    images: int,
) -> Alive:
    kept = Alive(dict(before.heads), dict(before.neurons))
    if score_heads is not None:
        importance = score_heads(source.run or "", images)
        for name, alive in before.heads.items():
            if not importance[name].isfinite().all():
                raise UserError(f"expected finite scores of the heads of {name}, found others")
            kept.heads[name] = keep_largest(importance[name], heads[name], alive)
    for name, layer in mlps_of(source.network).items():
        sizes = fc1_of(layer).weight.detach().abs().sum(1).double()
        kept.neurons[name] = keep_largest(sizes, neurons[name], before.neurons[name])
    return kept


def _share(before: Alive, heads: Mapping[str, int], neurons: Mapping[str, int], source: Source) -> float:
    """The share of the masked weights that stays, whichever units do."""
    first = {
        "heads": {name: torch.arange(len(of)) < heads[name] for name, of in before.heads.items()},
        "neurons": {name: torch.arange(len(of)) < neurons[name] for name, of in before.neurons.items()},
    }
    masks = Alive(**first).masks(source.network).values()
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
