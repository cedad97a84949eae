"""The optimizer of a recipe."""

from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer

from vit_tickets.train.recipes.recipe import Recipe


def build_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW or SGD over all of `network` (a timm model) that has gradients, in two groups if there is weight decay.

    With layer-wise decay of the rate each layer has its groups, with the scale of its rate (`lr_scale`): the decay to
    the power of the number of layers above it, in timm's counting; 1 for the head.

    Weight decay leaves out parameters of one dimension (biases, norms) and those that `network.no_weight_decay()`
    names: positions, class and register tokens, Swin's relative position bias.

    Contiguous weights are updated by torch's fused kernels, on a CPU in an eighth of the time of a loop. Others are
    not: the kernels walk through memory, and ignore that a moment may have another memory format than its weight.
    """
    fused = all(parameter.is_contiguous() for parameter in network.parameters())
    decay = None if recipe.layer_decay == 1 else recipe.layer_decay
    settings = {"lr": recipe.peak_lr, "weight_decay": recipe.weight_decay, "layer_decay": decay, "fused": fused}
    if recipe.opt == "sgd":
        # timm calls Nesterov's variant `sgd`, the plain one `momentum`
        name = "sgd" if recipe.nesterov and recipe.momentum else "momentum"
        return create_optimizer_v2(network, opt=name, momentum=recipe.momentum, **settings)
    return create_optimizer_v2(network, opt=recipe.opt, **settings)


def load_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load the state of another optimizer, whose weights may have had another memory format."""
    fused = [group["fused"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, fused, strict=True):
        group["fused"] = own
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def start_momentum(optimizer: Optimizer) -> None:
    """Give SGD its momentum, 0, ahead of the first step, which moves the weights as it would without.

    If a gradient scaler skips that step, torch's fused kernel goes on with momentum that was never set.
    """
    for group in optimizer.param_groups:
        if group.get("momentum"):
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, each times its own scale where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def learning_rate_of(optimizer: Optimizer) -> float:
    """The rate that `set_learning_rate` was given: that of the head, whose scale is 1."""
    return max(optimizer.param_groups, key=lambda group: group.get("lr_scale", 1.0))["lr"]
