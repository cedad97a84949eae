"""The options of `train` that define a run and stand in its config.json under their own names."""

from dataclasses import dataclass

import click

from vit_tickets.pipeline.runs.families import KNOWN
from vit_tickets.pipeline.runs.paths import PATHS, TRAINED
from vit_tickets.pipeline.system.fields import COUNT, option

# What a dropped patch shows: the mean colour, as in the authors' programs, or black, as in the paper.
OCCLUSIONS = ("mean", "black")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PRETRAINED = "pretrained"  # as --init: the published weights of the model
RANDOM_SUBSETS = ("fixed", "fresh", "aligned")
SCORERS = ("linear", "mlp")  # of path `learned`
# Whose ticket an image is trained on: what each says, for help texts.
TICKETS = {
    "own": "its own",
    "mean": "one fixed mask for all, the cells that most tickets of the split hold",
    "swapped": "another image's",
    "class-swapped": "another image's of the same class",
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a user decides about a run besides its recipe. Each field is documented by the help of its option."""

    model: str = option(f"{', '.join(KNOWN)} (or short: deit_s ...), or another classifier of timm.")
    path: str = option(
        f"What to train on. {'; '.join(f'{name}: {PATHS[name].meaning}' for name in TRAINED)} (it needs --init and "
        "serves as `generate --selector RUN`).",
        choices=TRAINED,
    )
    init: str | None = option(
        "Start from these weights instead of random ones: pretrained (those that timm has for the model), a file, or a "
        "finished run. Of another number of classes they get a fresh head; positions are resampled to another grid.",
        default=None,
        metavar="pretrained|FILE|RUN",
    )
    sparsity: float | None = option(
        "Train with another sparsity than the manifest's, read off its ranks.  [default: the manifest's, or 0.27]",
        default=None,
    )
    keep_rate: float | None = option("The same budget as a share kept per stage.", default=None)
    tokens: int | None = option(
        "The same budget as the number of patches kept, on whatever grid: at --image-size 288 a DeiT that keeps 196 of "
        "its 324 patches costs what one on all of 224 px does.",
        default=None,
        type=COUNT,
    )
    scorer: str | None = option(
        "Path learned: what scores a patch. linear: one layer, as in the authors' program; mlp: two, as in the paper.  "
        "[default: linear]",
        default=None,
        choices=SCORERS,
    )
    match_patches: bool = option(
        "Train lt or rc for ceil(E N / k) epochs: as many patches as a dense run of E epochs sees.",
        default=False,
        is_flag=True,
    )
    mask_seed: int | None = option(
        "Seed of the random subsets, of sampled tickets and of swaps.  [default: the seed]", default=None
    )
    rc: str = option(
        "The random subset: fixed per image on the view's own grid, fresh in every step (as the authors do), or fixed "
        "on the manifest's grid and sent through the view's geometry like a ticket.",
        default="fixed",
        choices=RANDOM_SUBSETS,
        show_default=True,
    )
    ticket: str = option(
        f"Whose ticket an image is trained on, to test whether tickets are of their images. "
        f"{'; '.join(f'{name}: {meaning}' for name, meaning in TICKETS.items())}.",
        default="own",
        choices=tuple(TICKETS),
        show_default=True,
    )
    align: bool = option(
        "Carry tickets along with crops, flips and RandAugment.  [default]  --no-align applies them to whatever the "
        "view shows, to measure what alignment is worth.",
        default=True,
    )
    occlude: str | None = option(
        "What a model that cannot drop patches sees in their place: the mean colour, as in the authors' programs, or "
        "black, as in the paper.  [default: mean]",
        default=None,
        choices=OCCLUSIONS,
    )
    stem_occlusion: bool = option(
        "LV-ViT: occlude dropped patches before the stem, whose convolutions otherwise let their border into the "
        "patches that are kept.",
        default=False,
        is_flag=True,
    )
    seed: int = option(
        "Seed of initial weights, order and crops.", default=0, type=click.IntRange(0), show_default=True
    )
    holdout: float = option("Share of train to hold out, to choose `best` by.", default=0.0)
    without_fold: str | None = option(
        "Leave fold I of K out of train, by hash of the key: 1/2 and 2/2 train the selectors of `generate "
        "--cross-fit 2`.",
        default=None,
        metavar="I/K",
    )
    only_fold: str | None = option(
        "Train on fold I of K alone, by the same hash: the folds of one K share no image, and together are train.",
        default=None,
        metavar="I/K",
    )
    precision: str = option(
        "Precision of the forward pass; auto is bf16 on a GPU, fp32 elsewhere.",
        default="auto",
        choices=PRECISIONS,
        show_default=True,
    )
