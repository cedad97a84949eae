"""Files of weights and checkpoints as the world has them: pickled code, cut off, of other shapes, not finite.

`WEIGHTS` lists the kinds, `CHECKPOINTS` those of last.pt. A pickle that is run leaves the file `MARKER` behind.
"""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

MARKER = "/tmp/vit-tickets-pickle-was-run"  # noqa: S108 (never made)
State = dict[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """kind: the row of the table. make: the bytes, of a true state. error: a part of why they are refused."""

    kind: str
    suffix: str
    make: Callable[[State], bytes]
    error: str | None


class Evil:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path(MARKER),)


def saved(value: Any) -> bytes:
    """What torch.save writes."""
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def with_header(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    """A safetensors file with this header, and what it says of its length."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def changed(change: Callable[[State], Any]) -> Callable[[State], bytes]:
    """A safetensors file of a state that `change` has been at."""

    def make(state: State) -> bytes:
        state = {name: value.clone() for name, value in state.items()}
        change(state)
        return save_safetensors(state)

    return make


def sparse(state: State) -> bytes:
    return saved(state | {"head.weight": state["head.weight"].to_sparse()})


def zipped(state: State) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../escaped.pkl", pickle.dumps({}))
    return out.getvalue()


def cut(share: float, make: Callable[[State], bytes]) -> Callable[[State], bytes]:
    return lambda state: (data := make(state))[: int(share * len(data))]


NOT_SAFETENSORS, REFUSED = "cannot be read as safetensors", "expected safetensors or a PyTorch checkpoint"
NO_FIT = "expected weights that fit deit_micro"
TENSORS = "expected tensors by name"
BIAS = "head.bias"

WEIGHTS = [
    Weights("nothing wrong", "safetensors", save_safetensors, None),
    Weights("nothing wrong, pickled", "pth", saved, None),
    Weights("pickled code", "pth", lambda state: pickle.dumps(Evil()), REFUSED),
    Weights("pickled code among weights", "pt", lambda state: saved({"model": state, "args": Evil()}), REFUSED),
    Weights("pickled code as safetensors", "safetensors", lambda state: pickle.dumps(Evil()), NOT_SAFETENSORS),
    Weights("safetensors as pickle", "pth", save_safetensors, None),
    Weights("safetensors, empty", "safetensors", lambda state: b"", REFUSED),
    Weights("safetensors cut in its header", "safetensors", cut(0.0005, save_safetensors), NOT_SAFETENSORS),
    Weights("safetensors cut in its data", "safetensors", cut(0.9, save_safetensors), NOT_SAFETENSORS),
    Weights("safetensors with a header of 2^60", "safetensors", lambda s: with_header(b"{}", 1 << 60), NOT_SAFETENSORS),
    Weights("safetensors with a header of garbage", "safetensors", lambda s: with_header(b"\xff"), NOT_SAFETENSORS),
    Weights("safetensors nested deep", "safetensors", lambda s: with_header(b"[" * 90_000), NOT_SAFETENSORS),
    Weights(
        "safetensors with data elsewhere",
        "safetensors",
        lambda s: with_header(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4096,4100]}}'),
        NOT_SAFETENSORS,
    ),
    Weights(
        "safetensors of 2^40 numbers",
        "safetensors",
        lambda s: with_header(b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}', data=bytes(4)),
        NOT_SAFETENSORS,
    ),
    Weights(
        "safetensors of an unknown type",
        "safetensors",
        lambda s: with_header(b'{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', data=bytes(4)),
        NOT_SAFETENSORS,
    ),
    Weights("pickle, empty", "pth", lambda state: b"", REFUSED),
    Weights("pickle cut off", "pth", cut(0.5, saved), REFUSED),
    Weights("text", "pth", lambda state: b"weights\n", REFUSED),
    Weights("a zip with a name that climbs", "pth", zipped, REFUSED),
    Weights("a list", "pth", lambda state: saved([1, 2]), TENSORS),
    Weights("numbers for names", "pth", lambda state: saved(dict(enumerate(state.values()))), TENSORS),
    Weights("settings among tensors", "pth", lambda state: saved(state | {"epoch": 3}), None),
    Weights("a sparse tensor", "pth", sparse, TENSORS),
    Weights("no tensors", "safetensors", lambda state: save_safetensors({}), f"{NO_FIT}, found 56 missing"),
    Weights("a name missing", "safetensors", changed(lambda s: s.pop(BIAS)), f"1 missing ({BIAS})"),
    Weights("a name too many", "safetensors", changed(lambda s: s.update(x=torch.ones(1))), "1 unexpected (x)"),
    Weights("another shape", "safetensors", changed(lambda s: s.update({BIAS: torch.ones(7)})), "head.bias of shape"),
    Weights("NaN", "safetensors", changed(lambda s: s[BIAS].fill_(float("nan"))), "expected finite real numbers"),
    Weights("infinity", "safetensors", changed(lambda s: s[BIAS].fill_(float("inf"))), "expected finite real numbers"),
    Weights("complex numbers", "safetensors", changed(lambda s: s.update({BIAS: s[BIAS] * 1j})), "finite real numbers"),
]

RESUMED = "cannot be resumed from"

# Of last.pt: `make` takes what `checkpoint.load` gives.
CHECKPOINTS = [
    Weights("nothing wrong", "pt", saved, None),
    Weights("empty", "pt", lambda state: b"", RESUMED),
    Weights("garbage", "pt", lambda state: b"\x80garbage", RESUMED),
    Weights("cut off", "pt", cut(0.7, saved), RESUMED),
    Weights("pickled code", "pt", lambda state: pickle.dumps(Evil()), RESUMED),
    Weights("pickled code in it", "pt", lambda state: saved(state | {"more": Evil()}), RESUMED),
    Weights("a list", "pt", lambda state: saved([state]), "expected version 2, found None"),
    Weights("another version", "pt", lambda state: saved(state | {"version": 99}), "expected version 2, found 99"),
    Weights("no model", "pt", lambda state: saved(state | {"model": None}), RESUMED),
    Weights("another model", "pt", lambda state: saved(state | {"model": {"x": torch.ones(1)}}), RESUMED),
    Weights("no optimizer", "pt", lambda state: saved(state | {"optimizer": {}}), RESUMED),
    Weights("no position", "pt", lambda state: saved(state | {"position": {}}), RESUMED),
    Weights("sums of something else", "pt", lambda state: saved(state | {"sums": {"x": 1}}), RESUMED),
]
