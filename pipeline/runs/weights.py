"""The identity of a finished run's weights, read without PyTorch."""

import hashlib

from safetensors import SafetensorError
from safetensors.numpy import load

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


def weights_sha256(path: str) -> str:
    """SHA-256 over names, shapes, types and values of the tensors in the safetensors file at `path`.

    Equal to `pipeline.networks.state.weights_sha256` of the network that has them. Raises UserError for a file
    that is no safetensors file, or has types that NumPy lacks.
    """
    try:
        state = load(files.read_bytes(path))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}:{value.shape}:torch.{value.dtype};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
