"""Soups: masks of several runs of one network, merged into one ticket (Instant Soup, Jaiswal et al. 2023; LOTUS).

Masks of one set of weights at several sparsities are nested, so that their merger is one of them. Members are
therefore runs whose weights differ, such as short trainings on other parts of train.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.locks import alone_in
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.record import KEPT, PRUNED, VOTE
from vit_tickets.pipeline.weights.ticket import Member, Soup, WeightTicket
from vit_tickets.train.pruning import prune
from vit_tickets.train.pruning.request import NONE, PruneOptions
from vit_tickets.train.pruning.source import Source
from vit_tickets.train.sparsity import scores
from vit_tickets.train.sparsity.allocation import alive_total, check_alive
from vit_tickets.train.sparsity.ranking import keep_largest_of_all

Masks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Cooked:
    """A ticket of merged masks, not written yet."""

    about: WeightTicket
    masks: Masks
    rewind: bytes | None
    out: str


def merged(members: Sequence[Masks], merge: str) -> Masks:
    """The masks, bool by name, that `members` come to: a weight stays if one of them, all, or at least half keep it."""
    votes = {name: sum(each[name].astype(np.int64) for each in members) for name in members[0]}
    needed = {KEPT: 1, PRUNED: len(members), VOTE: (len(members) + 1) // 2}[merge]
    return {name: np.asarray(count >= needed) for name, count in votes.items()}


def cook(source: Source, asked: PruneOptions, open_run: Callable[[str], Source] = Source.of_run) -> Cooked:
    """Prune the runs of `asked.soup`, merge their masks within those of `source`, and top up.

    Raises UserError where a run is of another network than `source`, or a layer would keep no weight.
    """
    parameters, alive = prune.masked(source, asked)
    about, rewind = prune.described(source, asked, parameters)
    found, members, rounds = [], [], about.rounds - 1
    for run, share in zip(asked.soup_runs, asked.shares, strict=True):
        member = open_run(run)
        _check_same_network(source, member, run)
        alone = replace(
            asked, soup=None, soup_sparsities=None, merge=None, top_up=None, weight_sparsity=share, rewind=NONE
        )
        pruning = prune.plan(member, replace(alone, prune_scope=about.scope))
        found.append(prune.masks_of(pruning))
        members.append(
            Member(
                sparsity=share,
                weights_sha256=member.weights_sha256,
                masks_sha256=tickets.masks_sha256(found[-1]),
            )
        )
        rounds = max(rounds, pruning.about.rounds - 1)
    merge = asked.merge or KEPT
    masks = merged(found, merge)
    if alive is not None:
        masks = {name: mask & alive[name] for name, mask in masks.items()}
    size = sum(mask.size for mask in masks.values())
    left = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    soup = Soup(merge=merge, of=asked.of, sparsity=1 - left / size, top_up=asked.top_up, members=tuple(members))
    if asked.top_up is not None and (target := alive_total(size, asked.top_up)) < left:
        among = {name: torch.from_numpy(mask) for name, mask in masks.items()}
        kept = keep_largest_of_all(scores.magnitudes(parameters), target, among)
        masks = {name: mask.numpy() for name, mask in kept.items()}
    check_alive({name: int(np.count_nonzero(mask)) for name, mask in masks.items()})
    runs = tuple(files.absolute(run) for run in asked.soup_runs)
    made = tickets.described(replace(about, rounds=rounds + 1, soup=soup, soup_runs=runs), masks, rewind)
    return Cooked(made, masks, rewind, asked.out or prune.name_of(source, made, made.sparsity))


def carry_out(cooked: Cooked, overwrite: bool) -> tuple[WeightTicket, bool]:
    """Write the ticket, unless it is there; returns it, and whether it was written.

    Raises UserError where the folder holds another ticket that is not to be replaced.
    """
    out = cooked.out
    with alone_in(out):
        if files.exists(files.join(out, INDEX)) and not overwrite:
            found, fault = prune.found_in(out, cooked.about)
            if fault:
                raise prune.unlike(out, fault)
            found.masks()
            found.rewind()
            return found, False
        files.remove_leftovers(out)
        return tickets.write(out, cooked.about, cooked.masks, cooked.rewind), True


def _check_same_network(source: Source, member: Source, run: str) -> None:
    ours, theirs = (
        {name: tuple(value.shape) for name, value in each.network.state_dict().items()} for each in (source, member)
    )
    if source.model != member.model:
        raise UserError(f"--soup {run}: expected a run of {source.model}, found {member.model}")
    if odd := next((name for name in (*ours, *theirs) if ours.get(name) != theirs.get(name)), None):
        raise UserError(f"--soup {run}: expected {odd} of shape {ours.get(odd)}, found {theirs.get(odd)}")
