"""The options of `train` that choose a recipe and change it, one for every field."""

import os
from collections.abc import Callable

import click

from vit_tickets.train.runs.recipe import INTERPOLATIONS, NAMES, NONE, OPTIMIZERS, SCHEDULES

POSITIVE = click.FloatRange(0, min_open=True)
NOT_NEGATIVE = click.FloatRange(0)
PART = click.FloatRange(0, 1)
SHARE = click.FloatRange(0, 1, max_open=True)
WHOLE = click.FloatRange(0, 1, min_open=True)
COUNT = click.IntRange(1)


class Span(click.ParamType):
    """START:END, two numbers of epochs from 0 on; (start, end)."""

    name = "start:end"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            start, end = map(float, value.split(":"))
        except ValueError:
            self.fail(f"expected two numbers of epochs such as 10:110, found {value!r}", param, ctx)
        return start, end


OPTIONS = (
    click.option(
        "--recipe",
        type=click.Choice(NAMES),
        help="What all options below come from that are not given.  [default: by the dataset (digits), the model's "
        "family (swin, lvvit, resnet50, else deit), and cifar-* with --image-size 32 or a resnet20]",
    ),
    click.option("--epochs", type=COUNT, help="Passes over the training images, the cool-down included."),
    click.option("--batch-size", type=COUNT, help="Global: over all ranks."),
    click.option("--image-size", type=COUNT, help="Side of the training view.  [default: the manifest's, the model's]"),
    click.option("--patch-size", type=COUNT, help="Side of a patch, or of an occluded cell."),
    click.option("--limit", type=COUNT, help="Train on the first so many images only."),
    click.option(
        "--repeats",
        type=COUNT,
        help="Repeated augmentation: an epoch takes 1/r of the images, r views of each; r epochs take all.",
    ),
    click.option(
        "--views-per-decode",
        type=COUNT,
        help="Views cut from one decoded image, for one batch; divides the repeats.  [default: the repeats]",
    ),
    click.option(
        "--keep-warmup",
        type=Span(),
        metavar="START:END",
        help="Keep all patches until epoch START, then fewer (a cosine), the ticket from END on; 0:0: at once.",
    ),
    click.option(
        "--crop-pct", type=WHOLE, help="Side of the centre crop over the resized image's, in the run's own evaluation."
    ),
    click.option("--opt", type=click.Choice(OPTIMIZERS), help="The optimizer."),
    click.option("--momentum", type=SHARE, help="Of sgd: the share of the last direction that is kept."),
    click.option("--nesterov/--no-nesterov", default=None, help="Of sgd: look ahead along the momentum."),
    click.option("--lr", type=POSITIVE, help="At the recipe's reference batch; scaled linearly with the batch."),
    click.option("--lr-batch", type=COUNT, help="That reference batch; the batch size itself leaves --lr unscaled."),
    click.option(
        "--scale-ends/--no-scale-ends", default=None, help="Scale --warmup-lr and --min-lr with the batch, as --lr is."
    ),
    click.option(
        "--schedule",
        type=click.Choice(SCHEDULES),
        help="Move the rate with every step, or once per epoch as DeiT does (epochs 1 and 2 at --warmup-lr). A "
        "warm-up of less than an epoch goes per step unless you say otherwise.",
    ),
    click.option("--warmup-epochs", type=NOT_NEGATIVE, help="Linear warm-up; a tenth of shorter runs at most."),
    click.option("--warmup-lr", type=NOT_NEGATIVE, help="Where the warm-up begins."),
    click.option(
        "--cooldown-epochs", type=NOT_NEGATIVE, help="Of the epochs, the last so many at --min-lr; likewise a tenth."
    ),
    click.option("--min-lr", type=NOT_NEGATIVE, help="Where the cosine ends."),
    click.option("--crop-scale", type=WHOLE, help="Smallest share of the image that a random crop shows."),
    click.option(
        "--interpolation", type=click.Choice(INTERPOLATIONS), help="Of random crops; random: bilinear or bicubic."
    ),
    click.option("--hflip", type=PART, help="Probability of a horizontal flip."),
    click.option("--rand-augment", metavar="SPEC", help=f"RandAugment, as rand-m9-mstd0.5-inc1; or {NONE}."),
    click.option(
        "--color-jitter",
        type=NOT_NEGATIVE,
        help="Strength of random brightness, contrast and saturation; not used beside RandAugment. 0: none.",
    ),
    click.option("--erasing", type=PART, help="Probability that a random box of the image becomes noise."),
    click.option("--mixup", type=NOT_NEGATIVE, help="Blend pairs of images by a share from Beta(a, a); 0: never."),
    click.option("--cutmix", type=NOT_NEGATIVE, help="Paste a box, its area from Beta(a, a), instead; 0: never."),
    click.option("--mix-prob", type=PART, help="Share of the batches that mixup or CutMix change."),
    click.option("--mix-switch", type=PART, help="With both, CutMix's share of these."),
    click.option(
        "--mix-token",
        type=NOT_NEGATIVE,
        help="MixToken of LV-ViT: paste a box of tokens, its area from Beta(a, a), from another image; 0: never.",
    ),
    click.option("--weight-decay", type=NOT_NEGATIVE, help="Not on biases, norms, positions, tokens."),
    click.option("--smoothing", type=SHARE, help="Label smoothing."),
    click.option("--drop-path", type=SHARE, help="Stochastic depth, linear over the blocks."),
    click.option("--clip-grad", type=NOT_NEGATIVE, help="Largest norm of the gradient; 0: any."),
    click.option(
        "--ema",
        type=SHARE,
        help="Decay per step of the weights' moving average, which is then what is evaluated and kept; 0: none.",
    ),
    click.option("--class-weight", type=NOT_NEGATIVE, help="Of LV-ViT: weight of the loss of the image's label."),
    click.option("--token-weight", type=NOT_NEGATIVE, help="Of LV-ViT: weight of the mean loss of token labels."),
)

# Headings of the help, and the first option below each.
RECIPE_SECTIONS = {
    "Recipe": "recipe",
    "Recipe: optimizer and schedule": "opt",
    "Recipe: augmentation": "crop_scale",
    "Recipe: regularisation and losses": "weight_decay",
}


def recipe_options(command: Callable) -> Callable:
    """Give `command` the options, in the order above: `recipe`, and a value or None for each field."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
TICKETS_HELP = "The manifest, as written by `vit-tickets generate`."
tickets_option = click.option("--tickets", help=TICKETS_HELP)
workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Loader processes per rank; 0 reads in this one.  [default: by CPUs]"
)


def yield_while_waiting() -> None:
    """Arithmetic threads spin while they wait, at the cost of the loader's workers; read when torch is imported."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
