"""Where a run leaves weights of its epochs and the masks that it ends with."""

import re

FINAL_MASKS = "masks"  # the folder of the final weight ticket
_EPOCH = re.compile(r"epoch-(\d{4,})\.safetensors")


def epoch_weights(epoch: int) -> str:
    """Name of the file with the weights that a run has before the first step of `epoch`, counted from 0."""
    return f"epoch-{epoch:04d}.safetensors"


def epoch_of(path: str) -> int | None:
    """The epoch of a file that `epoch_weights` names; None for other files."""
    found = _EPOCH.fullmatch(path.replace("\\", "/").rpartition("/")[2])
    return int(found[1]) if found else None
