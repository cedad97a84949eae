"""`last.pt`: everything that a run needs to resume, as tensors and plain values, so that `weights_only` loads it.

It holds no random states: order and crops are drawn from (seed, epoch, key), and the draws of the model from (seed,
step, rank), so the position determines them all, for every rank and worker.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, first_line
from vit_tickets.train.data.plan import Position, Segment

VERSION = 2


def save(path: str, state: dict[str, Any]) -> None:
    """Write `state` to a temporary file and move it: a crash while writing leaves the last good checkpoint."""
    with files.atomic_write(path) as stream:
        torch.save(state | {"version": VERSION}, stream)


def load(path: str) -> dict[str, Any]:
    """The state at `path`, on the CPU; raises UserError if it is damaged, of another version, or holds more than
    tensors and plain values."""
    with files.open_read(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks about what it then refuses
        try:
            state = torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError ... for bad files
            raise UserError(f"{path} cannot be resumed from: {first_line(error)}") from None
    version = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise UserError(
            f"{path} cannot be resumed from: expected version {VERSION}, found {version}; start again with --overwrite"
        )
    if "hooks" not in state:  # an older file: the moving average, or None, was the only one
        average = state.pop("ema", None)
        state["hooks"] = {} if average is None else {"moving_average": average}
    return state


@contextlib.contextmanager
def restoring(path: str) -> Iterator[None]:
    """Turn errors from using what `load` read from `path` into a UserError: its parts are of another run."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{path} cannot be resumed from: {why}; start again with --overwrite") from None


def pack_position(position: Position) -> dict[str, Any]:
    """`position` as plain values."""
    return asdict(position)


def unpack_position(value: dict[str, Any]) -> Position:
    return Position(value["epoch"], tuple(Segment(**segment) for segment in value["segments"]))
