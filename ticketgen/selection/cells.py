"""Logits of each cell of a classifier's last feature map: its head, applied to the cell alone.

With an average pool this is the classifier as a 1 x 1 convolution, and the mean over the cells is the image's logits.
For ViTs whose head reads the CLS token, cells are computed so that this holds, too.
Legend: B images, M cells along a side of the map, N = M * M cells, T tokens, D width, R prefix tokens, C classes.
"""

from typing import TypeGuard

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.networks.vit import attention_of, blocks_of, embed
from vit_tickets.pipeline.system.errors import UserError


def cell_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Logits (B, N, C), cells row-major, of normalised `images` (B, 3, height, width).

    `network` passed `check_cells`. Its feature map is NCHW, NHWC (where timm says so) or a sequence of tokens.
    """
    if is_cls_vit(network):
        return cls_logits(network, images)
    features = network.forward_features(images)
    if features.ndim == 3:  # a sequence of nothing but this token, so that any pool gives the token
        prefix = num_prefix_tokens(network)
        alone = features[:, prefix:].flatten(0, 1).unsqueeze(1).expand(-1, prefix + 1, -1)
    elif is_channels_last(network):
        alone = features.flatten(0, 2)[:, None, None]
    else:
        alone = features.permute(0, 2, 3, 1).flatten(0, 2)[:, :, None, None]
    return network.forward_head(alone).unflatten(0, (len(images), -1))


def cls_logits(vit: VisionTransformer, images: Tensor) -> Tensor:
    """Logits (B, N, C) of the CLS token after a last block in which it attends to one patch alone, shifted so that
    their mean is the image's logits.

    A head that was trained on the CLS token cannot read patch tokens. The first two columns measure how often the best
    class of the mean map is the label, on 200 whole photographs (DeiT-Tiny's published weights) and on 400 images of
    digits (deit_micro); the third, how often the best of the four labels of a mosaic of photographs is that of the
    cell's own quarter (chance 25%):

        each patch token through norm and head                              0.0%              9.0%
        each patch's own value in place of its attention (MaskCLIP)         0.5%             28.7%
        the CLS token on that patch alone                                  78.5%   18.0%     57.4%
        the same, shifted (this function)                                  77.0%   88.5%     48.3%
        the CLS token as usual, one answer per image                       77.5%   89.0%

    An empty patch has logits, too, and may have the largest; shifted, they do not change the image's label.
    """
    x_BTD = embed(vit, images)
    *earlier, block = blocks_of(vit)
    for each in earlier:
        x_BTD = each(x_BTD)
    attn, R = attention_of(block), vit.num_prefix_tokens
    qkv = attn.qkv(block.norm1(x_BTD)).unflatten(-1, (3, attn.num_heads, -1))
    q_BHTd, k_BHTd, v_BHTd = qkv.permute(2, 0, 3, 1, 4)
    whole_BHRd = F.scaled_dot_product_attention(
        attn.q_norm(q_BHTd[:, :, :R]), attn.k_norm(k_BHTd), v_BHTd, scale=attn.scale
    )

    def logits_of(prefix_nRD: Tensor, attended: Tensor) -> Tensor:
        x_nRD = prefix_nRD + block.ls1(attn.proj(attn.norm(attended)))
        x_nRD = x_nRD + block.ls2(block.mlp(block.norm2(x_nRD)))
        return vit.forward_head(vit.norm(x_nRD))

    prefix_BRD, alone_BND = x_BTD[:, :R], v_BHTd[:, :, R:].transpose(1, 2).flatten(2)
    image_BC = logits_of(prefix_BRD, whole_BHRd.transpose(1, 2).flatten(2))
    N = alone_BND.shape[1]
    alone_n1D = alone_BND.flatten(0, 1).unsqueeze(1)  # n = B * N
    cells_BNC = logits_of(prefix_BRD.repeat_interleave(N, 0), alone_n1D).unflatten(0, (-1, N))
    return cells_BNC + (image_BC - cells_BNC.mean(1)).unsqueeze(1)


def is_cls_vit(network: nn.Module) -> TypeGuard[VisionTransformer]:
    """Whether the head of `network` reads the CLS token of timm's plain vision transformer."""
    return isinstance(network, VisionTransformer) and network.global_pool == "token"


def num_prefix_tokens(network: nn.Module) -> int:
    return getattr(network, "num_prefix_tokens", 0)


def is_channels_last(network: nn.Module) -> bool:
    return getattr(network, "output_fmt", "NCHW") == "NHWC"


def set_image_size(network: nn.Module, image_size: int) -> None:
    """Set the image size of `network` to squares of `image_size`; timm resamples its position embeddings, if any."""
    if hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(image_size, image_size))


@torch.inference_mode()
def check_cells(network: nn.Module, image_size: int) -> int:
    """M, the side of the feature map of images of `image_size`, after a pass over a blank one.

    Raises UserError unless the network takes them and has a square map whose cells its head can read one by one.
    """
    name = type(network).__name__
    blank = torch.zeros(1, 3, image_size, image_size)
    try:
        features = network.forward_features(blank)
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{name} cannot take images of {image_size} pixels: {' '.join(str(error).split())}") from None
    shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    size = _map_shape(network, features)
    if size is None or size[0] != size[1]:
        raise UserError(f"expected an annotator with a square feature map, found {name} with features {shape}")
    if features.ndim == 3:
        if image_size % size[0]:  # the patches would leave a margin out
            raise UserError(f"expected an image size that the {size[0]} cells of {name} divide, found {image_size}")
        pool = getattr(network, "global_pool", "token")
        if num_prefix_tokens(network) and pool == "token" and not _is_plain(network):
            raise UserError(f"expected a head over a feature map or timm's plain ViT, found {name} with a CLS token")
    found = tuple(cell_logits(network, blank).shape)
    expected = (1, size[0] * size[1], network.num_classes)
    if found != expected:
        raise UserError(f"expected logits {expected} of the cells of {name}, found {found}")
    return size[0]


def _map_shape(network: nn.Module, features: Tensor) -> tuple[int, int] | None:
    """Rows and columns of the feature map; None if there is none."""
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        return None
    if features.ndim == 4:
        return tuple(features.shape[1:3] if is_channels_last(network) else features.shape[2:])
    tokens = features.shape[1] - num_prefix_tokens(network)
    side = round(max(tokens, 0) ** 0.5)
    return (side, side) if side and side * side == tokens else None


def _is_plain(network: nn.Module) -> bool:
    if not is_cls_vit(network):
        return False
    last = blocks_of(network)[-1]
    return type(last) is Block and type(last.attn) is Attention and last.attn.gate is None
