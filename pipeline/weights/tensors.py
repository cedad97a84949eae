"""Files of tensors and their hash, without PyTorch."""

import hashlib
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


def state_sha256(state: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes, types and values of tensors, whatever file they came from.

    Equal to `pipeline.networks.state.weights_sha256` of the network that has them.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}:{value.shape}:torch.{value.dtype};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def read_tensors(path: str) -> dict[str, np.ndarray]:
    """The tensors in the safetensors file at `path`, by name; raises UserError as `tensors_of` does."""
    return tensors_of(files.read_bytes(path), path)


def tensors_of(content: bytes, path: str) -> dict[str, np.ndarray]:
    """The tensors in the `content` of the safetensors file at `path`, by name.

    Raises UserError for what is no safetensors file, or has types that NumPy lacks.
    """
    try:
        return load(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None
