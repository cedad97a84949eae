"""Names of the authors' own checkpoints as timm has them, by the function with which timm converts its downloads."""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from vit_tickets.pipeline.networks.checkpoints import WeightSet


def converter_of(network: nn.Module) -> Callable[[dict[str, Tensor], nn.Module], Any] | None:
    """The function with which timm converts checkpoints for networks of this kind, if it has one."""
    modules = (sys.modules.get(kind.__module__) for kind in type(network).__mro__)
    return next((found for each in modules if (found := getattr(each, "checkpoint_filter_fn", None))), None)


def renaming(network: nn.Module) -> "partial[WeightSet]":
    """`renamed` for `network`."""
    return partial(renamed, network=network)


def renamed(one: WeightSet, network: nn.Module) -> WeightSet:
    """`one` under timm's names, where timm converts such checkpoints (Swin's, for one) by renaming alone; else `one`.

    Tensors that timm would have to resample are no such case: weights for other sizes are never changed unseen.
    """
    convert = converter_of(network)
    if convert is None:
        return one
    try:
        shared = os.path.commonpath([name.replace(".", "/") for name in one.state])
        prefix = f"{shared.replace('/', '.')}." if shared else ""
        found = convert({name.removeprefix(prefix): value for name, value in one.state.items()}, network)
    except Exception:  # it was made for other checkpoints
        return one
    given = {value.data_ptr() for value in one.state.values()}
    if not all(isinstance(value, Tensor) and value.data_ptr() in given for value in found.values()):
        return one
    return WeightSet(one.name, dict(found))
