"""Multiply-adds of a network's passes, as torch counts them, on its meta device, where nothing is computed.

Counted are products of matrices, convolutions and attention, forward and backward: half of the operations that torch's
FlopCounterMode registers. Each product of attention is counted once, as written: twice forward and four times backward
per pair of tokens. The fused kernels of GPUs compute the scores again in their backward pass, and that of CPUs is not
registered at all, so the count would depend on the device; here it does not. Everything else is left out: norms (batch
norm, too), activations, softmax, sums, the loss, the optimizer, moving averages, and preparing images.
"""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.system.errors import first_line
from vit_tickets.train.models.online import OnlineSelector

M = TypeVar("M", bound=nn.Module)


def counted(work: Callable[[], object]) -> int:
    """Multiply-adds of the tensor operations in `work`."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


def skeleton(module: M) -> M:
    """A copy of `module` on the meta device, with the shapes of its weights but none of their numbers."""
    memo: dict[int, Any] = {}
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        empty = torch.empty_like(tensor, device="meta", requires_grad=False)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(module, memo)


def training_pass(model: nn.Module, image_size: int, images: int, kept: int | None) -> int:
    """Multiply-adds of passing a batch forward and back through `model`, a `skeleton` in training mode.

    Args:
        model: as `build_model` makes them; weights that require no gradient get none.
        image_size: side of the images in pixels.
        images: number of images.
        kept: patches of each that the model computes; None for all.
    """

    def work() -> None:
        outputs = _passed(model, image_size, images, kept)
        parts = [outputs] if isinstance(outputs, Tensor) else outputs
        loss = torch.stack([part.sum() for part in parts]).sum()
        if loss.requires_grad:
            torch.autograd.backward(loss)

    total = counted(work)
    model.zero_grad(set_to_none=True)
    return total


@torch.no_grad()
def forward_pass(model: nn.Module, image_size: int, kept: int | None) -> int:
    """Multiply-adds of classifying one image from `kept` of its patches, or from all; arguments as `training_pass`."""
    was, _ = model.training, model.eval()
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:  # torch's counter takes a view of one for a result that has a gradient function
            parameter.requires_grad_(False)
        return counted(lambda: _passed(model, image_size, 1, kept))
    finally:
        model.train(was)
        for parameter in learning:
            parameter.requires_grad_(True)


def selection_pass(
    network: VisionTransformer,
    image_size: int,
    images: int,
    stages: tuple[int, ...],
    counts: tuple[int, ...],
    whole: bool,
) -> int:
    """Multiply-adds of `vit.identify_tokens` on a batch, up to the last identification or, if `whole`, to the logits.

    Args:
        network: the `skeleton` of a selector.
        image_size: side of the images in pixels.
        images: number of images.
        stages: blocks that identify tokens, counted from 1.
        counts: patches that each of them keeps.
        whole: whether the selector runs to its end.
    """
    pixels = _pixels(image_size, images)
    return counted(lambda: vit.identify_tokens(network, pixels, stages, [counts], predictions=whole))


def _passed(model: nn.Module, image_size: int, images: int, kept: int | None) -> Any:
    """What `model` returns for images of which it computes `kept` patches, given or chosen by itself, or all."""
    pixels = _pixels(image_size, images)
    if kept is not None and getattr(model, "chooses_patches", False):
        return model(pixels, choose=kept)
    return model(pixels, None if kept is None else torch.empty(images, kept, dtype=torch.int64, device="meta"))


def _pixels(image_size: int, images: int) -> Tensor:
    return torch.empty(images, 3, image_size, image_size, device="meta")


class StepMacs:
    """Multiply-adds of the steps of a run. A pass is counted when the first of its size is made, in tenths of a second.

    Args:
        model: the trained model, in training mode when the first step is counted.
        image_size: side of its images in pixels.
        num_patches: N, cells of the view's grid.
        drops_patches: whether it is trained on some of the patches.
        online: the selector that every step runs unless it keeps all patches; None if there is none.

    Attributes:
        fault: why the steps cannot be counted; None if they can.
    """

    def __init__(
        self,
        model: nn.Module,
        image_size: int,
        num_patches: int,
        drops_patches: bool,
        online: OnlineSelector | None = None,
    ):
        self.model, self.image_size, self.num_patches = model, image_size, num_patches
        self.computes_kept = drops_patches and bool(getattr(model, "can_drop_patches", False))
        self.online = online if drops_patches else None
        self.fault: str | None = None
        self._model: nn.Module | None = None
        self._selector: VisionTransformer | None = None
        self._passes: dict[tuple[int, int | None], int] = {}
        self._selections: dict[int, int] = {}

    def __call__(self, parts: Sequence[int], kept: int) -> int | None:
        """Multiply-adds of a step on one rank; None if they cannot be counted, from then on.

        Args:
            parts: images of each part of the rank's batch.
            kept: patches that it keeps of each.
        """
        if self.fault is not None:
            return None
        try:
            return self.count(parts, kept)
        except Exception as error:  # whatever a network of timm raises on torch's meta device: no reason not to train
            self.fault = first_line(error)
            return None

    def count(self, parts: Sequence[int], kept: int) -> int:
        """The same; raises whatever the network does where it cannot be counted."""
        total = sum(self._of_part(images, kept if self.computes_kept else None) for images in parts)
        return total + (self._of_selection(sum(parts)) if self.online and kept < self.num_patches else 0)

    def _of_part(self, images: int, kept: int | None) -> int:
        if (images, kept) not in self._passes:
            self._model = self._model or skeleton(self.model)
            self._passes[images, kept] = training_pass(self._model, self.image_size, images, kept)
        return self._passes[images, kept]

    def _of_selection(self, images: int) -> int:
        online = self.online
        if online is not None and images not in self._selections:
            self._selector = self._selector or skeleton(vit.check_is_vit(cast("nn.Module", online.network)))
            sizes = self.image_size, images, online.stages, online.counts
            self._selections[images] = selection_pass(self._selector, *sizes, whole=online.mode == "full")
        return self._selections[images]
