"""A pretrained network as values and bytes, and the same network on a device: the base of selector and annotator."""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from vit_tickets.pipeline.networks.pretrained import Pretrained
from vit_tickets.pipeline.networks.registry import create_model
from vit_tickets.pipeline.networks.state import load_strictly, weights_sha256
from vit_tickets.pipeline.system.errors import UserError

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A pretrained network as plain values and bytes, so that it can be sent to another process."""

    #: timm name.
    model: str
    #: Arguments with which timm builds it.
    kwargs: dict[str, Any]
    #: Its weights in the safetensors format.
    state: bytes = field(repr=False)
    weights_sha256: str
    #: Image size, crop_pct, interpolation, mean and std of its evaluation view.
    view_record: dict[str, Any]
    #: The run that it is from; None for published weights.
    run: str | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of its weights."""
        return len(self.state)

    @property
    def image_size(self) -> int:
        return self.view_record["image_size"]


def plain_values(opened: Pretrained) -> dict[str, Any]:
    """The fields of a NetworkSpec for `opened`."""
    network = opened.network
    return {
        "model": opened.model,
        "kwargs": opened.kwargs,
        "state": save_safetensors({name: value.contiguous() for name, value in network.state_dict().items()}),
        "weights_sha256": weights_sha256(network),
        "view_record": opened.view_record,
        "run": opened.run,
    }


S = TypeVar("S", bound=NetworkSpec)


class Network(Generic[S]):
    """The network of a spec on a device, in eval mode, TF32 off."""

    def __init__(self, spec: S, device: str = "cpu", precision: str = "fp32"):
        if precision not in PRECISIONS:
            raise UserError(f"expected a precision among {', '.join(PRECISIONS)}, found {precision!r}")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.spec, self.device = spec, torch.device(device)
        self.autocast = precision == "bf16"
        network = create_model(spec.model, **spec.kwargs)
        load_strictly(network, load_safetensors(spec.state), spec.model)
        self.network = self.prepared(network).eval().requires_grad_(False).to(self.device)
        self.mean, self.std = (
            torch.tensor(spec.view_record[name], device=self.device).view(1, 3, 1, 1) for name in ("mean", "std")
        )

    def prepared(self, network: nn.Module) -> nn.Module:
        """Change `network`, whose weights are loaded, to what is used, and return it."""
        return network

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise uint8 RGB (B, 3, side, side) for the network: float32 of the same shape."""
        return (images.float() / 255 - self.mean) / self.std
