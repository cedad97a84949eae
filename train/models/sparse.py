"""Models that train on part of an image.

ViTs gather the kept patches before embedding, LV-ViT after its stem; other models see dropped patches in one colour.

Legend: B images, N patches of an image, K kept, D width, C channels.
"""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.networks import registry
from vit_tickets.pipeline.networks.lvvit import LVViT
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.families import timm_name
from vit_tickets.pipeline.system.errors import UserError


class SparseViT(nn.Module):
    """A timm ViT that computes only the kept patches."""

    can_drop_patches, has_token_outputs = True, False

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


class SparseLVViT(nn.Module):
    """LV-ViT with all pixels in its stem, and only the kept tokens in its blocks and heads.

    The convolutions of the stem overlap, so a kept token depends on the border of a dropped neighbour, as in the paper.

    Args:
        network: LV-ViT.
        stem_occlusion: fill dropped patches before the stem, so that no output depends on them.
        fill: their normalised values, per channel.
    """

    can_drop_patches, has_token_outputs = True, True

    def __init__(self, network: LVViT, stem_occlusion: bool = False, fill: tuple[float, ...] = (0.0, 0.0, 0.0)):
        super().__init__()
        self.network, self.stem_occlusion = network, stem_occlusion
        self.grid = network.patch_embed.grid_size[0]
        self.register_buffer("fill", torch.tensor(fill).view(3, 1, 1), persistent=False)

    def forward(
        self, images: Tensor, kept_BK: Tensor | None = None, swapped_N: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Compute logits.

        Args:
            images: normalised, (B, 3, height, width).
            kept_BK: int64, the kept patches, of the mixed images; None for all.
            swapped_N: bool, cells whose tokens come from image B - 1 - b (MixToken).

        Returns:
            In training, logits of the images (B, classes) and of their kept patches (B, K, classes), in the order of
            `kept_BK`; in evaluation, both combined (B, classes).
        """
        network = self.network
        if self.stem_occlusion and kept_BK is not None:
            alive_BN = is_kept(kept_BK, self.grid**2)
            if swapped_N is not None:  # back to the images that the tokens come from
                alive_BN = swap(alive_BN, swapped_N)
            images = occlude(images, alive_BN, self.fill)
        tokens_BND = network.patch_embed(images)
        if swapped_N is not None:
            tokens_BND = swap(tokens_BND, swapped_N.unsqueeze(1))
        x_BTD = network.encode(tokens_BND, kept_BK)
        return network.heads(x_BTD) if self.training else network.forward_head(x_BTD)


class OccludedModel(nn.Module):
    """Any timm classifier, with dropped patches masked.

    Args:
        network: the classifier.
        grid: side of the grid of patches.
        fill: normalised values of a dropped patch, per channel.
    """

    can_drop_patches, has_token_outputs = False, False

    def __init__(self, network: nn.Module, grid: int, fill: tuple[float, ...] = (0.0, 0.0, 0.0)):
        super().__init__()
        self.network, self.grid = network, grid
        self.register_buffer("fill", torch.tensor(fill).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of normalised `images` (B, 3, height, width), masked outside `kept_BK`."""
        if kept_BK is not None:
            images = occlude(images, is_kept(kept_BK, self.grid**2), self.fill)
        return self.network(images)


Model = SparseViT | SparseLVViT | OccludedModel


def embed_kept(network: VisionTransformer, images: Tensor, kept_BK: Tensor) -> Tensor:
    """timm's patch_embed and _pos_embed for only the kept patches: (B, prefix + K, D).

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


def is_kept(kept_BK: Tensor, num_patches: int) -> Tensor:
    """bool (B, N): which of the N patches are among `kept_BK`."""
    none_BN = torch.zeros(len(kept_BK), num_patches, dtype=torch.bool, device=kept_BK.device)
    return none_BN.scatter(1, kept_BK, True)


def occlude(images: Tensor, alive_BN: Tensor, fill: Tensor) -> Tensor:
    """`images` (B, 3, height, width), with `fill` (3, 1, 1) outside the cells of a square grid that are alive."""
    grid = round(alive_BN.shape[1] ** 0.5)
    mask = alive_BN.view(-1, 1, grid, grid)
    for dim in (2, 3):
        mask = mask.repeat_interleave(images.shape[dim] // grid, dim=dim)
    return torch.where(mask, images, fill)


def swap(values: Tensor, swapped: Tensor) -> Tensor:
    """`values` (B, ...), replaced by those of entry B - 1 - b where `swapped`. Its own inverse."""
    return torch.where(swapped, values.flip(0), values)


def colour(network: nn.Module, occlusion: str) -> tuple[float, ...]:
    """The normalised values, per channel, of a patch that is dropped: of the mean colour or of black."""
    cfg = network.pretrained_cfg
    shown = {"mean": cfg["mean"], "black": (0.0, 0.0, 0.0)}[occlusion]
    return tuple((value - mean) / std for value, mean, std in zip(shown, cfg["mean"], cfg["std"], strict=True))


def build_model(
    model: str,
    num_classes: int,
    image_size: int,
    patch_size: int | None,
    grid: int | None,
    drop_path: float = 0.0,
    occlusion: str = "mean",
    stem_occlusion: bool = False,
    depth: int | None = None,
) -> Model:
    """A freshly initialised model for square images.

    Args:
        model: short name, or name in timm.
        num_classes: number of classes.
        image_size: side of the images in pixels.
        patch_size: side of a ViT's patches in pixels; None for the model's default.
        grid: side of the grid of tickets, for models that cannot drop patches.
        drop_path: rate of stochastic depth.
        occlusion: colour of dropped patches, `mean` or `black`.
        stem_occlusion: hide dropped patches from LV-ViT's stem.
        depth: number of blocks, fewer than the model's; None for those.

    Raises:
        UserError: timm has no such model, or not of so many blocks, or `image_size` is no multiple of the patch size or
            of `grid`.
    """
    name = timm_name(model)
    sizes = registry.size_kwargs(name, image_size, patch_size)
    if "patch_size" in sizes:
        size = patch_size or registry.sketch(name).patch_embed.patch_size[0]
        if image_size % size:
            raise UserError(f"expected an image size that is a multiple of the patch size {size}, found {image_size}")
    elif grid is not None and image_size % grid:
        raise UserError(f"expected an image size that is a multiple of the grid's {grid} cells, found {image_size}")
    if depth is not None:
        registry.check_depth(name, depth)
    network = registry.create_model(
        name, num_classes=num_classes, drop_path_rate=drop_path or None, depth=depth, **sizes
    )
    if isinstance(network, LVViT):
        return SparseLVViT(network, stem_occlusion, colour(network, occlusion))
    if registry.embeds_each_patch(network):
        return SparseViT(network)
    return OccludedModel(network, grid or 1, colour(network, occlusion))


def model_of(config: RunConfig, grid: int | None = None, drop_path: float = 0.0) -> Model:
    """The freshly initialised model of a run, without its scorer of patches.

    grid: side of the grid of tickets, for models that cannot drop patches; None for the run's own patches.
    """
    return build_model(
        config.model,
        config.num_classes,
        config.image_size,
        config.patch_size,
        grid or config.image_size // config.patch_size,
        drop_path,
        config.occlude,
        config.stem_occlusion,
        config.depth,
    )


def check_runs(model: Model, image_size: int, num_classes: int) -> None:
    """Raise UserError unless `model` returns logits of `num_classes` for an image of `image_size` pixels.

    Leaves the model in eval mode. On torch's meta device nothing is computed.
    """
    name = type(model.network).__name__
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            logits = model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    except Exception as error:  # whatever the network's own arithmetic raises
        why = str(error).split("\n")[0] or type(error).__name__
        raise UserError(f"{name} cannot take images of {image_size} pixels: {why}") from None
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"expected a classifier with logits (1, {num_classes}), found {found} from {name}")
