"""The layers of a network whose units can be removed: heads of timm's `Attention`, neurons of timm's `Mlp`."""

from typing import cast

import torch
from timm.layers import Attention, Mlp
from torch import nn

from vit_tickets.pipeline.system.errors import UserError


def attentions_of(network: nn.Module) -> dict[str, Attention]:
    """The attention layers of `network` by name, in its order."""
    return {name: layer for name, layer in network.named_modules() if type(layer) is Attention}


def mlps_of(network: nn.Module) -> dict[str, Mlp]:
    """The MLPs of `network` by name, in its order."""
    return {name: layer for name, layer in network.named_modules() if type(layer) is Mlp}


def fc1_of(mlp: nn.Module) -> nn.Linear:
    """The layer that computes the neurons of one of `mlps_of`."""
    return cast("nn.Linear", mlp.fc1)


def fc2_of(mlp: nn.Module) -> nn.Linear:
    """The layer that reads the neurons of one of `mlps_of`."""
    return cast("nn.Linear", mlp.fc2)


def check_has_units(network: nn.Module) -> None:
    """Raise UserError unless a unit of zero weights adds exactly nothing to the output of every layer.

    That takes timm's own Attention and Mlp in every block, without a norm over all heads or neurons, and an activation
    that maps 0 to 0.
    """
    if fault := units_fault(network):
        raise UserError(f"whole heads and neurons: {fault}")


def units_fault(network: nn.Module) -> str | None:
    """Why units of `network` cannot be removed; None if they can: see `check_has_units`."""
    name = type(network).__name__
    blocks = getattr(network, "blocks", None)
    found = len(blocks) if isinstance(blocks, nn.ModuleList | nn.Sequential) else 0
    attentions, mlps = attentions_of(network), mlps_of(network)
    if not found or len(attentions) != found or len(mlps) != found:
        return f"expected a vision transformer with timm's Attention and Mlp in every block, found a {name}"
    for layer, attention in attentions.items():
        if attention.gate is not None or not isinstance(attention.norm, nn.Identity):
            return f"expected heads that add to one another, found a gate or a norm over all in {layer} of a {name}"
    for layer, mlp in mlps.items():
        if not isinstance(mlp.fc1, nn.Linear) or not isinstance(mlp.norm, nn.Identity):
            return f"expected neurons that add to one another, found a norm over all in {layer} of a {name}"
        if (at_zero := mlp.act(torch.zeros(1, device="cpu")).item()) != 0:
            act = type(mlp.act).__name__
            return f"expected an activation that is 0 at 0, found {act}, {at_zero:g} there, in {layer} of a {name}"
    return None
