"""`last.pt`: everything that a run needs to go on, as tensors and plain values, so that `weights_only` loads it."""

from typing import Any

import torch

from vit_tickets.pipeline import files
from vit_tickets.pipeline.errors import UserError


def save(path: str, state: dict[str, Any]) -> None:
    """Write `state` beside its place and move it: a crash while writing leaves the last good one."""
    with files.atomic_write(path) as stream:
        torch.save(state, stream)


def load(path: str) -> dict[str, Any]:
    """The state at `path`, on the CPU; raises UserError where it is damaged or holds more than tensors and values."""
    with files.open_read(path) as stream:
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError ... for bad files
            raise UserError(f"{path} cannot be resumed from: {str(error).splitlines()[0]}") from None
