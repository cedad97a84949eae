"""Masks over parameters of a network, and the invariant that they keep.

Where a mask is False, the weight, its gradient, its moments in the optimizer and its moving average are exactly 0 from
one step to the next. AdamW and SGD, fused or not, with momentum, Nesterov and weight decay, leave such a weight at 0,
so nothing has to be masked after a step.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vit_tickets.pipeline.system.errors import UserError

SURVIVORS, ZERO = GROWN_MOMENTS = ("survivors", "zero")
SECOND = ("exp_avg_sq", "max_exp_avg_sq")  # the moments that the size of a step is divided by


class Masks:
    """Masks of parameters of one network.

    Args:
        network: a timm model on its device, whose parameters stay the same objects.
        alive: bool, True for weights that stay, by name of the parameter, of its shape, on any device. Parameters
            without a mask are left alone.

    Attributes:
        network: that of the arguments.
        parameters: the masked ones by name, in the order of `alive`.
        dead: bool by name: what is masked, in the device and memory format of the parameter.

    Raises:
        UserError: a name or a shape is not one of the network, or a mask is not bool.
    """

    def __init__(self, network: nn.Module, alive: Mapping[str, Tensor]):
        own = dict(network.named_parameters())
        for name, mask in alive.items():
            if name not in own:
                raise UserError(f"expected masks of {type(network).__name__}, found {name}, which it does not have")
            expected, found = tuple(own[name].shape), tuple(mask.shape)
            if expected != found or mask.dtype != torch.bool:
                raise UserError(f"expected a mask of {name}, bool {expected}, found {mask.dtype} {found}")
        self.network = network
        self.parameters = {name: own[name] for name in alive}
        self.dead = {name: _like(own[name], ~mask) for name, mask in alive.items()}

    @property
    def alive(self) -> dict[str, Tensor]:
        """True for weights that stay; new tensors, in the device and memory format of the parameters."""
        return {name: ~dead for name, dead in self.dead.items()}

    def counts(self) -> dict[str, int]:
        """How many weights each parameter keeps."""
        return {name: dead.numel() - int(dead.sum()) for name, dead in self.dead.items()}

    @property
    def sparsity(self) -> float:
        """Dropped share of the weights of the masked parameters."""
        return sum(int(dead.sum()) for dead in self.dead.values()) / sum(dead.numel() for dead in self.dead.values())

    @torch.no_grad()
    def mask_weights(self, network: nn.Module | None = None) -> None:
        """Zero the dead weights of `network`, such as a moving average with the same names; None for its own."""
        for name, dead in self.dead.items():
            parameter = self.parameters[name] if network is None else network.get_parameter(name)
            parameter.masked_fill_(dead, 0)

    def mask_gradients(self) -> None:
        """Zero the gradients of dead weights, inf and nan included."""
        for name, dead in self.dead.items():
            if (gradient := self.parameters[name].grad) is not None:
                gradient.masked_fill_(dead, 0)

    @torch.no_grad()
    def change(
        self, alive: Mapping[str, Tensor], optimizer: Optimizer, scored: nn.Module, grown_moments: str = SURVIVORS
    ) -> int:
        """Take over other masks, and keep the invariant, but for gradients: mask those after it.

        A weight that dies is zeroed, with its moments and its place in `scored`. One that is grown keeps the value that
        it has, which is 0 unless somebody set it; its first moment is 0. Its second moment is the mean of those of the
        parameter's surviving weights, since the count of steps, by which Adam corrects young moments, is an old one:
        with 0 it would make steps of over six times the learning rate.

        Args:
            alive: bool by name, on the parameter's device; those that do not change may be left out.
            optimizer: has the moments.
            scored: the network that is evaluated and kept, which has the names of this one; may be this one.
            grown_moments: `survivors`, or `zero` for second moments of 0.

        Returns:
            How many weights were grown or dropped.
        """
        changed = 0
        for name, mask in alive.items():
            parameter, before = self.parameters[name], self.dead[name]
            dead = _like(parameter, ~mask)
            grown, survived = before & ~dead, ~(before | dead)
            swapped = int((before ^ dead).sum())
            if not swapped:
                continue
            changed += swapped
            parameter.masked_fill_(dead, 0)
            scored.get_parameter(name).masked_fill_(dead, 0)
            for key, moment in optimizer.state.get(parameter, {}).items():
                if torch.is_tensor(moment) and moment.shape == parameter.shape:
                    moment.masked_fill_(dead | grown, 0)
                    if key in SECOND and grown_moments == SURVIVORS and survived.any():
                        moment.masked_fill_(grown, moment[survived].mean().item())
            self.dead[name] = dead
        return changed

    def packed(self) -> dict[str, Tensor]:
        """The masks for `last.pt`: eight weights a byte, uint8 on the CPU, in the order of flat indices."""
        return {name: torch.from_numpy(_bits(dead)) for name, dead in self.dead.items()}

    def load_packed(self, packed: Mapping[str, Any]) -> None:
        """Take over what `packed` returned, and nothing else: the weights in `last.pt` are masked already.

        Raises ValueError if it is of other parameters.
        """
        if packed.keys() != self.dead.keys():
            odd = min(packed.keys() ^ self.dead.keys())
            raise ValueError(f"expected masks of the same parameters, found {odd} in one of them alone")
        for name, bits in packed.items():
            size, shape = self.dead[name].numel(), self.dead[name].shape
            if len(bits) != -(-size // 8):
                raise ValueError(f"expected a mask of {size} weights of {name}, found {len(bits)} bytes")
            dead = torch.from_numpy(np.unpackbits(bits.numpy(), count=size).astype(bool)).view(shape)
            self.dead[name] = _like(self.parameters[name], dead)

    def digest(self) -> int:
        """A hash of the masks that float64 holds exactly, to compare ranks with `World.agrees`."""
        total = hashlib.sha256()
        for name, dead in self.dead.items():
            total.update(name.encode() + b"\0" + _bits(dead).tobytes())
        return int.from_bytes(total.digest()[:6], "little")


def _like(parameter: Tensor, mask: Tensor) -> Tensor:
    """A copy of `mask` in the device and memory format of `parameter`."""
    return torch.empty_like(parameter, dtype=torch.bool, requires_grad=False).copy_(mask)


def _bits(mask: Tensor) -> np.ndarray:
    return np.packbits(mask.cpu().reshape(-1).numpy())
