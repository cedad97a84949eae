"""Files of tensors and their hash, without PyTorch."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

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


def metadata_of(content: bytes, path: str) -> dict[str, Any]:
    """The metadata in the `content` of the safetensors file at `path`; empty where it has none.

    Raises UserError for what is no safetensors file.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        return dict(json.loads(content[8 : 8 + length]).get("__metadata__", {}))
    except (AttributeError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None
