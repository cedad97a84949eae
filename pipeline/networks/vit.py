"""Token identification in vision transformers, as both stages run it on a selector.

Legend: B images, N patches of an image, n patches still alive, T tokens (prefix tokens and alive patches), D width,
H heads, k kept.
"""

import contextlib
import copy
import functools
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.eva import Eva
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.networks.attention import queries_and_keys
from vit_tickets.pipeline.runs.families import KNOWN, short_name
from vit_tickets.pipeline.system.errors import UserError

T = TypeVar("T", bound=VisionTransformer | Eva)


def default_stages(model: str, depth: int) -> tuple[int, ...]:
    """Blocks, counted from 1, that identify tokens: those that the table of families names for `model`, or else
    1 + i * depth // 4 for i = 1, 2, 3 (at depth 12: 4, 7, 10)."""
    known = KNOWN.get(short_name(model))
    return known.stages if known and known.stages else tuple(1 + i * depth // 4 for i in (1, 2, 3))


def image_shape(vit: VisionTransformer | Eva) -> tuple[int, int]:
    """Height and width of the images that the network takes, in pixels."""
    return cast("tuple[int, int]", vit.patch_embed.img_size)


def patch_side(vit: VisionTransformer | Eva) -> int:
    """Side of the square that a token stands for, in pixels of the view; of a convolutional stem the stride."""
    (height, width), (rows, columns) = image_shape(vit), vit.patch_embed.grid_size
    if rows != columns or height != width:
        raise UserError(f"expected a selector with a square grid of patches, found {rows} x {columns}")
    if height % rows:
        raise UserError(
            f"expected a selector whose {rows} patches divide its {height} pixels, found {type(vit).__name__}"
        )
    return height // rows


def embed(vit: VisionTransformer, images: Tensor) -> Tensor:
    """The tokens (B, T, D) that enter the first block, for normalised `images` (B, 3, height, width)."""
    return vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))


def resampled(vit: T, image_size: int) -> T:
    """A copy of `vit` for images of `image_size`, its position embeddings resampled to the grid of that size by timm.

    Raises UserError unless the size is a multiple of the patch size.
    """
    patch = patch_side(vit)
    if image_size % patch:
        raise UserError(f"expected an image size that is a multiple of {patch}, found {image_size}")
    larger = copy.deepcopy(vit)
    with torch.no_grad():
        larger.set_input_size(img_size=(image_size, image_size))
    return larger


def check_selector(network: nn.Module, stages: tuple[int, ...], needs_cls: bool = True) -> VisionTransformer:
    """`network`, if it is a timm ViT whose attention can be read in the blocks `stages`; raises UserError otherwise.

    needs_cls: a ViT without a CLS token is refused, too.
    """
    vit = check_is_vit(network, needs_cls)
    blocks = blocks_of(vit)
    if not all(type(block) is Block and type(block.attn) is Attention for block in blocks):
        name = type(vit).__name__
        raise UserError(f"expected a selector built on timm's Block and Attention, found others in {name}")
    check_stages(stages, len(blocks))
    return vit


def check_stages(stages: tuple[int, ...], depth: int) -> None:
    """Raise UserError unless `stages` are blocks of a network of `depth` blocks, in order."""
    ascending = list(stages) == sorted(set(stages))
    if not stages or not ascending or stages[0] < 1 or stages[-1] > depth:
        raise UserError(f"expected ascending stages between 1 and {depth}, found {stages}")


def check_is_vit(network: nn.Module, needs_cls: bool = True) -> VisionTransformer:
    """`network`, if it is a timm vision transformer; raises UserError otherwise.

    needs_cls: a ViT without a CLS token is refused, too.
    """
    such = " with a CLS token" if needs_cls else ""
    if not isinstance(network, VisionTransformer):
        raise UserError(f"expected a timm vision transformer{such} as selector, found {type(network).__name__}")
    if needs_cls and not network.has_class_token:
        name = type(network).__name__
        raise UserError(f"expected a timm vision transformer{such} as selector, found a {name} without one")
    return network


def blocks_of(vit: VisionTransformer) -> list[Block]:
    """The blocks of a ViT that passed `check_selector`, in order."""
    return cast("list[Block]", list(vit.blocks))


