"""What `inspect` prints of a weight ticket: how sparse each layer is, and which heads and neurons are left."""

from collections.abc import Iterator, Mapping

import numpy as np

from vit_tickets.pipeline.weights.ticket import REWIND, Soup, WeightTicket

NEURONS = ".fc1.weight"  # the weight whose rows are the neurons of an MLP, in timm's names
COLUMNS = ("layer", "shape", "alive", "of", "dropped", "outputs alive")


def heads_alive(mask: np.ndarray, heads: int) -> int:
    """Heads whose values are not all dropped.

    mask: bool (3 D, C), of the weight that makes queries, keys and values; head h has rows h D/H ... (h+1) D/H of each.
    """
    return int(mask.reshape(3, heads, -1)[2].any(axis=1).sum())


def outputs_alive(mask: np.ndarray) -> int:
    """Rows of a mask (O, ...), bool, with a weight left: neurons of a linear layer, channels of a convolution."""
    return int(mask.reshape(len(mask), -1).any(axis=1).sum())


def describe(ticket: WeightTicket, masks: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Lines about a ticket and each of its layers. masks: bool, by name."""
    yield f"{ticket.root}: weight ticket of {ticket.model}, {ticket.num_classes:,} classes, {ticket.image_size} px"
    counted = f", {ticket.rounds} round{'' if ticket.rounds == 1 else 's'}"
    allocation = f", {ticket.allocation}" if ticket.allocation else ""
    yield f"pruned     {ticket.scope} by {ticket.criterion}{allocation}{counted}"
    if ticket.soup:
        yield f"soup       {_soup(ticket.soup)}"
    yield f"dropped    {ticket.sparsity:.2%} of the scope: {ticket.alive:,} of {ticket.size:,} weights are alive"
    left = ticket.parameters - (ticket.size - ticket.alive)
    yield f"network    {ticket.of_network:.2%} dropped: {left:,} of {ticket.parameters:,} parameters are left"
    yield f"masks      SHA-256 {str(ticket.masks_sha256)[:12]}" + _short(", nested in", ticket.parent_sha256)
    yield f"from       {_origin(ticket)}"
    if ticket.rewind_sha256:
        epoch = "" if ticket.rewind_epoch is None else f", of epoch {ticket.rewind_epoch}"
        yield f"start      {REWIND}{epoch}, SHA-256 {ticket.rewind_sha256[:12]}"
    else:
        yield "start      no weights of its own"
    yield from _table([COLUMNS, *(_row(name, mask, ticket) for name, mask in masks.items())])
    if dead := [name for name, (alive, _) in ticket.counts.items() if not alive]:
        yield f"no weight is left in {', '.join(dead)}: what passes there are biases and shortcuts alone"


def _soup(soup: Soup) -> str:
    """What was merged: `5 masks, pruned to 30%, 35% of scope; merged by kept, 27.10%, then by magnitude to 50%`."""
    pruned = ", ".join(f"{100 * member.sparsity:g}%" for member in soup.members)
    further = "" if soup.top_up is None else f", then by magnitude to {100 * soup.top_up:g}%"
    merged = f"merged by {soup.merge}: {soup.sparsity:.2%}{further}"
    return f"{len(soup.members)} masks, dropping {pruned} of {soup.of}; {merged}"


def _row(name: str, mask: np.ndarray, ticket: WeightTicket) -> tuple[str, ...]:
    alive, size = ticket.counts[name]
    shape = " x ".join(str(length) for length in mask.shape)
    units = f"{outputs_alive(mask):,} of {len(mask):,}"
    if heads := (ticket.heads or {}).get(name):
        units = f"{heads_alive(mask, heads)} of {heads} heads"
    elif name.endswith(NEURONS):
        units += " neurons"
    return name, shape, f"{alive:,}", f"{size:,}", f"{1 - alive / size:.2%}", units


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, 1, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _short(words: str, sha256: str | None) -> str:
    return f"{words} {sha256[:12]}" if sha256 else ""


def _origin(ticket: WeightTicket) -> str:
    ranked = ticket.weights_sha256 and ticket.weights_sha256[:12]
    known = {"run": ticket.run, "dataset": ticket.dataset, "seed": ticket.seed, "ranked weights": ranked}
    return ", ".join(f"{word} {value}" for word, value in known.items() if value is not None) or "unknown"
