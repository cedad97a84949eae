"""The selector: a pretrained ViT with its evaluation preprocessing, ready to rank batches of patches."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from vit_tickets.pipeline.geometry.patches import view_name
from vit_tickets.pipeline.geometry.views import FULL_2, View
from vit_tickets.pipeline.manifests.methods import DEFAULT_METHOD, STAGED, Method
from vit_tickets.pipeline.networks import attention, vit
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.networks.selecting import check_is_selector
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.selection import methods
from vit_tickets.ticketgen.selection.network import Network, NetworkSpec, plain_values


@dataclass(frozen=True, kw_only=True)
class SelectorSpec(NetworkSpec):
    """A selector as plain values and bytes."""

    patch_size: int
    num_patches: int
    #: The blocks, counted from 1, in which it identifies tokens. With any method, k follows from them and the budget.
    stages: tuple[int, ...]
    #: How it scores patches.
    method: Method = DEFAULT_METHOD

    def build(self, device: str, precision: str) -> "Selector":
        return Selector(self, device, precision)

    @property
    def num_classes(self) -> int:
        """Of its classifier; 0 without one."""
        return self.kwargs["num_classes"]

    @property
    def entries(self) -> dict[str, Any]:
        """Entries of metadata and ticket.json about the method; none for the default method `staged`."""
        return self.method.record()

    @property
    def runs(self) -> list[str]:
        """The runs that its weights are from; none for published weights."""
        return [] if self.run is None else [self.run]

    def at(self, image_size: int) -> "SelectorSpec":
        """The same selector at another image size, its position embeddings resampled when it is built.

        Raises UserError unless the size is a multiple of the patch size.
        """
        if image_size % self.patch_size:
            raise UserError(
                f"--image-size: expected a multiple of {self.patch_size}, the px of a patch, found {image_size}"
            )
        num_patches = (image_size // self.patch_size) ** 2
        return replace(self, num_patches=num_patches, view_record=self.view_record | {"image_size": image_size})

    def view(self, kind: str, crop_seed: int = 0, crop_scale: float = 0.08, crop_flip: float = 0.5) -> View:
        """The view `kind` as this selector sees it: full@2 at twice its image size, all else at its own."""
        own = View(kind, **self.view_record, crop_seed=crop_seed, crop_scale=crop_scale, crop_flip=crop_flip)
        return replace(own, image_size=2 * own.image_size) if kind == FULL_2 else own


def open_selector(
    selector: str,
    weights: str | None = None,
    stages: tuple[int, ...] | None = None,
    method: Method = DEFAULT_METHOD,
    weights_key: str | None = None,
) -> SelectorSpec:
    """A selector by timm name (weights from the hub or from the file `weights`), or by the folder of a run.

    Raises UserError if there is no such model or run, its weights do not fit, its attention cannot be read, or it lacks
    the CLS token, the pool or the classes that `method` reads.
    """
    opened = open_pretrained(selector, weights, partial(check_is_selector, method=method), weights_key)
    if method.declared.reads_classes and not opened.network.num_classes:
        raise UserError(
            f"--method {method.name}: expected a selector with classes, found {selector} without a classifier"
        )
    depth = len(getattr(opened.network, "blocks", ()))
    chosen = stages or vit.default_stages(opened.model, depth)
    vit.check_stages(chosen, depth)
    network = check_is_selector(opened.network, method)
    side = vit.patch_side(network)
    return SelectorSpec(
        **plain_values(opened),
        patch_size=side,
        num_patches=(opened.view_record["image_size"] // side) ** 2,
        stages=tuple(chosen),
        method=method.at_depth(depth),
    )


class Selector(Network[SelectorSpec]):
    """A selector on a device: uint8 pixels in, rankings out."""

    network: attention.Transformer

    def __init__(self, spec: SelectorSpec, device: str = "cpu", precision: str = "fp32"):
        super().__init__(spec, device, precision)
        self._larger: dict[int, attention.Transformer] = {}
        self._lock = threading.Lock()

    def prepared(self, network: nn.Module) -> nn.Module:
        found = attention.check_transformer(network)
        is_own = vit.image_shape(found) == 2 * (self.spec.image_size,)
        return found if is_own else vit.resampled(found, self.spec.image_size)

    def rank(
        self,
        pixels: np.ndarray,
        plans: list[tuple[int, ...]],
        predictions: bool,
        which: Sequence[tuple[str, int]] = (),
        mask_seed: int = 0,
    ) -> list[vit.Ranking]:
        """One ranking per plan, on the CPU, for `pixels` (B, 3, side, side) uint8 RGB.

        If `side` is not the selector's image size, its position embeddings are resampled to the grid of that side.
        Predictions are of the pruned pass if the method is staged, otherwise of the whole view. Raises UserError where
        a score is not finite, or no probability follows from the logits: no order follows from these.

        Args:
            pixels: of B views.
            plans: per plan, the patches that each stage keeps: `Budget.stage_counts`.
            predictions: whether the rankings have logits.
            which: key and number of the view of each image; with `mask_seed`, the seed of method `random`.
        """
        network = self._network_at(pixels.shape[-1])
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            if self.spec.method.name == STAGED:
                plain = cast("vit.VisionTransformer", network)  # as `check_is_selector` found
                rankings = vit.identify_tokens(plain, self.normalise(images), self.spec.stages, plans, predictions)
            else:
                names = [view_name(*view) for view in which]
                method = self.spec.method
                batch = methods.Batch(network, images, self.normalise(images), names, mask_seed, method.block)
                rankings = [methods.rank_patches(method, batch, predictions)] * len(plans)
        found = [
            replace(r, rank_BN=r.rank_BN.cpu(), score_BN=r.score_BN.cpu(), logits_BC=_to_cpu(r.logits_BC))
            for r in rankings
        ]
        for ranking in found:
            _check_finite(ranking, which)
        return found

    def _network_at(self, side: int) -> attention.Transformer:
        if side == self.spec.image_size:
            return self.network
        with self._lock:
            if side not in self._larger:
                self._larger[side] = vit.resampled(self.network, side).requires_grad_(False)
            return self._larger[side]


def _check_finite(ranking: vit.Ranking, which: Sequence[tuple[str, int]]) -> None:
    def report(odd_B: Tensor, what: str, found_B: Tensor) -> None:
        if odd_B.any():
            image = int(odd_B.nonzero()[0])
            name = view_name(*which[image]) if which else f"image {image} of the batch"
            raise UserError(f"{name}: expected {what}, found {float(found_B[image])}")

    finite_BN = ranking.score_BN.isfinite()
    first_B1 = finite_BN.int().argmin(dim=1, keepdim=True)
    report(~finite_BN.all(dim=1), "a finite score of every patch", ranking.score_BN.gather(1, first_B1))
    if ranking.logits_BC is not None:
        highest_B = ranking.logits_BC.amax(dim=1)
        report(~highest_B.isfinite(), "finite logits", highest_B)


def _to_cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()
