"""The selector: a pretrained ViT with its evaluation preprocessing, ready to rank batches of patches."""

import json
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from vit_tickets.pipeline import files, vit
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.pretrained import load_strictly, open_pretrained, weights_sha256
from vit_tickets.pipeline.registry import create_model
from vit_tickets.pipeline.views import FULL_2, View

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class SelectorSpec:
    """A selector as plain values and bytes, so that it can be sent to another process.

    model: timm name. kwargs: how timm builds it. state: its weights as safetensors. view_record: image size, crop_pct,
    interpolation, mean, std of its evaluation view. run: the run it is from, None for published weights.
    """

    model: str
    kwargs: dict[str, Any]
    state: bytes = field(repr=False)
    weights_sha256: str
    view_record: dict[str, Any]
    patch_size: int
    num_patches: int
    stages: tuple[int, ...]
    run: str | None = None

    @property
    def image_size(self) -> int:
        return self.view_record["image_size"]

    def view(self, kind: str, crop_seed: int = 0, crop_scale: float = 0.08, crop_flip: float = 0.5) -> View:
        """The view `kind` as this selector sees it: full@2 at twice its image size, all else at its own."""
        own = View(kind, **self.view_record, crop_seed=crop_seed, crop_scale=crop_scale, crop_flip=crop_flip)
        return replace(own, image_size=2 * own.image_size) if kind == FULL_2 else own


def open_selector(selector: str, weights: str | None = None, stages: tuple[int, ...] | None = None) -> SelectorSpec:
    """A selector by timm name (weights from the hub or from the file `weights`), or by the folder of a run.

    Raises UserError where there is no such model or run, its weights do not fit, or it has no readable CLS attention.
    """
    opened = open_pretrained(selector, weights, vit.check_is_vit)
    network = opened.network
    chosen = stages or vit.default_stages(opened.model, len(getattr(network, "blocks", ())))
    vit.check_selector(network, chosen)
    height, width = network.patch_embed.grid_size
    if height != width:
        raise UserError(f"expected a selector with a square grid of patches, found {height} x {width}")
    return SelectorSpec(
        model=opened.model,
        kwargs=opened.kwargs,
        state=save_safetensors({name: value.contiguous() for name, value in network.state_dict().items()}),
        weights_sha256=weights_sha256(network),
        view_record=opened.view_record,
        patch_size=network.patch_embed.patch_size[0],
        num_patches=height * width,
        stages=tuple(chosen),
        run=opened.run,
    )


def training_seconds(run: str) -> float | None:
    """Wall-clock seconds that the run at `run` trained for, by its metrics; None where they are not there."""
    path = files.join(run, "metrics.jsonl")
    if not files.exists(path):
        return None
    return sum(json.loads(line).get("seconds", 0.0) for line in files.read_bytes(path).splitlines())


class Selector:
    """A selector on a device: uint8 pixels in, rankings out."""

    def __init__(self, spec: SelectorSpec, device: str = "cpu", precision: str = "fp32"):
        if precision not in PRECISIONS:
            raise UserError(f"expected a precision among {', '.join(PRECISIONS)}, found {precision!r}")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.spec, self.device = spec, torch.device(device)
        self.autocast = precision == "bf16"
        self.network = create_model(spec.model, **spec.kwargs)
        load_strictly(self.network, load_safetensors(spec.state), spec.model)
        self.network.eval().to(self.device)
        self._larger: dict[int, vit.VisionTransformer] = {}
        self._lock = threading.Lock()
        self.mean, self.std = (
            torch.tensor(spec.view_record[name], device=self.device).view(1, 3, 1, 1) for name in ("mean", "std")
        )

    def rank(self, pixels: np.ndarray, plans: list[tuple[int, ...]], predictions: bool) -> list[vit.Ranking]:
        """One ranking per plan, on the CPU, for `pixels` (B, 3, side, side) uint8 RGB.

        Where `side` is not the selector's image size, its position embeddings are resampled to the grid of that side.
        """
        network = self._network_at(pixels.shape[-1])
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            rankings = vit.identify_tokens(network, self.normalise(images), self.spec.stages, plans, predictions)
        return [
            replace(r, rank_BN=r.rank_BN.cpu(), score_BN=r.score_BN.cpu(), logits_BC=_to_cpu(r.logits_BC))
            for r in rankings
        ]

    def _network_at(self, side: int) -> vit.VisionTransformer:
        if side == self.spec.image_size:
            return self.network
        with self._lock:
            if side not in self._larger:
                self._larger[side] = vit.resampled(self.network, side)
            return self._larger[side]

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB to the selector's normalised float32, same shape (B, 3, side, side)."""
        return (images.float() / 255 - self.mean) / self.std


def _to_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()
