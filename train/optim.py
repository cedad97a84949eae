"""The optimizer of a recipe."""

from timm.optim import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer

from vit_tickets.train.recipe import Recipe


def build_optimizer(network: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW or SGD over all of `network` (a timm model), in two groups where there is weight decay.

    Not decayed: what has one dimension (biases, norms), and what `network.no_weight_decay()` names: positions, class
    and register tokens, Swin's relative position bias.
    """
    settings = {"lr": recipe.peak_lr, "weight_decay": recipe.weight_decay}
    if recipe.opt == "sgd":
        # timm calls Nesterov's variant `sgd`, the plain one `momentum`
        name = "sgd" if recipe.nesterov and recipe.momentum else "momentum"
        return create_optimizer_v2(network, opt=name, momentum=recipe.momentum, **settings)
    return create_optimizer_v2(network, opt=recipe.opt, **settings)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Take all groups' next step at `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
