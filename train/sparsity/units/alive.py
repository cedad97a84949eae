"""Which heads and neurons are alive, and what that means for weights.

A dead unit is masked on its input side alone: a head's rows of q, k and v with their biases, a neuron's row of fc1 with
its bias. Its output is then exactly 0, attention over values of 0 and GELU(0), while what reads it (the columns of proj
and fc2) lives on. Through these columns flows the gradient by which the unit can be grown again; with both sides
masked it would be 0.

Legend: H heads, d width of a head, n neurons.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity.units.layers import attentions_of, check_has_units, fc1_of, mlps_of


@dataclass(frozen=True)
class Alive:
    """The living units of a network.

    Attributes:
        heads: by name of an attention layer, bool (H,), on the CPU.
        neurons: by name of an MLP, bool (n,), on the CPU.
    """

    heads: dict[str, Tensor]
    neurons: dict[str, Tensor]

    @classmethod
    def everything(cls, network: nn.Module) -> "Alive":
        """All units of `network`."""
        return cls(
            {name: _ones(layer.num_heads) for name, layer in attentions_of(network).items()},
            {name: _ones(fc1_of(layer).out_features) for name, layer in mlps_of(network).items()},
        )

    @classmethod
    def of_masks(cls, network: nn.Module, masks: Mapping[str, Tensor]) -> "Alive":
        """The units that `masks`, by name of a parameter, leave any output: parameters without a mask are alive.

        A head is dead if its values are masked, a neuron if its row of fc1 is; with their biases, where they have any.
        """
        alive = cls.everything(network)
        for name, layer in attentions_of(network).items():
            rows = _living_rows(f"{name}.qkv", layer.qkv, masks)
            alive.heads[name] = rows.unflatten(0, (3, layer.num_heads, -1))[2].any(-1)
        for name, layer in mlps_of(network).items():
            alive.neurons[name] = _living_rows(f"{name}.fc1", fc1_of(layer), masks)
        return alive

    @property
    def any_dead(self) -> bool:
        """Whether a unit is not alive."""
        return not all(of.all() for units in (self.heads, self.neurons) for of in units.values())

    def masks(self, network: nn.Module) -> dict[str, Tensor]:
        """By name, in the order of the network, the bool masks of the parameters on the input side of its units."""
        layers = attentions_of(network)
        rows = {f"{name}.qkv": rows_of_heads(of, layers[name].head_dim) for name, of in self.heads.items()}
        rows |= {f"{name}.fc1": of for name, of in self.neurons.items()}
        masks = {}
        for name, parameter in network.named_parameters():
            if (of := rows.get(name.rpartition(".")[0])) is not None:
                masks[name] = (of.unsqueeze(1) if parameter.ndim > 1 else of).expand(parameter.shape).contiguous()
        return masks

    def reading_masks(self, network: nn.Module) -> dict[str, Tensor]:
        """By name, masks of the weights that read the units' output: training leaves them alone, shrinking does not."""
        layers = attentions_of(network)
        columns = {
            f"{name}.proj.weight": of.repeat_interleave(layers[name].head_dim) for name, of in self.heads.items()
        }
        columns |= {f"{name}.fc2.weight": of for name, of in self.neurons.items()}
        return {name: of.expand(network.get_parameter(name).shape) for name, of in columns.items()}


def _living_rows(name: str, layer: nn.Linear, masks: Mapping[str, Tensor]) -> Tensor:
    """bool (outputs,): the rows of a layer that have a living weight or bias."""
    living = ~_ones(layer.out_features)
    for kind, parameter in (("weight", layer.weight), ("bias", layer.bias)):
        if parameter is not None:
            mask = masks.get(f"{name}.{kind}")
            living |= True if mask is None else mask.cpu().reshape(len(living), -1).any(1)
    return living


def _ones(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool, device="cpu")


def rows_of_heads(alive_H: Tensor, head_dim: int) -> Tensor:
    """bool (3 H d,): the rows of timm's qkv (all queries, then keys, then values) that belong to living heads."""
    return alive_H.repeat_interleave(head_dim).repeat(3)


def heads_left(heads: int, sparsity: float) -> int:
    """Heads that `--head-sparsity` leaves of a layer's: floor((1 - s) H), as the authors of S2ViTE count.

    Raises UserError if none is left.
    """
    return _left(heads, sparsity, "--head-sparsity", "heads")


def neurons_left(neurons: int, sparsity: float, multiple: int = 1) -> int:
    """Neurons that `--neuron-sparsity` leaves of a layer's: floor((1 - s) n), up to a multiple, at most n.

    Raises UserError if none is left.
    """
    left = _left(neurons, sparsity, "--neuron-sparsity", "neurons")
    return min(neurons, multiple * math.ceil(left / multiple))


def _left(units: int, sparsity: float, option: str, name: str) -> int:
    left = math.floor((1 - Fraction(str(sparsity))) * units)  # the number as it was typed: 0.7 * 10 is 7
    if left < 1 or left > units:
        most = math.floor(1000 * (1 - Fraction(1, units))) / 1000
        raise UserError(f"{option}: expected 0 to {most:g}, which leaves one of {units} {name}, found {sparsity:g}")
    return left


@dataclass(frozen=True)
class RandomUnits:
    """Living units at random places of a network that is built later, equally many in each layer.

    head_sparsity, neuron_sparsity: dropped shares, in [0, 1): see `heads_left`, `neurons_left`. seed: of the draws.
    multiple: neurons of a layer are rounded up to it.
    """

    head_sparsity: float
    neuron_sparsity: float
    seed: int
    multiple: int = 1

    def of(self, network: nn.Module) -> Alive:
        """The living units of `network`: the same on any device, of ranks as of one process.

        Raises UserError where units cannot be removed, or a layer would have none.
        """
        check_has_units(network)
        alive = Alive.everything(network)
        for name, of in alive.heads.items():
            alive.heads[name] = self._drawn(name, len(of), heads_left(len(of), self.head_sparsity))
        for name, of in alive.neurons.items():
            left = neurons_left(len(of), self.neuron_sparsity, self.multiple)
            alive.neurons[name] = self._drawn(name, len(of), left)
        return alive

    def _drawn(self, name: str, units: int, left: int) -> Tensor:
        alive = np.zeros(units, dtype=bool)
        alive[keyed_rng("mask", self.seed, name).permutation(units)[:left]] = True
        return torch.from_numpy(alive)
