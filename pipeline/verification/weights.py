"""Check a weight ticket: its index against its masks, its weights, and the ticket that it is nested in."""

from collections.abc import Iterator, Mapping

import numpy as np

from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.tensors import read_tensors, state_sha256
from vit_tickets.pipeline.weights.ticket import MASKS, REWIND, WeightTicket, described, masks_sha256

WORKED_OUT = ("sparsity", "of_network", "masks_sha256")


def verify_weight_ticket(root: str, parent: str | None = None) -> Iterator[str]:
    """Findings about the weight ticket in the folder `root`, one line each.

    Args:
        parent: folder of the ticket that it is nested in; by default where it was when this one was written.

    Raises:
        UserError: there is no weight ticket.
    """
    record = files.read_json(files.join(root, INDEX))
    try:
        ticket = tickets.from_record(record, root)
    except UserError as error:
        yield str(error)
        return
    try:
        masks = read_tensors(files.join(root, MASKS))
    except UserError as error:
        yield str(error)
        return
    faults = list(_masks_faults(ticket, masks))
    yield from faults
    if not faults:
        yield from _index_faults(ticket, masks)
        yield from _nesting_faults(ticket, masks, parent)
    yield from _rewind_faults(ticket)


def parent_of(ticket: WeightTicket, parent: str | None = None) -> str | None:
    """Folder of the ticket that `ticket` is nested in, if it can be compared with it; `parent` where that is given."""
    if parent is not None or ticket.parent_sha256 is None:
        return parent
    return ticket.parent if ticket.parent and tickets.is_weight_ticket(ticket.parent) else None


def _masks_faults(ticket: WeightTicket, masks: Mapping[str, np.ndarray]) -> Iterator[str]:
    for name in ticket.counts:
        if name not in masks:
            yield f"{MASKS}: expected a mask {name} as in {INDEX}, found none"
    for name, mask in masks.items():
        if name not in ticket.counts:
            yield f"{MASKS}: expected no mask {name}, which {INDEX} does not have, found one"
        elif mask.dtype != bool:
            yield f"{MASKS}: {name}: expected a mask of type bool, found {mask.dtype}"


def _index_faults(ticket: WeightTicket, masks: Mapping[str, np.ndarray]) -> Iterator[str]:
    true = described(ticket, {name: masks[name] for name in ticket.counts})
    for name, counted in true.counts.items():
        if (found := ticket.counts[name]) != counted:
            yield f"{INDEX}: counts: {name}: expected {list(counted)} as in {MASKS}, found {list(found)}"
    for name in WORKED_OUT:
        if (found := getattr(ticket, name)) != (expected := getattr(true, name)):
            yield f"{INDEX}: {name}: expected {expected} as in {MASKS}, found {found}"
    if ticket.parameters < ticket.size:
        yield f"{INDEX}: parameters: expected at least the {ticket.size} that are masked, found {ticket.parameters}"


def _nesting_faults(ticket: WeightTicket, masks: Mapping[str, np.ndarray], given: str | None) -> Iterator[str]:
    """Where weights are alive that the parent drops."""
    if (folder := parent_of(ticket, given)) is None:
        return
    if ticket.parent_sha256 is None:
        yield f"{INDEX}: parent_sha256: expected that of the ticket {folder}, found none"
        return
    try:
        above = tickets.read(folder).masks()
    except UserError as error:
        yield f"the parent: {error}"
        return
    if (found := masks_sha256(above)) != ticket.parent_sha256:
        yield f"{INDEX}: parent_sha256: expected {found}, of the masks in {folder}, found {ticket.parent_sha256}"
        return
    for name, mask in masks.items():
        if name not in above or above[name].shape != mask.shape:
            found = "none" if name not in above else f"shape {above[name].shape}"
            yield f"{MASKS}: {name}: expected shape {mask.shape} in its parent {folder} too, found {found}"
        elif revived := int(np.count_nonzero(mask & ~above[name])):
            yield f"{MASKS}: {name}: expected no weight that its parent {folder} drops, found {revived} alive"


def _rewind_faults(ticket: WeightTicket) -> Iterator[str]:
    path = files.join(ticket.root, REWIND)
    if ticket.rewind_sha256 is None:
        if files.exists(path):
            yield f"{REWIND}: expected no weights, as {INDEX} has no rewind_sha256, found some"
        return
    try:
        weights = read_tensors(path)
    except UserError as error:
        yield str(error)
        return
    if (found := state_sha256(weights)) != ticket.rewind_sha256:
        yield f"{REWIND}: expected SHA-256 {ticket.rewind_sha256} as in {INDEX}, found {found}"
    for name, (_, size) in ticket.counts.items():
        if name not in weights or weights[name].size != size:
            held = weights[name].size if name in weights else "none"
            yield f"{REWIND}: {name}: expected {size} weights as in {INDEX}, found {held}"
    for name, value in weights.items():
        if not np.isfinite(value).all():
            yield f"{REWIND}: {name}: expected finite numbers, found others"
