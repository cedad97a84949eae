"""Multiply-adds of a pass in which weights of 0 cost nothing: what papers on pruning count.

A machine multiplies zeros like other numbers; what it executes is `counting.forward_pass`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vit_tickets.train.accounting.counting import forward_pass
from vit_tickets.train.sparsity.units.alive import Alive
from vit_tickets.train.sparsity.units.layers import attentions_of, units_fault

WEIGHTED = (F.linear, F.conv2d, torch.conv2d)


@dataclass(frozen=True)
class Dead:
    """What of a network is masked.

    Attributes:
        weights: how many weights of a layer are dead, by name of the parameter.
        heads: how wide the dead heads of an attention are together (their number times d), by name of its qkv layer's
            parameter. The products of their queries, keys and values cost nothing.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    heads: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_masks(cls, network: nn.Module, masks: Mapping[str, Tensor]) -> "Dead":
        """What is of no use in `network` under `masks`, bool by name of a parameter, True for the living.

        All that belongs to a head or neuron without output is dead, too: what computes it, its products, and the
        weights that read it.
        """
        if units_fault(network) is not None:
            return cls({name: int((~mask).sum()) for name, mask in masks.items()})
        alive = Alive.of_masks(network, masks)
        together = dict(masks)
        for of_units in (alive.masks(network), alive.reading_masks(network)):
            for name, mask in of_units.items():
                together[name] = mask & together[name] if name in together else mask
        widths = {name: layer.head_dim for name, layer in attentions_of(network).items()}
        return cls(
            {name: int((~mask).sum()) for name, mask in together.items()},
            {f"{name}.qkv.weight": int((~of).sum()) * widths[name] for name, of in alive.heads.items()},
        )


def masked_pass(model: nn.Module, image_size: int, kept: int | None, dead: Dead) -> int:
    """Multiply-adds of classifying one image, without those of what is `dead`.

    A layer costs its living weights for every position (token, or place of a feature map), and an attention 2 T^2 d for
    each living head, with T tokens.

    Args:
        model: a `skeleton`; names in `dead` are those of `model.network`.
        image_size: side of its images in pixels.
        kept: patches that it computes; None for all.
        dead: what is masked.
    """
    with _Positions(model.get_submodule("network")) as positions:
        executed = forward_pass(model, image_size, kept)
    weights = sum(count * sum(positions.of.get(name, [])) for name, count in dead.weights.items())
    products = sum(2 * width * sum(n * n for n in positions.of.get(name, [])) for name, width in dead.heads.items())
    return executed - weights - products


class _Positions(TorchFunctionMode):
    """Records to how many positions each weight of `network` is applied, call by call."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.of: dict[str, list[int]] = {}
        self.names = {id(parameter): name for name, parameter in network.named_parameters()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        weight = args[1] if len(args) > 1 else (kwargs or {}).get("weight")
        if func in WEIGHTED and isinstance(weight, Tensor):
            whole = weight if weight._base is None else weight._base  # patches are embedded by a view of the weight
            if (name := self.names.get(id(whole))) is not None and weight.numel() == whole.numel():
                self.of.setdefault(name, []).append(output.numel() // weight.shape[0])
        return output
