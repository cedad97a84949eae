"""Operation counts of a ViT and of LV-ViT, in multiply-accumulates per image: what ratios could be by arithmetic alone.

Legend: N patches of an image, T tokens (prefix tokens and patches), D width. Counted are matrix products; norms,
softmax, activations and everything else that is linear in the tokens are not.
"""

from dataclasses import dataclass

from timm.models.vision_transformer import VisionTransformer

from vit_tickets.pipeline.networks.lvvit import LVViT


@dataclass(frozen=True)
class Shape:
    """Sizes of a ViT. patch_values: numbers in one patch (3 x 16 x 16 = 768). hidden: width inside the MLP."""

    num_patches: int
    num_prefix: int
    patch_values: int
    width: int
    hidden: int
    depth: int
    classes: int

    @classmethod
    def of(cls, network: VisionTransformer) -> "Shape":
        return cls(
            num_patches=network.patch_embed.num_patches,
            num_prefix=network.num_prefix_tokens,
            patch_values=network.patch_embed.proj.weight[0].numel(),
            width=network.embed_dim,
            hidden=network.blocks[0].mlp.fc1.out_features,
            depth=len(network.blocks),
            classes=network.num_classes,
        )


def embedding(shape: Shape, patches: int) -> int:
    return patches * shape.patch_values * shape.width


def attention(shape: Shape, patches: int) -> int:
    """Projections in and out (4 T D^2), scores and weighted sum (2 T^2 D)."""
    T, D = patches + shape.num_prefix, shape.width
    return 4 * T * D * D + 2 * T * T * D


def mlp(shape: Shape, patches: int) -> int:
    return 2 * (patches + shape.num_prefix) * shape.width * shape.hidden


def blocks(shape: Shape, patches: int) -> int:
    return shape.depth * (attention(shape, patches) + mlp(shape, patches))


def forward(shape: Shape, kept: int | None = None) -> int:
    """A pass over `kept` patches (default: all), embedded alone, with the classifier."""
    patches = shape.num_patches if kept is None else kept
    return embedding(shape, patches) + blocks(shape, patches) + shape.width * shape.classes


def selection(shape: Shape, stages: tuple[int, ...], plan: tuple[int, ...]) -> int:
    """Token identification up to the last stage, whose block computes the keys and one query alone.

    In the other stages the scores of the CLS query (T D) come on top of the block's attention.

    Args:
        stages: blocks of identification, counted from 1.
        plan: patches that each keeps, before its MLP.
    """
    total, patches, kept = embedding(shape, shape.num_patches), shape.num_patches, dict(zip(stages, plan, strict=True))
    for block in range(1, stages[-1]):
        total += attention(shape, patches)
        if block in kept:
            total += (patches + shape.num_prefix) * shape.width
            patches = kept[block]
        total += mlp(shape, patches)
    T, D = patches + shape.num_prefix, shape.width
    return total + (T + 1) * D * D + T * D


def until_identified(shape: Shape, stage: int) -> int:
    """What every selection begins with, whatever it keeps: up to the identification in block `stage`, its scores
    included; where that is the last stage, nothing else follows and this is more than what is done."""
    patches = shape.num_patches
    scores = (patches + shape.num_prefix) * shape.width
    before = (stage - 1) * (attention(shape, patches) + mlp(shape, patches))
    return embedding(shape, patches) + before + attention(shape, patches) + scores


def pruned_forward(shape: Shape, stages: tuple[int, ...], plan: tuple[int, ...]) -> int:
    """The authors' selector: token identification on the way, and on to the classifier."""
    total, patches, kept = embedding(shape, shape.num_patches), shape.num_patches, dict(zip(stages, plan, strict=True))
    for block in range(1, shape.depth + 1):
        total += attention(shape, patches)
        if block in kept:
            total += (patches + shape.num_prefix) * shape.width
            patches = kept[block]
        total += mlp(shape, patches)
    return total + shape.width * shape.classes


def training_step(shape: Shape, kept: int | None = None) -> int:
    """Forward and backward: every product costs three times its forward, the embedding twice (pixels get no gradient).

    The optimizer is not counted: it is linear in the parameters and the same for any number of patches.
    """
    patches = shape.num_patches if kept is None else kept
    return 3 * forward(shape, kept) - embedding(shape, patches)


# --- LV-ViT: Shape.of gives patch_values of what the stem makes of a patch, not of its pixels


def convolutions(network: LVViT) -> tuple[int, ...]:
    """The convolutions of the stem, without the projection. The first halves the image, the others keep its size."""
    stem = network.patch_embed
    pixels = (stem.img_size[0] // 2) * (stem.img_size[1] // 2)
    return tuple(pixels * conv.weight.numel() for conv in (stem.conv1, stem.conv2, stem.conv3))


def lvvit_forward(shape: Shape, stem: tuple[int, ...], kept: int | None = None) -> int:
    """A pass with `kept` patches: the convolutions `stem` and the projection of all, then blocks and both heads."""
    patches = shape.num_patches if kept is None else kept
    heads = (1 + patches) * shape.width * shape.classes
    return sum(stem) + embedding(shape, shape.num_patches) + blocks(shape, patches) + heads


def lvvit_training_step(shape: Shape, stem: tuple[int, ...], kept: int | None = None) -> int:
    """Every product costs three times its forward, the first convolution twice (pixels get no gradient)."""
    return 3 * lvvit_forward(shape, stem, kept) - stem[0]
