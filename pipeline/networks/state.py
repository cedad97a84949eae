"""State dicts: read from files, loaded strictly, and the hash that identifies them."""

import hashlib

import torch
from torch import Tensor, nn

from vit_tickets.pipeline.networks.checkpoints import Checkpoint
from vit_tickets.pipeline.networks.fitting import (
    Names,
    OtherModel,
    classifiers_of,
    described,
    find_weights,
    misnamed,
    other_model,
    sizes_of,
)
from vit_tickets.pipeline.networks.renaming import renaming
from vit_tickets.pipeline.system.errors import UserError, say


def load_file(network: nn.Module, path: str, key: str | None = None, classes: str = "the model") -> None:
    """Load the weights that the file at `path` has for `network`, strictly; a line says which, where there is a choice.

    Args:
        network: of timm, or ours.
        path: of a file that `checkpoints` and `fitting` describe.
        key: `--weights-key`.
        classes: what the number of classes is from, for messages.

    Raises:
        UserError: there are no such weights, or they are not finite.
    """
    opened = Checkpoint.open(path)
    found, note = find_weights(opened, Names.of(network), name_of(network), key, renaming(network))
    check_classes(network, found.state, path, classes)
    load_strictly(network, found.state, path, opened.model)
    if note:
        say(note)


def check_classes(network: nn.Module, state: dict[str, Tensor], origin: str, classes: str) -> None:
    """Raise UserError where the classifier in `state` is of another number of classes than `classes`, or missing."""
    own, name = network.state_dict(), f"{classifiers_of(network)[0]}.weight"
    expected, weight = own.get(name), state.get(name)
    if expected is None or expected.ndim != 2:
        return
    what = f"{origin}: expected weights of {name_of(network)} for {len(expected):,} classes, as {classes} has"
    if not Names.of(network).classifier & state.keys():
        raise UserError(f"{what}, found such without a classifier (no {name})")
    if weight is not None and weight.ndim == 2 and len(weight) != len(expected):
        if weight.shape[1] != expected.shape[1]:
            raise UserError(f"{what}, found {described(state)} for {len(weight):,}")
        todo = f"give weights for these {len(expected):,}, or a dataset that has all {len(weight):,} in their order"
        raise UserError(f"{what}, found such for {len(weight):,}; no option picks classes: {todo}")


def name_of(network: nn.Module) -> str:
    """The name of `network` in timm, or that of its class."""
    return (getattr(network, "pretrained_cfg", None) or {}).get("architecture") or type(network).__name__


def load_strictly(
    model: nn.Module,
    state: dict[str, Tensor],
    origin: str,
    recorded: str | None = None,
    stored: dict[str, Tensor] | None = None,
) -> None:
    """Load `state` into `model`; raises UserError naming what is missing, unexpected, misshapen or not finite.

    recorded: the name of the model, where the file of `state` records it.
    stored: the tensors as they are in the file, where `state` was fitted to the model: messages are about these.
    """
    own, stored = model.state_dict(), state if stored is None else stored
    misshapen = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    faults = misnamed(own, state)
    shapes = [(name, *(tuple(each.get(name, state[name]).shape) for each in (stored, own))) for name in misshapen[:3]]
    faults += [f"{name} of shape {found} for {expected}" for name, found, expected in shapes]
    if faults:
        what, sizes = (f"{described(stored, recorded)}: ", sizes_of(own)) if misshapen else ("", "")
        fitting = f"{name_of(model)} ({sizes})" if sizes else name_of(model)
        other = other_model(stored, recorded, name_of(model)) if misshapen else None
        found = described(stored, recorded) if other else f"{what}{'; '.join(faults)}"
        raise OtherModel(f"{origin}: expected weights that fit {fitting}, found {found}", other)
    odd = [name for name, value in state.items() if value.is_complex() or not value.isfinite().all()]
    if odd:
        raise UserError(f"{origin}: expected finite real numbers, found others in {len(odd)} tensors ({odd[0]} ...)")
    model.load_state_dict(state, strict=True)


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all parameters and buffers, whatever file they came from."""
    return state_sha256(model.state_dict())


def state_sha256(state: dict[str, Tensor]) -> str:
    """`weights_sha256` of the model that has the parameters and buffers `state`."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}:{tuple(value.shape)}:{value.dtype};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
