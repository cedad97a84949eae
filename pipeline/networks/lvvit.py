"""LV-ViT (Jiang et al. 2021): a ViT with a convolutional stem, halved residual branches, and logits for every token.

Parameters have the names of the published checkpoints (github.com/zihangJiang/TokenLabeling).

Legend: B images, N patches of an image, K kept, T tokens (CLS and patches), D width, C classes.
"""

from functools import partial

import torch.nn.functional as F
from timm.layers import PatchEmbed, trunc_normal_
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.networks.vit import gather_tokens

STEM_WIDTH = 64
SKIP_LAM = 2.0
AUX_SHARE = 0.5  # of the strongest patch in the logits


class Stem(PatchEmbed):
    """Three overlapping convolutions at half the resolution, then one projection per patch.

    A token therefore depends on pixels of the patches around its own.
    """

    def __init__(self, img_size: int, patch_size: int, in_chans: int, embed_dim: int, **_):
        if patch_size % 2:
            raise ValueError(f"expected an even patch size, found {patch_size}")
        super().__init__(img_size // 2, patch_size // 2, STEM_WIDTH, embed_dim)
        self.img_size, self.patch_size = (img_size, img_size), (patch_size, patch_size)
        self.conv1 = nn.Conv2d(in_chans, STEM_WIDTH, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv2 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_WIDTH)
        self.conv3 = nn.Conv2d(STEM_WIDTH, STEM_WIDTH, kernel_size=3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(STEM_WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, N, D), in raster order, of normalised `images` (B, 3, side, side)."""
        x = images
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(conv(x)), inplace=True)
        return self.proj(x).flatten(2).transpose(1, 2)


class Divide(nn.Module):
    """x / `by`, in the place of the layer scale of a timm Block."""

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x / self.by


class LVViT(VisionTransformer):
    """Called like any timm classifier, it returns the logits of its evaluation: cls + 0.5 * max over the patches.

    Training uses its parts: `patch_embed` for tokens, `encode` for the blocks, `heads` for logits.
    """

    takes_patch_size = True  # as a plain ViT does, beside its image size

    def __init__(self, num_classes: int = 1000, **kwargs):
        super().__init__(
            num_classes=num_classes,
            mlp_ratio=3.0,
            qkv_bias=False,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            embed_layer=Stem,
            **kwargs,
        )
        for block in self.blocks:
            block.ls1 = block.ls2 = Divide(SKIP_LAM)
        self.aux_head = nn.Linear(self.embed_dim, num_classes)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.aux_head.weight, std=0.02)
        nn.init.zeros_(self.aux_head.bias)

    def encode(self, tokens_BND: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Output (B, T, D), normed, of all blocks on CLS and the patches, or the patches `kept_BK`.

        A token has the position of its cell, wherever its pixels are from.
        """
        x_BTD = self._pos_embed(tokens_BND)
        if kept_BK is not None:
            x_BTD = gather_tokens(x_BTD, kept_BK, self.num_prefix_tokens)
        return self.norm(self.blocks(x_BTD))

    def heads(self, x_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the image, from CLS (B, C), and of each patch (B, T - 1, C)."""
        return self.head(x_BTD[:, 0]), self.aux_head(x_BTD[:, 1:])

    def forward_head(self, x_BTD: Tensor) -> Tensor:
        """Logits (B, C) of both heads together, as they are evaluated."""
        cls_BC, aux_BKC = self.heads(x_BTD)
        return cls_BC + AUX_SHARE * aux_BKC.amax(1)
