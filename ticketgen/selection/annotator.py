"""The annotator: a pretrained classifier that gives the best classes of every cell of its feature map."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vit_tickets.pipeline.datasets.embedded import NAME as DIGITS
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.index import MAX_LABEL_CLASSES, PLACES
from vit_tickets.pipeline.networks.pretrained import open_pretrained
from vit_tickets.pipeline.runs.names import default_selector
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.selection.cells import cell_logits, check_cells, set_image_size
from vit_tickets.ticketgen.selection.network import Network, NetworkSpec, plain_values

DEFAULT_ANNOTATOR = "dm_nfnet_f6.dm_in1k"


@dataclass(frozen=True, kw_only=True)
class AnnotatorSpec(NetworkSpec):
    """An annotator as plain values and bytes."""

    num_classes: int
    #: Cells along a side of its feature map at its image size.
    map_size: int

    @property
    def places(self) -> int:
        """Classes that are kept of a cell."""
        return min(PLACES, self.num_classes)

    @property
    def view(self) -> View:
        """The whole image as the annotator sees it, in any split: every pixel that a crop may show is covered."""
        shown = {name: self.view_record[name] for name in ("image_size", "interpolation", "mean", "std")}
        return View("full", **shown)

    def build(self, device: str, precision: str) -> "Annotator":
        return Annotator(self, device, precision)


def default_annotator(source: str) -> str:
    """The default annotator: the paper's NFNet-F6; for the built-in dataset its own dense run."""
    return default_selector(source) if source == DIGITS else DEFAULT_ANNOTATOR


def open_annotator(
    annotator: str,
    weights: str | None = None,
    image_size: int | None = None,
    num_classes: int | None = None,
    weights_key: str | None = None,
) -> AnnotatorSpec:
    """An annotator by timm name (weights from the hub or from the file `weights`), or by the folder of a run.

    Raises UserError if there is no such model or run, its weights do not fit, it has another number of classes, or no
    feature map whose cells its head can read.

    Args:
        image_size: side of the square that it sees; by default what timm tests it at, or what the run trained at.
        num_classes: of the dataset.
        weights_key: names one of the sets of weights in the file `weights`.
    """
    opened = open_pretrained(annotator, weights, weights_key=weights_key)
    network = opened.network
    if num_classes is not None and network.num_classes != num_classes:
        found = network.num_classes or f"{annotator} without a classifier"
        raise UserError(f"expected an annotator of {num_classes} classes like the dataset, found {found}")
    if network.num_classes > MAX_LABEL_CLASSES:
        raise UserError(f"expected at most {MAX_LABEL_CLASSES} classes, found {network.num_classes}")
    plain: dict[str, Any] = plain_values(opened)  # before the image size changes the weights
    tested = None if opened.run else network.pretrained_cfg.get("test_input_size")
    size = image_size or (tested[-1] if tested else opened.view_record["image_size"])
    set_image_size(network, size)
    plain["view_record"] = opened.view_record | {"image_size": size}
    return AnnotatorSpec(
        **plain,
        num_classes=network.num_classes,
        map_size=check_cells(network, size),
    )


class Annotator(Network[AnnotatorSpec]):
    """An annotator on a device: uint8 pixels in, label maps out."""

    def prepared(self, network: nn.Module) -> nn.Module:
        set_image_size(network, self.spec.image_size)
        return network

    @torch.inference_mode()
    def label(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classes uint16 and logits float16, each (B, M * M, places), of `pixels` (B, 3, side, side) uint8 RGB."""
        images = torch.from_numpy(pixels).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            logits = cell_logits(self.network, self.normalise(images))
        classes, values = above_the_rest(logits.float(), self.spec.places)
        return classes.cpu().numpy().astype(np.uint16), values.half().cpu().numpy()


def above_the_rest(logits: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """`best`, with values less the mean of the classes that are left out, so that 0 stands for each of these.

    Softmax does not change, and a class with a negative logit is not overtaken by one that was left out.
    """
    indices, values = best(logits, places)
    left_out = logits.shape[-1] - places
    if not left_out:
        return indices, values
    return indices, values - (logits.sum(-1, keepdim=True) - values.sum(-1, keepdim=True)) / left_out


def best(logits: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """The `places` highest along the last dimension, ties to the lower index: indices int64, values."""
    values, indices = logits.topk(min(places + 1, logits.shape[-1]), dim=-1)
    tied = (values[..., 1:] == values[..., :-1]).any(dim=-1)  # topk breaks ties arbitrarily
    values, indices = values[..., :places], indices[..., :places]
    if tied.any():
        indices[tied], values[tied] = _one_by_one(logits[tied], places)
    return indices, values


def _one_by_one(logits: Tensor, places: int) -> tuple[Tensor, Tensor]:
    """`best` by max, which gives the first of equal values, at the cost of a pass per place. Overwrites `logits`."""
    found = []
    for _ in range(places):
        value, index = logits.max(dim=-1, keepdim=True)
        found.append((index, value))
        logits.scatter_(-1, index, float("-inf"))
    indices, values = zip(*found, strict=True)
    return torch.cat(indices, dim=-1), torch.cat(values, dim=-1)
