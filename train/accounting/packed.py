"""Networks whose masks are 2:4, packed for sparse tensor cores, which skip the zeros.

Two of four inputs that follow one another in a row stay (`prune --pattern 2:4`; Mishra et al. 2021). Packing is torch's
`to_sparse_semi_structured`: on NVIDIA GPUs of compute capability 8.0 and above, in bf16 and fp16.

Legend: O outputs, I inputs.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured

from vit_tickets.pipeline.system.errors import first_line

M = TypeVar("M", bound=nn.Module)
PATTERN = "2:4"
CAPABILITY = (8, 0)
ROWS, COLUMNS = 32, 64  # what outputs and inputs must be multiples of, in both backends of torch


def patterned(network: nn.Module, masks: Mapping[str, Tensor]) -> list[str]:
    """Names of the linear layers whose weights are 2:4 under `masks`, bool by name of a parameter, True for the
    living: at most 2 of every 4 inputs of a row are alive."""
    return [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
        and (alive_OI := masks.get(f"{name}.weight")) is not None
        and layer.in_features % 4 == 0
        and bool((alive_OI.reshape(-1, 4).sum(1) <= 2).all())
    ]


def misfits(network: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """Those of the layers `names` that cannot be packed, each with the reason."""
    found = {}
    for name in names:
        outputs, inputs = network.get_submodule(name).get_parameter("weight").shape
        if outputs % ROWS or inputs % COLUMNS:
            found[name] = f"expected outputs by {ROWS}s and inputs by {COLUMNS}s, found {outputs} x {inputs}"
    return found


def lacking(device: str, dtype: torch.dtype) -> str | None:
    """What packing lacks on `device` in `dtype`; None if nothing."""
    needs = "an NVIDIA GPU of compute capability 8.0 (A100, RTX 30) or above, and bf16 or fp16"
    precision = str(dtype).removeprefix("torch.")
    if not device.startswith("cuda"):
        return f"expected {needs}, found {device}"
    if (capability := torch.cuda.get_device_capability(device)) < CAPABILITY:
        return f"expected {needs}, found capability {'.'.join(map(str, capability))}"
    return None if dtype in (torch.bfloat16, torch.float16) else f"expected {needs}, found {precision}"


@torch.inference_mode()
def packed(model: M, names: Sequence[str], device: str, dtype: torch.dtype) -> M:
    """A copy of `model` on `device` in `dtype`, with the layers `names` of `model.network` packed.

    Raises RuntimeError where torch cannot pack them, with its reason in a line.
    """
    made = copy.deepcopy(model).to(device, dtype)
    network = made.get_submodule("network")
    for name in names:
        layer = network.get_submodule(name)
        try:
            weight = to_sparse_semi_structured(layer.get_parameter("weight").contiguous())
        except (RuntimeError, NotImplementedError) as error:
            raise RuntimeError(f"{name}: {first_line(error)}") from None
        layer.weight = nn.Parameter(weight, requires_grad=False)
    return made


def gains(faster: int, rounds: int) -> bool:
    """Whether having been faster in so many of the rounds is more than chance: sign test, one-sided, at 5%."""
    return sum(math.comb(rounds, count) for count in range(faster, rounds + 1)) <= 0.05 * 2**rounds
