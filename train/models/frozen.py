"""A network of which the head alone learns."""

from torch import nn

from vit_tickets.pipeline.networks.fitting import classifiers_of


def freeze(network: nn.Module) -> None:
    """Take the gradients from all parameters of `network` (a timm model) but those of its last layers."""
    heads = tuple(f"{layer}." for layer in classifiers_of(network))
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(heads))
