"""State dicts: read from files, loaded strictly, and the hash that identifies them."""

import hashlib
import warnings
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

WRAPPERS = ("model", "state_dict")
PARALLEL = "module."  # how DistributedDataParallel begins all names


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a .pth loaded `weights_only`, bare or under `model` / `state_dict`.

    Raises UserError for files that are neither, and for checkpoints that hold pickled code.
    """
    return _read_safetensors(path) if path.endswith(".safetensors") else _unwrapped(_read_checkpoint(path), path)


def _read_safetensors(path: str) -> dict[str, Tensor]:
    try:
        return load_safetensors(files.read_bytes(path))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # the last three: types that torch lacks
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None


def _read_checkpoint(path: str) -> Any:
    with files.open_read(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks about what it then refuses
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, ... for bad files
            code = "weights_only" in str(error).lower()
            why = "more than tensors and plain values" if code else f"neither ({type(error).__name__})"
            raise UserError(f"{path}: expected safetensors or a PyTorch checkpoint, found {why}") from None


def _unwrapped(state: Any, path: str) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(_is_tensor(name, value) for name, value in state.items()):
        raise UserError(f"{path}: expected tensors by name, bare or under 'model' or 'state_dict', found others")
    if state and all(name.startswith(PARALLEL) for name in state):
        state = {name.removeprefix(PARALLEL): value for name, value in state.items()}
    return state


def _is_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided


def load_strictly(model: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Load `state` into `model`; raises UserError naming what is missing, unexpected, misshapen or not finite."""
    if faults := _misfits(model.state_dict(), state):
        raise UserError(f"{origin}: expected weights that fit the model, found {'; '.join(faults)}")
    odd = [name for name, value in state.items() if value.is_complex() or not value.isfinite().all()]
    if odd:
        raise UserError(f"{origin}: expected finite real numbers, found others in {len(odd)} tensors ({odd[0]} ...)")
    model.load_state_dict(state, strict=True)


def _misfits(own: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    faults = []
    for what, names in (("missing", own.keys() - state.keys()), ("unexpected", state.keys() - own.keys())):
        if names:
            faults.append(f"{len(names)} {what} ({', '.join(sorted(names)[:3])}{' ...' if len(names) > 3 else ''})")
    misshapen = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    faults += [f"{name} of shape {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in misshapen[:3]]
    return faults


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all parameters and buffers, whatever file they came from."""
    return state_sha256(model.state_dict())


def state_sha256(state: dict[str, Tensor]) -> str:
    """`weights_sha256` of the model that has the parameters and buffers `state`."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
