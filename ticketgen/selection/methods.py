"""Scores of patches by methods other than the paper's staged identification: baseline methods for comparison.

Patches with higher scores are kept first; ties go to the lower patch index. Each function names its source.

Legend: B images, N patches of an image (G x G, row by row), T tokens (prefix tokens, then patches), D width, S side of
the square images in pixels, P side of a patch in pixels.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vit_tickets.pipeline.geometry.patches import hash_words
from vit_tickets.pipeline.manifests.methods import Method
from vit_tickets.pipeline.networks import attention, vit
from vit_tickets.pipeline.networks.attention import Transformer


@dataclass(frozen=True)
class Batch:
    """A batch and all that the score of a method may depend on."""

    #: Passed `selecting.check_is_selector`, in eval mode.
    network: Transformer
    #: RGB, uint8 (B, 3, S, S).
    pixels: Tensor
    #: The same normalised for the network, float32.
    images: Tensor
    #: What each image is called, and the seed: for `random` alone.
    names: Sequence[str] = ()
    mask_seed: int = 0
    #: The block that the method reads, counted from 1.
    block: int | None = None

    @property
    def side(self) -> int:
        """P."""
        return vit.patch_side(self.network)

    @property
    def grid(self) -> int:
        """G."""
        return self.images.shape[-1] // self.side

    @property
    def num_patches(self) -> int:
        """N."""
        return self.grid**2


SCORES: dict[str, Callable[..., Tensor]] = {}


def scores(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function as the scores, float32 (B, N) or (N,), of the method `name` of `pipeline.manifests.methods`.

    Its parameters are named after the attributes of a Batch that it is called with.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        SCORES[name] = function
        return function

    return register


def rank_patches(method: Method, batch: Batch, predictions: bool = False) -> vit.Ranking:
    """Ranking of a batch by `method`, which is not staged; `predictions` are those of the whole view."""
    score_BN = score_patches(method, batch)
    with torch.inference_mode():
        logits_BC = batch.network(batch.images).float() if predictions else None
    return vit.Ranking(rank_by_score(score_BN), score_BN, logits_BC)


def score_patches(method: Method, batch: Batch) -> Tensor:
    """Scores float32 (B, N) of `method`, which is not staged, on the device of `batch`."""
    function = SCORES[method.name]
    score = function(**{name: getattr(batch, name) for name in inspect.signature(function).parameters})
    return score.to(batch.images.device).expand(len(batch.images), -1)


def rank_by_score(score_BN: Tensor) -> Tensor:
    """Place of every patch by descending score, ties to the lower index: int64 (B, N), a permutation per row."""
    order_BN = score_BN.sort(dim=1, descending=True, stable=True).indices
    places_BN = torch.arange(score_BN.shape[1], device=score_BN.device).expand_as(order_BN)
    return torch.empty_like(order_BN).scatter_(1, order_BN, places_BN)


@scores("cls-attention")
@torch.inference_mode()
def cls_attention(network: Transformer, images: Tensor, block: int) -> Tensor:
    """Attention of the CLS token to each patch in `block`, averaged over heads. Float32 (B, N).

    One stage of staged identification, with no patch dropped before it (Liang et al. 2022, EViT, equation 3).
    """
    attn, x_BTD, rope = _before_attention(network, images, block)
    return vit.cls_attention(attn, x_BTD, network.num_prefix_tokens, rope)


@scores("lotus")
@torch.inference_mode()
def lotus(network: Transformer, images: Tensor, block: int) -> Tensor:
    """`cls_attention` with the attention to the first patch set to the mean of the others. Float32 (B, N).

    LOTUS 2024, section 4: "the first token of the attention maps had to be normalized to the mean to avoid the
    attention sink". The paper names neither block nor heads nor token. If its first token were CLS, the order of the
    patches would be that of `cls_attention`; so the first patch is meant here, where the correction changes a ticket.
    """
    score_BN = cls_attention(network, images, block)
    score_BN[:, 0] = score_BN[:, 1:].mean(dim=1)
    return score_BN


@scores("column-sum")
@torch.inference_mode()
def column_sum(network: Transformer, images: Tensor, block: int) -> Tensor:
    """Attention that each patch receives in `block`, averaged over heads, summed over all queries. Float32 (B, N).

    The criterion of Tri-Level E-ViT for ViTs without a CLS token (Kong et al. 2023, "Token-level Sparsity").
    """
    attn, x_BTD, rope = _before_attention(network, images, block)
    return vit.attention_map(attn, x_BTD, rope).sum(dim=1)[:, network.num_prefix_tokens :]


@scores("attention-pool")
@torch.inference_mode()
def attention_pool(network: Transformer, images: Tensor) -> Tensor:
    """Attention of the pool's query to each patch after the last block, averaged over heads. Float32 (B, N).

    The head of SigLIP (Zhai et al. 2023), after the multihead attention pooling of Zhai et al. 2022, arXiv:2106.04560.
    """
    x_BTD, ropes = attention.enter(network, images)
    for block, rope in zip(network.blocks, ropes, strict=True):
        x_BTD = attention.after(block, x_BTD, rope)
    return attention.pool_attention(network, x_BTD)


@scores("rollout")
@torch.inference_mode()
def rollout(network: Transformer, images: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020, section 3): the product over all blocks, the first rightmost, of
    (A + I) / 2, A averaged over heads. Float32 (B, N).

    The row of the CLS token, or the mean row of the patches where there is none.
    """
    (x_BTD, ropes), prefix = attention.enter(network, images), network.num_prefix_tokens
    rolled_BTT = identity_TT = torch.eye(x_BTD.shape[1], device=images.device)
    for block, rope in zip(network.blocks, ropes, strict=True):
        attn = cast("nn.Module", block.attn)
        mixed_BTT = (vit.attention_map(attn, attention.input_of(block, x_BTD), rope) + identity_TT) / 2
        with torch.autocast(images.device.type, enabled=False):
            rolled_BTT = mixed_BTT @ rolled_BTT
        x_BTD = attention.after(block, x_BTD, rope)
    row_BT = rolled_BTT[:, 0] if attention.has_cls(network) else rolled_BTT[:, prefix:].mean(dim=1)
    return row_BT[:, prefix:]