def attention_of(block: Block) -> Attention:
    """The attention of a block of `blocks_of`."""
    return cast("Attention", block.attn)


@dataclass(frozen=True)
class Ranking:
    """The patches of B images in order of their information."""

    #: int64: place of every patch, 0 = most informative; a permutation per row.
    rank_BN: Tensor
    #: float32: of staged identification the head-mean CLS attention at the last stage where the patch was alive.
    score_BN: Tensor
    #: The selector's own classification, if it was asked for.
    logits_BC: Tensor | None = None


def cls_attention(attn: nn.Module, x_BTD: Tensor, num_prefix: int, rope: Tensor | None = None) -> Tensor:
    """Head-mean softmax attention of the CLS query over the patches, float32 (B, T - num_prefix).

    The softmax runs over all tokens; the columns of the prefix tokens are then left out (Shen et al. 2023,
    section 3.4; Liang et al. 2022, EViT, equation 3). Of timm's Attention only the CLS query and all keys are computed.
    """
    if not isinstance(attn, Attention):
        q, k = queries_and_keys(attn, x_BTD, rope)
        return _cls_row(attn, q[:, :, :1], k, num_prefix)
    dim, bias = attn.attn_dim, attn.qkv.bias
    q = F.linear(x_BTD[:, :1], attn.qkv.weight[:dim], None if bias is None else bias[:dim])
    k = F.linear(x_BTD, attn.qkv.weight[dim : 2 * dim], None if bias is None else bias[dim : 2 * dim])
    q, k = (attn_norm(_heads(attn, part)) for attn_norm, part in ((attn.q_norm, q), (attn.k_norm, k)))
    return _cls_row(attn, q, k, num_prefix)


def attention_map(attn: nn.Module, x_BTD: Tensor, rope: Tensor | None = None) -> Tensor:
    """Head-mean softmax attention of every token (rows) to every token, float32 (B, T, T); one head at a time."""
    scale = cast("Attention", attn).scale
    q, k = queries_and_keys(attn, x_BTD, rope)
    with torch.autocast(q.device.type, enabled=False):
        per_head = zip(q.float().unbind(1), k.float().unbind(1), strict=True)
        maps = ((q_BTd * scale @ k_BTd.transpose(-2, -1)).softmax(dim=-1) for q_BTd, k_BTd in per_head)
        return functools.reduce(torch.add, maps) / q.shape[1]


def attend_and_score(attn: Attention, x_BTD: Tensor, num_prefix: int) -> tuple[Tensor, Tensor]:
    """timm's Attention.forward (eval mode, no mask) and, from the same projections, `cls_attention`."""
    B, T, _ = x_BTD.shape
    gate = None if attn.gate is None else attn.gate(x_BTD).sigmoid()
    q, k, v = (_heads(attn, part) for part in attn.qkv(x_BTD).chunk(3, dim=-1))
    q, k = attn.q_norm(q), attn.k_norm(k)
    out = F.scaled_dot_product_attention(q, k, v, scale=attn.scale).transpose(1, 2).reshape(B, T, attn.attn_dim)
    out = attn.norm(out)
    out = attn.proj(out if gate is None else out * gate)
    return out, _cls_row(attn, q[:, :, :1], k, num_prefix)


def _heads(attn: Attention, x_BTD: Tensor) -> Tensor:
    return x_BTD.unflatten(-1, (attn.num_heads, attn.head_dim)).transpose(1, 2)


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Arithmetic in the types of the operands; torch's meta device, where nothing is computed, knows no other."""
    return contextlib.nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def _cls_row(attn: nn.Module, q: Tensor, k: Tensor, num_prefix: int) -> Tensor:
    with without_autocast(q.device):
        logits_BHT = (q.float() * cast("Attention", attn).scale @ k.float().transpose(-2, -1)).squeeze(2)
        return logits_BHT.softmax(dim=-1)[:, :, num_prefix:].mean(dim=1)


