"""Weight tickets as one file for publication, and tickets made from such a file and somebody's copy of the weights.

The file is masks.safetensors with ticket.json in its metadata, under `vit_tickets`: any program that loads safetensors
has the masks by the names of their parameters. Equal tickets give equal bytes.
"""

import json

from safetensors.numpy import save

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.pipeline.weights.tensors import metadata_of, state_sha256, tensors_of
from vit_tickets.pipeline.weights.ticket import LOCAL, WeightTicket, check_fits, masks_sha256

ENTRY = "vit_tickets"
SUFFIX = ".safetensors"


def is_published(path: str) -> bool:
    """Whether `path` is the name of a published weight ticket, and of no archive of tickets of images."""
    return path.endswith(SUFFIX)


def publish(ticket: WeightTicket, path: str) -> int:
    """Write `ticket` as one file and return its size in bytes.

    Raises UserError where its masks cannot be read, or the file's name does not end in .safetensors.
    """
    if not is_published(path):
        raise UserError(f"expected a FILE whose name ends in {SUFFIX} for a weight ticket, found {path}")
    record = {name: value for name, value in ticket.record().items() if name not in LOCAL}
    text = json.dumps(record, separators=(",", ":"))
    content = save(dict(ticket.masks()), metadata={ENTRY: text})
    with files.atomic_write(path) as stream:
        stream.write(content)
    return len(content)


def join(path: str, weights: str | None, out: str) -> WeightTicket:
    """Write the published ticket at `path` to the folder `out`, with the weights that training starts from.

    Args:
        weights: a safetensors file of the weights that the ticket was published to start from, or else of those that
            were pruned; told by SHA-256. None for a ticket without weights.

    Raises:
        UserError: the file is no published ticket or damaged, or `weights` are others.
    """
    content = files.read_bytes(path)
    ticket = _recorded(content, path)
    masks = tensors_of(content, path)
    if set(masks) != set(ticket.counts) or masks_sha256(masks) != ticket.masks_sha256:
        expected, found = str(ticket.masks_sha256)[:12], masks_sha256(masks)[:12]
        raise UserError(f"{path}: expected masks of SHA-256 {expected}..., found {found}...")
    rewind = None
    if weights is not None:
        rewind = files.read_bytes(weights)
        state = tensors_of(rewind, weights)
        _check_weights(ticket, state_sha256(state), weights)
        check_fits(masks, {name: value.shape for name, value in state.items()}, path, weights)
    return tickets.write(out, ticket, {name: masks[name] for name in ticket.counts}, rewind)


def _recorded(content: bytes, path: str) -> WeightTicket:
    text = metadata_of(content, path).get(ENTRY)
    try:
        record = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise UserError(f"expected a weight ticket that `vit-tickets export` wrote, found none in {path}")
    return tickets.from_record({name: value for name, value in record.items() if name not in LOCAL}, "", path)


def _check_weights(ticket: WeightTicket, found: str, weights: str) -> None:
    wanted = ticket.rewind_sha256 or ticket.weights_sha256
    if wanted is None:
        raise UserError(f"expected no WEIGHTS, as the ticket does not say which it is of, found {weights}")
    if found != wanted:
        which = "that the ticket starts from" if ticket.rewind_sha256 else "that the ticket was made of"
        todo = f"for others, join without WEIGHTS and train with --init {weights}"
        raise UserError(f"expected the weights {which}, SHA-256 {wanted[:12]}..., found {found[:12]}...; {todo}")
