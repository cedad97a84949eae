"""Queries and keys of timm's vision transformers, block by block, as they compute them.

Both of timm's plain families are read: `VisionTransformer` (ViT, DeiT, CLIP, SigLIP, DINOv2) and `Eva` (EVA-02, DINOv3,
Perception Encoder, ViTs with rotary position embeddings). Legend: B images, T tokens (prefix tokens, then patches), D
width, H heads, d width of a head.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionPoolLatent
from timm.layers.attention import AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.system.errors import UserError

Transformer = VisionTransformer | Eva
KINDS = {Block: (Attention,), EvaBlock: (EvaAttention, AttentionRope), EvaBlockPostNorm: (EvaAttention,)}


def check_transformer(network: nn.Module) -> Transformer:
    """`network`, if it is of one of timm's plain families; raises UserError otherwise."""
    if isinstance(network, VisionTransformer | Eva):
        return network
    found = type(network).__name__
    raise UserError(f"expected a timm vision transformer (VisionTransformer or Eva) as selector, found {found}")


def check_blocks(network: Transformer) -> None:
    """Raise UserError unless the attention of every block can be read."""
    for block in network.blocks:
        if type(getattr(block, "attn", None)) not in KINDS.get(type(block), ()):
            found = f"{type(block).__name__} in {type(network).__name__}"
            raise UserError(f"expected a selector built on timm's Block and Attention, found others ({found})")


def has_cls(network: Transformer) -> bool:
    """Whether the first token is a CLS token."""
    return network.has_class_token if isinstance(network, VisionTransformer) else network.cls_token is not None


def enter(network: Transformer, images: Tensor) -> tuple[Tensor, Sequence[Tensor | None]]:
    """The tokens (B, T, D) that enter the first block, and each block's rotary position embedding, None without one.

    images: normalised, (B, 3, height, width).
    """
    depth = len(network.blocks)
    if isinstance(network, VisionTransformer):
        return network.norm_pre(network._pos_embed(network.patch_embed(images))), [None] * depth
    x_BTD, rope = network._pos_embed(network.patch_embed(images))
    ropes = list(rope) if rope is not None and network.rope_mixed else [rope] * depth
    return network.norm_pre(x_BTD), ropes


def after(block: nn.Module, x_BTD: Tensor, rope: Tensor | None) -> Tensor:
    """The tokens after `block`."""
    return block(x_BTD) if rope is None else block(x_BTD, rope=rope)


def input_of(block: nn.Module, x_BTD: Tensor) -> Tensor:
    """What the attention of `block` is given of the tokens that enter it."""
    return x_BTD if isinstance(block, EvaBlockPostNorm) else cast("Any", block).norm1(x_BTD)


def queries_and_keys(attn: nn.Module, x_BTD: Tensor, rope: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Queries, not yet scaled, and keys of all tokens, (B, H, T, d) each, of one of the attentions in `KINDS`."""
    layer: Any = attn
    dim, bias = layer.head_dim * layer.num_heads, None
    if layer.qkv is not None:
        if isinstance(attn, EvaAttention):
            bias = None if attn.q_bias is None else torch.cat((attn.q_bias, cast("Tensor", attn.k_bias)))
        elif layer.qkv.bias is not None:
            bias = layer.qkv.bias[: 2 * dim]
        q, k = F.linear(x_BTD, layer.qkv.weight[: 2 * dim], bias).chunk(2, dim=-1)
    else:
        q, k = layer.q_proj(x_BTD), layer.k_proj(x_BTD)
    q, k = (part.unflatten(-1, (-1, layer.head_dim)).transpose(1, 2) for part in (q, k))
    q, k = layer.q_norm(q), layer.k_norm(k)
    if rope is not None:
        q, k = (_rotated(part, rope, layer.num_prefix_tokens, layer.rotate_half) for part in (q, k))
    return q, k.repeat_interleave(q.shape[1] // k.shape[1], dim=1) if k.shape[1] != q.shape[1] else k


def _rotated(part_BHTd: Tensor, rope: Tensor, num_prefix: int, half: bool) -> Tensor:
    patches = apply_rot_embed_cat(part_BHTd[:, :, num_prefix:], rope, half=half)
    return torch.cat([part_BHTd[:, :, :num_prefix], patches], dim=2).type_as(part_BHTd)


def check_pool(network: Transformer) -> AttentionPoolLatent:
    """The attention pool of `network`, as SigLIP has one; raises UserError without one."""
    pool = network.attn_pool
    if isinstance(pool, AttentionPoolLatent):
        return pool
    raise UserError(
        f"--method attention-pool: expected a selector with attention pooling, found {type(network).__name__} without; "
        "pass --method column-sum"
    )


def pool_attention(network: Transformer, x_BTD: Tensor) -> Tensor:
    """Softmax attention of the pool's query to each patch, averaged over heads (and queries): float32 (B, N).

    x_BTD: the tokens after the last block. Prefix tokens that the pool sees take part in the softmax and are then left
    out.
    """
    pool, prefix = check_pool(network), network.num_prefix_tokens
    x_BTD = network.norm(x_BTD)
    if not getattr(network, "pool_include_prefix", True):
        x_BTD, prefix = x_BTD[:, prefix:], 0
    if pool.pos_embed is not None:
        x_BTD = x_BTD + pool.pos_embed.unsqueeze(0).to(x_BTD.dtype)
    q = pool.q(pool.latent.expand(len(x_BTD), -1, -1))
    k = pool.kv(x_BTD).chunk(2, dim=-1)[0]
    q, k = (part.unflatten(-1, (pool.num_heads, pool.head_dim)).transpose(1, 2) for part in (q, k))
    q, k = pool.q_norm(q), pool.k_norm(k)
    with torch.autocast(q.device.type, enabled=False):
        attention = (q.float() * pool.scale @ k.float().transpose(-2, -1)).softmax(dim=-1)
        return attention[..., prefix:].mean(dim=(1, 2))
