"""A ViT that learns which patches to keep (SViTE+; Chen et al. 2021, section 3.2 and algorithm 2).

Legend: B images, N patches of an image, K kept, T tokens, D width.
"""

import contextlib
from collections.abc import Iterator

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.manifests.folds import hash_word
from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.runs.choices import SCORERS
from vit_tickets.train.models.sparse import SparseViT, is_kept

NAME = "token_scorer"  # the attribute of the network, so that optimizer, average and checkpoints have it


class LearnedViT(SparseViT):
    """A timm ViT with a scorer: a patch's score is a log-probability, and the k patches with the highest are kept.

    In training, noise of Gumbel(0, 1) is added to the scores, so that patches are drawn without replacement, each in
    proportion to its probability. Every kept token enters the first block times 1 + g - sg(g), which is 1, where g is
    its share in the softmax of the noisy scores at temperature tau: so the scorer gets the gradient of a soft choice
    (straight-through; sg stops it). Dropped tokens are computed no further; their scores learn through the denominator,
    and whenever noise has them kept. The class token and registers are kept without a score.

    Args:
        network: the ViT; the scorer becomes a part of it.
        scorer: one of `SCORERS`.
        seed: of the scorer's initial weights, which are the same whatever the network starts from.

    Attributes:
        tau: float32 (), the temperature.
        times_kept_N: int64 (N,), for how many images each patch was kept in training, since it was last set to 0.
        kept_alike: int64 (), how many of these would have been kept without noise, too.
    """

    chooses_patches = True
    tau: Tensor
    times_kept_N: Tensor
    kept_alike: Tensor

    def __init__(self, network: VisionTransformer, scorer: str, seed: int = 0):
        super().__init__(network)
        setattr(network, NAME, build_scorer(scorer, network.embed_dim, seed))
        self.register_buffer("tau", torch.ones(()), persistent=False)
        self.register_buffer("times_kept_N", torch.zeros(self.grid**2, dtype=torch.int64), persistent=False)
        self.register_buffer("kept_alike", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def scorer(self) -> nn.Module:
        """What scores patches."""
        return self.network.get_submodule(NAME)

    @contextlib.contextmanager
    def without_scorer(self) -> Iterator[None]:
        """Within the block, the network has timm's parameters alone."""
        scorer = self.scorer
        delattr(self.network, NAME)
        try:
            yield
        finally:
            setattr(self.network, NAME, scorer)

    def forward(self, images: Tensor, kept_BK: Tensor | None = None, choose: int | None = None) -> Tensor:
        """Logits (B, classes).

        Args:
            images: normalised, (B, 3, height, width).
            kept_BK: int64, the patches to see; None for all.
            choose: k, so many patches are seen that the scorer chooses; None for those of `kept_BK`.
        """
        if choose is None:
            return super().forward(images, kept_BK)
        network, prefix = self.network, self.network.num_prefix_tokens
        x_BTD = vit.embed(network, images)
        with vit.without_autocast(images.device):
            kept_BK, gate_BK = self.choose(x_BTD[:, prefix:], choose)
        x_BTD = vit.gather_tokens(x_BTD, kept_BK, prefix)
        if gate_BK is not None:
            gated_BKD = x_BTD[:, prefix:] * gate_BK.to(x_BTD.dtype).unsqueeze(-1)
            x_BTD = torch.cat([x_BTD[:, :prefix], gated_BKD], dim=1)
        return network.forward_head(network.norm(network.blocks(x_BTD)))

    def choose(self, patches_BND: Tensor, count: int) -> tuple[Tensor, Tensor | None]:
        """The patches to keep, int64 (B, K), ascending, and the factors of their tokens (B, K), all 1; None without
        gradients.

        Args:
            patches_BND: embedded patches with their positions.
            count: K.
        """
        weight = next(self.scorer.parameters())
        score_BN = self.scorer(patches_BND.to(weight.dtype)).squeeze(-1).log_softmax(dim=1)
        noisy_BN = score_BN + gumbel(score_BN) if self.training else score_BN
        kept_BK = best(noisy_BN, count)
        if self.training:
            self._count(kept_BK, best(score_BN, count))
        if not torch.is_grad_enabled():
            return kept_BK, None
        soft_BK = (noisy_BN / self.tau).softmax(dim=1).gather(1, kept_BK)
        return kept_BK, 1 + (soft_BK - soft_BK.detach())

    @torch.no_grad()
    def _count(self, kept_BK: Tensor, unnoised_BK: Tensor) -> None:
        kept_BN, unnoised_BN = (is_kept(indices, self.grid**2) for indices in (kept_BK, unnoised_BK))
        self.times_kept_N += kept_BN.sum(0)
        self.kept_alike += (kept_BN & unnoised_BN).sum()


def best(score_BN: Tensor, count: int) -> Tensor:
    """The patches with the `count` highest scores, ties to the lower index: int64 (B, K), ascending.

    Noisy scores, not their softmax: at a low temperature most shares are 0, and ties would go to the top of the image.
    """
    return score_BN.detach().sort(dim=1, descending=True, stable=True).indices[:, :count].sort(dim=1).values


def gumbel(like: Tensor) -> Tensor:
    """Draws of Gumbel(0, 1), of the shape and type of `like`."""
    smallest = torch.finfo(like.dtype).tiny  # the exponential may be 0
    return -torch.empty_like(like).exponential_().clamp_min(smallest).log()


def build_scorer(kind: str, width: int, seed: int) -> nn.Module:
    """A scorer of tokens (..., D), whose scores are (..., 1): `linear`, or `mlp` (D, D / 4, GELU, 1).

    The last layer has no bias, which would shift all scores alike. Raises ValueError for another kind.
    """
    if kind not in SCORERS:
        raise ValueError(f"expected a scorer among {', '.join(SCORERS)}, found {kind!r}")
    generator = torch.Generator().manual_seed(hash_word(f"scorer:{seed}") >> 1)
    last = nn.Linear(width if kind == "linear" else width // 4, 1, bias=False)
    scorer = last if kind == "linear" else nn.Sequential(nn.Linear(width, width // 4), nn.GELU(), last)
    for layer in scorer.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return scorer


def split(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The state of `network` under timm's names, and that of its scorer under the scorer's own; empty without one."""
    state = network.state_dict()
    scorer = {name: state.pop(name) for name in list(state) if name.startswith(f"{NAME}.")}
    return state, {name.removeprefix(f"{NAME}."): value for name, value in scorer.items()}
