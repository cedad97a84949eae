"""What weights are ranked by: their magnitude, what the loss would lose with them, or chance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.pipeline.system.errors import UserError

Parameters = Mapping[str, nn.Parameter]


@dataclass(frozen=True)
class Labelled:
    """A batch of B images and their labels, on the model's device."""

    #: Normalised, float32 (B, 3, S, S).
    images: Tensor
    #: int64 (B, K): patches to keep; None for all.
    kept_BK: Tensor | None
    #: int64 (B,).
    label_B: Tensor


def magnitudes(parameters: Parameters) -> dict[str, Tensor]:
    """Absolute values of the weights, by name."""
    return {name: parameter.detach().abs() for name, parameter in parameters.items()}


def drawn(parameters: Parameters, seed: int) -> dict[str, Tensor]:
    """Numbers from [0, 1) that depend on seed, name and shape of a parameter alone, float64 on the CPU."""
    return {
        name: torch.from_numpy(keyed_rng("mask", seed, name).random(tuple(parameter.shape)))
        for name, parameter in parameters.items()
    }


def taylor(parameters: Parameters, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """abs(weight * gradient), by name: how far the loss changes, to first order, if the weight becomes 0.

    The square of it (Molchanov et al. 2017, equation 6; 2019, equation 8) ranks alike.
    """
    return {name: (parameter.detach() * gradients[name]).abs() for name, parameter in parameters.items()}


def mean_gradients(
    model: nn.Module, batches: Iterable[Labelled], parameters: Parameters
) -> tuple[dict[str, Tensor], int]:
    """The gradient of the cross-entropy, averaged over all images, in evaluation mode; and the number of images.

    Args:
        model: gives logits (B, classes) for images and their kept patches. Left in evaluation mode; the `grad` of its
            parameters is not touched.
        batches: of one size or several.
        parameters: of the model, by name.

    Raises:
        UserError: there are no images, or a gradient is not finite.
    """
    model.eval()
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    seen = 0
    for batch in batches:
        logits_BC = model(batch.images, batch.kept_BK).float()
        loss = F.cross_entropy(logits_BC, batch.label_B, reduction="sum")
        for total, gradient in zip(sums.values(), torch.autograd.grad(loss, list(parameters.values())), strict=True):
            total += gradient
        seen += len(batch.label_B)
    if not seen:
        raise UserError("expected images to compute gradients on, found none")
    if odd := next((name for name, total in sums.items() if not total.isfinite().all()), None):
        raise UserError(f"expected finite gradients, found others of {odd}")
    return {name: total / seen for name, total in sums.items()}, seen