@scores("gradient-input")
def gradient_input(network: Transformer, images: Tensor) -> Tensor:
    """|gradient x input| of the predicted class's logit, summed over the pixels and channels of each patch. Float32
    (B, N).

    Shrikumar et al. 2016, arXiv:1605.01713; the input is the normalised image.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad(), _reproducible_backward(images.device):
        logit_B = network(images).float().max(dim=1).values
        (gradient,) = torch.autograd.grad(logit_B.sum(), images)
    return _cells((gradient * images.detach()).abs().sum(dim=1), vit.patch_side(network)).sum(dim=2)


@scores("entropy")
def entropy(pixels: Tensor, side: int) -> Tensor:
    """Shannon entropy in bits (Shannon 1948, section 6) of the histogram of each patch's 256 grey levels: ITU-R 601
    luma, as Pillow's mode L rounds it. Float32 (B, N).

    pixels: uint8 (B, 3, S, S). side: P.
    """
    red, green, blue = pixels.int().unbind(dim=1)
    level_BNp = _cells((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16, side)
    B, N, area = level_BNp.shape
    patch_BN1 = torch.arange(B * N, device=pixels.device).view(B, N, 1)
    count_BNL = torch.bincount((256 * patch_BN1 + level_BNp).flatten(), minlength=B * N * 256).view(B, N, 256).double()
    entropy_BN = math.log2(area) - torch.xlogy(count_BNL, count_BNL).sum(dim=2) / (area * math.log(2))
    return entropy_BN.round(decimals=9).float()  # equal histograms tie exactly


@scores("centre")
def centre(grid: int) -> Tensor:
    """Negative distance of each patch's centre from the view's, in sides of the view. Float32 (N,), N = `grid` squared.

    Only the bias of photographs towards their middle (Tatler 2007, doi:10.1167/7.14.4).
    """
    offset_G = 2 * torch.arange(grid) + 1 - grid  # whole numbers of half patches, so that equal distances tie exactly
    squared_GG = offset_G[:, None] ** 2 + offset_G[None, :] ** 2
    return -(squared_GG.double().sqrt() / (2 * grid)).float().flatten()


@scores("random")
def random(mask_seed: int, names: Sequence[str], num_patches: int) -> Tensor:
    """Uniform numbers of 24 bits in [0, 1), from SHAKE-128 over `random:{mask_seed}:{name}`. Float32 (B, N).

    A second random subset, independent of the stored `rc`, whose hashed text begins with the seed.
    """
    words_BN = np.stack([hash_words(f"random:{mask_seed}:{name}", num_patches) for name in names])
    return torch.from_numpy((words_BN >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24))


def _before_attention(network: Transformer, images: Tensor, block: int) -> tuple[nn.Module, Tensor, Tensor | None]:
    """The attention of `block`, counted from 1, its input (B, T, D), and its rotary position embedding, if any."""
    x_BTD, ropes = attention.enter(network, images)
    *earlier, (last, rope) = list(zip(network.blocks, ropes, strict=True))[:block]
    for each, of_each in earlier:
        x_BTD = attention.after(each, x_BTD, of_each)
    return cast("nn.Module", last.attn), attention.input_of(last, x_BTD), rope


def _cells(map_BSS: Tensor, side: int) -> Tensor:
    """The pixels of each patch: (B, S, S) as (B, N, P * P)."""
    B, S = len(map_BSS), map_BSS.shape[-1]
    cells = map_BSS.reshape(B, S // side, side, S // side, side).transpose(2, 3)
    return cells.reshape(B, -1, side * side)


@contextlib.contextmanager
def _reproducible_backward(device: torch.device) -> Iterator[None]:
    """Select the GPU kernels whose backward pass gives the same bits every time.

    On the CPU all kernels do, and threads share these switches, which are left alone.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with sdpa_kernel(SDPBackend.MATH), cudnn:
        yield
