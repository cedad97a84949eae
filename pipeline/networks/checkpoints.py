"""Files of weights as people have them, known by their content: safetensors, and what torch.save wrote.

A .pth is opened `weights_only`. Of pickled objects it may hold an `argparse.Namespace`, and paths, numbers and arrays
of NumPy, which are read past; anything else is refused.
"""

import argparse
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, first_line

BARE = "bare"
DEPTH = 4  # dicts within dicts in which tensors are looked for
# What torch puts around a module leaves its name inside the names of the tensors.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
KEPT_IN = ("args", "hyper_parameters", "config", "opt")  # where the name of the model may be recorded
NAMES = ("arch", "model_name", "model")
# How other files begin, and what they are.
OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (`git lfs pull` fetches it)",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip file (unpack it first)",
    b"{": "a JSON file (of an index of shards, give the weights in one file)",
}


@dataclass(frozen=True)
class WeightSet:
    """Tensors that lie together in a file."""

    #: The keys that lead to them, joined by dots; empty where they lie bare, `bare` where they do beside others.
    name: str
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds."""

    path: str
    #: In the order of the file, without empty ones.
    sets: tuple[WeightSet, ...]
    #: Name of the model, where the file records it.
    model: str | None = None

    @classmethod
    def open(cls, path: str) -> "Checkpoint":
        """Raises UserError for other files, for checkpoints that hold pickled code, and where there are no tensors."""
        if files.is_dir(path):
            raise UserError(f"{path}: expected a file of weights, found a folder{_listed(path)}")
        with files.open_read(path) as stream:
            head = stream.read(512)
        if _is_safetensors(path, head):
            return cls(path, (WeightSet("", _plain(_read_safetensors(path), path)),))
        value = _read_pickled(path, head)
        found = list(_sets(value))
        sets = [WeightSet(name or (BARE if len(found) > 1 else ""), _plain(state, path)) for name, state in found]
        if not sets:
            raise UserError(f"{path}: expected tensors by name, found {_summary(value)}")
        return cls(path, tuple(sets), _recorded_model(value))


def _listed(folder: str) -> str:
    """The files of weights in `folder`, as the end of a message."""
    suffixes = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".index.json")
    names = [name for name in files.list_names(folder) if name.endswith(suffixes)]
    return f" with {', '.join(names[:5])}; give one of its files" if names else " without any"


def _is_safetensors(path: str, head: bytes) -> bool:
    """By content; files that are nothing else are what their suffix says."""
    if head[:2] in (b"PK", b"\x80\x02"):
        return False
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 32:
        return True
    return path.endswith(".safetensors") and _other(head) is None


def _read_safetensors(path: str) -> dict[str, Tensor]:
    try:
        return load_safetensors(files.read_bytes(path))
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # the last three: types that torch lacks
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None


class _ReadPast:
    """Stands for a path, or for a number, an array or a type of NumPy: takes what its pickle says and keeps nothing."""

    def __new__(cls, *_: Any) -> "_ReadPast":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


# Torch's unpickler looks a name up here and imports nothing.
SAFE_GLOBALS = [
    argparse.Namespace,
    (_ReadPast, "numpy.dtype"),
    (_ReadPast, "numpy.ndarray"),
    *(
        (_ReadPast, f"numpy.{core}.multiarray.{made}")
        for core in ("core", "_core")
        for made in ("scalar", "_reconstruct")
    ),
    *((_ReadPast, f"pathlib.{kind}") for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
]


def _read_pickled(path: str, head: bytes) -> Any:
    with files.open_read(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's remarks about what it then refuses
        try:
            with torch.serialization.safe_globals(SAFE_GLOBALS):
                return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError, ... for bad files
            why = _other(head) or _archive(stream) or _refusal(error)
            raise UserError(f"{path}: expected safetensors or a PyTorch checkpoint, found {why}") from None


def _other(head: bytes) -> str | None:
    """What a file that begins with `head` is, if it is no file of weights."""
    if not head:
        return "an empty file"
    lower = head.lstrip().lower()
    return next((what for start, what in OTHERS.items() if lower.startswith(start.lower())), None)


def _archive(stream: IO[bytes]) -> str | None:
    """What a zip file is, if torch.save did not write it."""
    try:
        names = zipfile.ZipFile(stream).namelist()
    except Exception:  # no zip file, or a damaged one, as torch has said
        return None
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript program; save the state_dict of its module instead"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy arrays (.npz)"
    return None


def _refusal(error: Exception) -> str:
    """Why torch did not open a checkpoint."""
    text = str(error)
    if found := re.search(r"GLOBAL (\S+) was not an allowed global|Trying to load unsupported GLOBAL (\S+)", text):
        pickled = found[1] or found[2]
        return (
            f"more than tensors and plain values: a pickled {pickled}, which is never opened; where the file is "
            "trusted, load it in Python and save its state_dict alone"
        )
    if "weights_only" in text.lower():
        return "more than tensors and plain values"
    return f"neither ({type(error).__name__}: {first_line(error)[:80]})"


def _sets(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(name, tensors) of every dict in `value` that holds tensors by name."""
    if not isinstance(value, dict) or len(keys) > DEPTH:
        return
    tensors = {name: each for name, each in value.items() if isinstance(name, str) and isinstance(each, Tensor)}
    if tensors:
        yield ".".join(keys), tensors
    for name, each in value.items():
        if isinstance(name, str) and isinstance(each, dict):
            yield from _sets(each, (*keys, name))


def _plain(state: dict[str, Tensor], path: str) -> dict[str, Tensor]:
    """`state` without the names of torch's wrappers; raises UserError for sparse and quantised tensors."""
    for name, value in state.items():
        if type(value) not in (Tensor, nn.Parameter) or value.layout != torch.strided or value.is_quantized:
            kind = str(value.layout).removeprefix("torch.") if value.layout != torch.strided else "quantised"
            raise UserError(f"{path}: expected tensors by name, all of them dense, found {name} ({kind})")
    unwrapped = {".".join(p for p in name.split(".") if p not in WRAPPERS): value for name, value in state.items()}
    return unwrapped if len(unwrapped) == len(state) else state


def _summary(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    return f"none under the keys {', '.join(map(str, list(value)[:5]))}" if value else "an empty dict"


def _recorded_model(value: Any) -> str | None:
    """The name of the model that the checkpoint `value` records: as timm, DeiT and Lightning do."""
    if not isinstance(value, dict):
        return None
    for place in (value, *(value.get(name) for name in KEPT_IN)):
        entries = vars(place) if isinstance(place, argparse.Namespace) else place
        if not isinstance(entries, Mapping):
            continue
        for name in NAMES:
            if isinstance(found := entries.get(name), str):
                return found
    return None
