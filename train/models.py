"""Models that train on part of an image: ViTs gather the kept patches before embedding, others see the rest as zero.

Legend: B images, N patches of an image, K kept, D width, G grid side, C channels, P pixels of a patch's side.
"""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline import registry
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.names import timm_name


class SparseViT(nn.Module):
    """A timm ViT on any subset of its patches; a dropped patch costs nothing."""

    can_drop_patches = True
    has_token_outputs = False

    def __init__(self, network: VisionTransformer):
        super().__init__()
        self.network = network
        self.grid = network.patch_embed.grid_size[0]

    def forward(self, images: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of normalised `images` (B, 3, height, width), from the patches `kept_BK` or from all."""
        if kept_BK is None:
            return self.network(images)
        x_BTD = embed_kept(self.network, images, kept_BK)
        x_BTD = self.network.blocks(self.network.norm_pre(x_BTD))
        return self.network.forward_head(self.network.norm(x_BTD))


class OccludedModel(nn.Module):
    """Any timm classifier; dropped patches of a grid of `grid` x `grid` are zero on its normalised input."""

    can_drop_patches = False
    has_token_outputs = False

    def __init__(self, network: nn.Module, grid: int):
        super().__init__()
        self.network, self.grid = network, grid

    def forward(self, images: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of normalised `images` (B, 3, height, width), occluded but for `kept_BK`."""
        return self.network(images if kept_BK is None else occlude(images, kept_BK, self.grid))


def embed_kept(network: VisionTransformer, images: Tensor, kept_BK: Tensor) -> Tensor:
    """timm's patch_embed and _pos_embed for the kept patches alone: (B, prefix + K, D).

    The convolution of a patch is a matrix product over its pixels, so only kept pixels are read.
    """
    embed = network.patch_embed
    B, C, _, _ = images.shape
    (rows, columns), (height, width) = embed.grid_size, embed.patch_size
    patches = images.view(B, C, rows, height, columns, width).permute(0, 2, 4, 1, 3, 5)
    every_image = torch.arange(B, device=images.device).unsqueeze(1)
    kept_BKX = patches[every_image, kept_BK // columns, kept_BK % columns].flatten(2)
    x_BKD = embed.norm(F.linear(kept_BKX, embed.proj.weight.flatten(1), embed.proj.bias))

    prefix = [token.expand(B, -1, -1) for token in (network.cls_token, network.reg_token) if token is not None]
    if network.pos_embed is None:
        return network.pos_drop(torch.cat([*prefix, x_BKD], dim=1))
    num_prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    # not pos_embed[...][kept_BK]: on several CPU threads its gradient is summed in no fixed order
    x_BKD = x_BKD + F.embedding(kept_BK, network.pos_embed[0, num_prefix:])
    x_BTD = torch.cat([*prefix, x_BKD], dim=1)
    if num_prefix:
        x_BTD = torch.cat([x_BTD[:, :num_prefix] + network.pos_embed[:, :num_prefix], x_BTD[:, num_prefix:]], dim=1)
    return network.pos_drop(x_BTD)


def occlude(images: Tensor, kept_BK: Tensor, grid: int) -> Tensor:
    """`images` (B, 3, height, width), zero outside the kept cells of a `grid` x `grid` grid.

    Zero after normalisation is the mean colour, as in the authors' programs (the paper says black).
    """
    B, _, height, width = images.shape
    mask_BN = torch.zeros(B, grid * grid, device=images.device, dtype=images.dtype).scatter_(1, kept_BK, 1.0)
    mask = mask_BN.view(B, 1, grid, grid)
    mask = mask.repeat_interleave(height // grid, dim=2).repeat_interleave(width // grid, dim=3)
    return images * mask


def build_model(
    model: str, num_classes: int, image_size: int, patch_size: int | None, grid: int | None, drop_path: float = 0.0
) -> SparseViT | OccludedModel:
    """A freshly initialised model for square images.

    Args:
        patch_size: of the ViT; None for the model's own.
        grid: side of the grid of tickets, for models that cannot drop patches.

    Raises UserError where timm has no such model, or sizes do not divide.
    """
    name = timm_name(model)
    probe = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    kwargs: dict[str, Any] = {"num_classes": num_classes}
    if drop_path:
        kwargs["drop_path_rate"] = drop_path
    if name.startswith(("deit", "vit")):
        size = patch_size or registry.create_model(name).patch_embed.patch_size[0]
        if image_size % size:
            raise UserError(f"expected an image size that is a multiple of the patch size {size}, found {image_size}")
        network = registry.create_model(name, img_size=image_size, patch_size=size, **kwargs)
    elif probe is not None and (probe.fixed_input_size or name.startswith("swin")):
        network = registry.create_model(name, img_size=image_size, **kwargs)
    else:
        network = registry.create_model(name, **kwargs)
    if isinstance(network, VisionTransformer) and network.patch_drop.__class__ is nn.Identity:
        return SparseViT(network)
    if grid is not None and image_size % grid:
        raise UserError(f"expected an image size that is a multiple of the grid's {grid} cells, found {image_size}")
    return OccludedModel(network, grid or 1)
