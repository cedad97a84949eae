"""Training of a selector: dense weights are fine-tuned with token pruning, as in the authors' programs.

Legend: B images, T tokens, D width, n patches not yet dropped, k of them kept.
"""

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vit_tickets.pipeline.networks import vit


class PrunedViT(nn.Module):
    """A ViT that drops the patches that its CLS token attends to least (Shen et al. 2023, section 3.4).

    This is EViT (Liang et al. 2022) without token fusion, and the pruning of `vit.identify_tokens` with gradients; the
    choice of patches has none.

    Args:
        network: the ViT.
        stages: numbers of the blocks that drop patches, from 1.
        counts: for each of them, the number of patches that are kept after its attention.
    """

    has_token_outputs = False

    def __init__(self, network: VisionTransformer, stages: tuple[int, ...], counts: tuple[int, ...]):
        super().__init__()
        vit.check_selector(network, stages)
        self.network, self.counts = network, dict(zip(stages, counts, strict=True))
        self.grid = network.patch_embed.grid_size[0]

    def forward(self, images: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Logits (B, classes) of normalised `images` (B, 3, height, width); raises ValueError if `kept_BK` is given."""
        if kept_BK is not None:
            raise ValueError("a selector chooses its patches itself")
        network = self.network
        x_BTD = vit.embed(network, images)
        for number, block in enumerate(network.blocks, start=1):
            if number not in self.counts:
                x_BTD = block(x_BTD)
                continue
            out, score_Bn = vit.attend_and_score(block.attn, block.norm1(x_BTD), network.num_prefix_tokens)
            x_BTD = x_BTD + block.drop_path1(block.ls1(out))
            order_Bn = score_Bn.detach().sort(dim=1, descending=True, stable=True).indices
            kept_Bk = order_Bn[:, : self.counts[number]].sort(dim=1).values
            x_BTD = vit.gather_tokens(x_BTD, kept_Bk, network.num_prefix_tokens)
            x_BTD = x_BTD + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BTD))))
        return network.forward_head(network.norm(x_BTD))
