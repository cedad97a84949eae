"""The shrunk network of a run on disk: RUN/shrunk.safetensors, and RUN/shrunk.json, which says how to build it."""

import msgspec
from safetensors.torch import save
from torch import nn

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import typed
from vit_tickets.train.sparsity.scopes import NEVER
from vit_tickets.train.sparsity.units.shrink import Record

SHRUNK, RECORD = "shrunk.safetensors", "shrunk.json"


def write_shrunk(root: str, shrunk: nn.Module, record: Record) -> None:
    """Write both files to the folder `root`, the weights last: those of timm's names, without a scorer of tokens."""
    files.write_json(files.join(root, RECORD), msgspec.to_builtins(record))
    state = {
        name: value.detach().cpu().contiguous()
        for name, value in shrunk.state_dict().items()
        if name.split(".")[0] not in NEVER
    }
    with files.atomic_write(files.join(root, SHRUNK)) as stream:
        stream.write(save(state))


def read_record(root: str) -> Record:
    """RUN/shrunk.json; raises UserError where it is missing or malformed."""
    path = files.join(root, RECORD)
    try:
        return typed(files.read_json(path), Record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