@torch.inference_mode()
def identify_tokens(
    vit: VisionTransformer,
    images: Tensor,
    stages: tuple[int, ...],
    plans: list[tuple[int, ...]],
    predictions: bool = False,
) -> list[Ranking]:
    """Rank the patches of each image, once per plan (Shen et al. 2023, section 3.4).

    In each block of `stages`, after its attention has been added to the residual stream, the top-k patch tokens by CLS
    attention stay (ties to the lower patch index), then the block's MLP follows. What comes before the first drop is
    shared by all plans; without `predictions` the pass stops at the last identification.

    Args:
        vit: a selector that passed `check_selector`, in eval mode.
        images: normalised, (B, 3, height, width).
        stages: blocks, counted from 1, ascending.
        plans: per plan, the patches that each stage keeps: `Budget.stage_counts`.
    """
    x_BTD = embed(vit, images)
    B, N = len(images), x_BTD.shape[1] - vit.num_prefix_tokens
    for block in blocks_of(vit)[: stages[0] - 1]:
        x_BTD = block(x_BTD)
    x_BTD, score_BN = _attend(vit, stages[0], x_BTD, last=len(stages) == 1, predictions=predictions)
    everything = torch.arange(N, device=images.device).expand(B, N)
    return [_follow(vit, x_BTD, score_BN, everything, stages, plan, predictions) for plan in plans]


def _attend(vit: VisionTransformer, number: int, x_BTD: Tensor, last: bool, predictions: bool) -> tuple[Tensor, Tensor]:
    """Tokens after the attention of block `number` (in the last stage only for predictions), and scores (B, n)."""
    block = blocks_of(vit)[number - 1]
    normed = block.norm1(x_BTD)
    if not last:
        out, score_Bn = attend_and_score(attention_of(block), normed, vit.num_prefix_tokens)
        return x_BTD + block.ls1(out), score_Bn
    # the same arithmetic with and without predictions, so that both write the same tickets
    score_Bn = cls_attention(attention_of(block), normed, vit.num_prefix_tokens)
    return (x_BTD + block.ls1(block.attn(normed)) if predictions else x_BTD), score_Bn


def _follow(
    vit: VisionTransformer,
    x_BTD: Tensor,
    score_Bn: Tensor,
    alive_Bn: Tensor,
    stages: tuple[int, ...],
    plan: tuple[int, ...],
    predictions: bool,
) -> Ranking:
    """The ranking of one plan, from the attention of the first stage."""
    blocks = blocks_of(vit)
    rank_BN = torch.empty_like(alive_Bn)
    score_BN = torch.empty_like(score_Bn)
    for i, (number, kept) in enumerate(zip(stages, plan, strict=True)):
        last = i == len(stages) - 1
        # patches are in ascending order, so a stable sort gives ties to the lower patch index
        order_Bn = score_Bn.sort(dim=1, descending=True, stable=True).indices
        places_Bn = torch.arange(order_Bn.shape[1], device=order_Bn.device).expand_as(order_Bn)
        rank_BN.scatter_(1, alive_Bn.gather(1, order_Bn), places_Bn)
        score_BN.scatter_(1, alive_Bn, score_Bn)
        if last and not predictions:
            break
        kept_Bk = order_Bn[:, :kept].sort(dim=1).values
        alive_Bn = alive_Bn.gather(1, kept_Bk)
        x_BTD = gather_tokens(x_BTD, kept_Bk, vit.num_prefix_tokens)
        block = blocks[number - 1]
        x_BTD = x_BTD + block.ls2(block.mlp(block.norm2(x_BTD)))
        for between in blocks[number : len(blocks) if last else stages[i + 1] - 1]:
            x_BTD = between(x_BTD)
        if not last:
            x_BTD, score_Bn = _attend(vit, stages[i + 1], x_BTD, i + 1 == len(stages) - 1, predictions)
    return Ranking(rank_BN, score_BN, vit.forward_head(vit.norm(x_BTD)).float() if predictions else None)


def gather_tokens(x_BTD: Tensor, kept_Bk: Tensor, num_prefix: int) -> Tensor:
    """The prefix tokens and the patch tokens at `kept_Bk` (indices among the patch tokens), in that order."""
    patches = x_BTD[:, num_prefix:].gather(1, kept_Bk.unsqueeze(-1).expand(-1, -1, x_BTD.shape[-1]))
    return torch.cat([x_BTD[:, :num_prefix], patches], dim=1)
