"""Sets of parameters that masks may lie on, found by module: weights of `nn.Linear` and `nn.Conv2d`.

Biases, norms, tokens, positions and tables of relative positions are in none of them, nor is a scorer of tokens.
"""

from collections.abc import Iterator

from timm.layers import StdConv2d
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2dSame
from torch import nn

from vit_tickets.pipeline.system.errors import UserError

SCOPES = {
    "msa": "weights of the attention of all blocks",
    "mlp": "weights of the MLPs of all blocks",
    "blocks": "msa and mlp",
    "all": "every linear layer and convolution, patch embedding and head included",
    "conv": "every convolution but the stem",
    "conv+stem": "every convolution",
}
NEVER = ("token_scorer",)  # chooses tokens, where a network has one
STEMS = ("conv1", "conv_stem", "patch_embed")
STANDARDISED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)


def default_scope(network: nn.Module) -> str:
    """`blocks` for networks with blocks of attention and MLP, else `conv`; raises UserError if neither holds any."""
    for scope in ("blocks", "conv"):
        if any(True for _ in _names(network, scope)):
            return scope
    raise UserError(f"expected a network with blocks of attention and MLP, or convolutions, found {_kind(network)}")


def masked_parameters(network: nn.Module, scope: str) -> dict[str, nn.Parameter]:
    """The parameters in `scope`, a name of `SCOPES`, by name and in the order of `network.named_parameters()`.

    A weight that several layers share is there once. Raises UserError for another scope, where the network has nothing
    in it, and for convolutions that standardise their weights in the forward pass: zeros would not stay zeros.
    """
    if scope not in SCOPES:
        raise UserError(f"expected a scope among {', '.join(SCOPES)}, found {scope!r}")
    layers = {name: network.get_submodule(name) for name in _names(network, scope)}
    for name, layer in layers.items():
        if isinstance(layer, STANDARDISED) or not isinstance(layer.weight, nn.Parameter):
            kind = type(layer).__name__
            raise UserError(f"expected layers that use their weights as they are, found {name} ({kind})")
    weights = {id(layer.weight) for layer in layers.values()}
    named = {name: parameter for name, parameter in network.named_parameters() if id(parameter) in weights}
    if not named:
        hint = f"; --prune-scope {default_scope(network)} has some" if scope != "all" else ""
        raise UserError(f"expected weights in scope {scope} ({SCOPES[scope]}), found none in {_kind(network)}{hint}")
    return named


def _names(network: nn.Module, scope: str) -> Iterator[str]:
    """Names of the layers in `scope`."""
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name.split(".")[0] not in NEVER
    }
    if scope == "all":
        yield from layers
    elif scope.startswith("conv"):
        convolutions = [name for name, layer in layers.items() if isinstance(layer, nn.Conv2d)]
        stem = set() if scope == "conv+stem" else _stem(convolutions)
        yield from (name for name in convolutions if name not in stem)
    else:
        within = _parts(network, scope)
        yield from (name for name in layers if name.startswith(within))


def _stem(convolutions: list[str]) -> set[str]:
    """The first convolution, with the others of its part of the network if that is a stem by name."""
    if not convolutions:
        return set()
    part = convolutions[0].split(".")[0]
    if part in STEMS or "stem" in part:
        return {name for name in convolutions if name.split(".")[0] == part}
    return {convolutions[0]}


def _parts(network: nn.Module, scope: str) -> tuple[str, ...]:
    """What the names in `scope` begin with. A block is a module with an attention `attn` and an MLP `mlp`."""
    children = {"msa": ("attn",), "mlp": ("mlp",), "blocks": ("attn", "mlp")}[scope]
    blocks = [
        name
        for name, module in network.named_modules()
        if isinstance(getattr(module, "attn", None), nn.Module) and isinstance(getattr(module, "mlp", None), nn.Module)
    ]
    return tuple(f"{name}.{child}." if name else f"{child}." for name in blocks for child in children)


def _kind(network: nn.Module) -> str:
    return type(network).__name__
