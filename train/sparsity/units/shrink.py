"""A network without its dead heads and neurons: smaller layers of the same kinds, with the weights of the living.

Legend: H heads, d width of a head, n neurons, T tokens, D width.
"""

import copy
from typing import cast

import msgspec
import torch
from timm.layers import Attention, Mlp
from torch import Tensor, nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import Count, Name, Positive
from vit_tickets.train.sparsity.units.alive import Alive, rows_of_heads
from vit_tickets.train.sparsity.units.layers import attentions_of, check_has_units, fc1_of, fc2_of, mlps_of


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to build a shrunk network: shrunk.json."""

    #: Name of the whole model.
    model: Name
    num_classes: Positive
    #: Side of the images in pixels.
    image_size: Positive
    #: Side of a patch in pixels; None for models that do not take one.
    patch_size: Positive | None
    #: d.
    head_dim: Count
    #: Living heads of each layer.
    heads: tuple[Count, ...]
    #: Living neurons of each layer.
    neurons: tuple[Count, ...]
    #: Layers, where they are fewer than the model's own.
    depth: Positive | None = None


class Constant(nn.Module):
    """What is left of a layer without any unit: its last bias, (D,), for every token."""

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_BTD: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        return self.bias.expand_as(x_BTD)


def shrink(network: nn.Module, alive: Alive) -> nn.Module:
    """A copy of `network` that computes the same without the units that are not `alive`.

    Exactly the same where those units' weights and biases on the input side are 0, up to the order of sums. Layers stay
    timm's Attention and Mlp, of fewer heads and neurons; one without any unit becomes its constant output.

    Raises UserError where units cannot be removed.
    """
    check_has_units(network)
    attentions, mlps = attentions_of(network), mlps_of(network)
    heads = [int(alive.heads[name].sum()) for name in attentions]
    neurons = [int(alive.neurons[name].sum()) for name in mlps]
    shrunk = _resized(copy.deepcopy(network), heads, neurons)
    state = network.state_dict()
    for name, layer in attentions.items():
        columns = alive.heads[name].repeat_interleave(layer.head_dim)
        _gather(state, f"{name}.qkv", rows_of_heads(alive.heads[name], layer.head_dim), f"{name}.proj", columns)
    for name in mlps:
        _gather(state, f"{name}.fc1", alive.neurons[name], f"{name}.fc2", alive.neurons[name])
    own = shrunk.state_dict()
    for name in own.keys() - state.keys():  # of a constant
        layer = name.removesuffix(".bias")
        last = f"{layer}.proj.bias" if layer in attentions else f"{layer}.fc2.bias"
        state[name] = state.get(last, torch.zeros_like(own[name]))
    shrunk.load_state_dict({name: state[name] for name in own})
    return shrunk


def record_of(
    model: str, num_classes: int, image_size: int, patch_size: int | None, shrunk: nn.Module, depth: int | None = None
) -> Record:
    """The record of the network `shrunk`, which `model` of these sizes became; see `Record`."""
    attentions, mlps = _layers(shrunk, "attn"), _layers(shrunk, "mlp")
    return Record(
        model=model,
        num_classes=num_classes,
        image_size=image_size,
        patch_size=patch_size,
        head_dim=max((layer.head_dim for layer in attentions if isinstance(layer, Attention)), default=0),
        heads=tuple(layer.num_heads if isinstance(layer, Attention) else 0 for layer in attentions),
        neurons=tuple(fc1_of(layer).out_features if isinstance(layer, Mlp) else 0 for layer in mlps),
        depth=depth,
    )


def build(record: Record) -> nn.Module:
    """The network that `record` describes, with weights of no meaning; raises UserError where there is none."""
    sizes = registry.size_kwargs(record.model, record.image_size, record.patch_size)
    network = registry.create_model(record.model, num_classes=record.num_classes, depth=record.depth, **sizes)
    check_has_units(network)
    depth = len(attentions_of(network))
    for name, found in (("heads", record.heads), ("neurons", record.neurons)):
        if len(found) != depth:
            raise UserError(
                f"{name}: expected a count for each of {depth} layers of {record.model}, found {len(found)}"
            )
    return _resized(network, record.heads, record.neurons)


def _resized(network: nn.Module, heads: tuple[int, ...] | list[int], neurons: tuple[int, ...] | list[int]) -> nn.Module:
    """`network` itself, with so many heads and neurons in each layer; the new layers' weights are not set."""
    for (name, layer), count in zip(attentions_of(network).items(), heads, strict=True):
        if not count:
            network.set_submodule(name, Constant(layer.proj.out_features).to(layer.proj.weight))
            continue
        layer.num_heads, layer.attn_dim = count, count * layer.head_dim
        layer.qkv = _linear(layer.qkv, outputs=3 * layer.attn_dim)
        layer.proj = _linear(layer.proj, inputs=layer.attn_dim)
    for (name, layer), count in zip(mlps_of(network).items(), neurons, strict=True):
        if not count:
            network.set_submodule(name, Constant(fc2_of(layer).out_features).to(fc2_of(layer).weight))
            continue
        layer.fc1, layer.fc2 = _linear(fc1_of(layer), outputs=count), _linear(fc2_of(layer), inputs=count)
    return network


def _linear(like: nn.Linear, inputs: int | None = None, outputs: int | None = None) -> nn.Linear:
    sizes = inputs or like.in_features, outputs or like.out_features
    weight = like.weight
    made = nn.utils.skip_init(nn.Linear, *sizes, bias=like.bias is not None, device=weight.device, dtype=weight.dtype)
    return cast("nn.Linear", made)


def _gather(state: dict[str, Tensor], first: str, rows: Tensor, last: str, columns: Tensor) -> None:
    """Keep, in place, the `rows` of layer `first`, with its bias, and the `columns` of layer `last`."""
    for name in (f"{first}.weight", f"{first}.bias"):
        if name in state:
            state[name] = state[name][rows.to(state[name].device)]
    weight = state[f"{last}.weight"]
    state[f"{last}.weight"] = weight[:, columns.to(weight.device)].contiguous()


def _layers(network: nn.Module, name: str) -> list[nn.Module]:
    return [getattr(block, name) for block in network.get_submodule("blocks").children()]
