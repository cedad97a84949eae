"""A recipe: the settings that decide what a run learns, each of them also an option of `train`."""

import re
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

import click

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, NOT_NEGATIVE, PART, POSITIVE, SHARE, WHOLE, Span, option

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("step", "epoch")
INTERPOLATIONS = ("bicubic", "random")
NONE = "none"
RAND_AUGMENT = r"rand(-(m|n|inc|mmax)\d+|-(p|mstd)\d+(\.\d+)?|-mstdinf|-t\w+)*"  # what timm reads; it skips the rest


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Each field is documented by the help of its option. Augmentation is off unless a recipe turns it on."""

    name: str = "custom"  #: Which recipe this is, or was before options changed it.

    epochs: int = option(
        "Passes over the training images, the cool-down included, so that paths train equally long.",
        section="Recipe",
        type=COUNT,
    )
    batch_size: int = option("Images per step, over all ranks.", type=COUNT)

    opt: str = option("Optimizer.", section="Recipe: optimizer and schedule", default="adamw", choices=OPTIMIZERS)
    momentum: float = option("Momentum of sgd: the share of the last direction that is kept.", default=0.9, type=SHARE)
    nesterov: bool = option("Nesterov momentum in sgd: look ahead along the momentum.", default=True)
    lr: float = option("Peak learning rate at --lr-batch; scaled linearly with the batch size.", type=POSITIVE)
    lr_batch: int = option(
        "Batch size that --lr is for: the peak is --lr x --batch-size / --lr-batch.",
        default=512,
        type=COUNT,
    )
    min_lr: float = option(
        "Learning rate at which the cosine ends; the cool-down has it, too.", default=1e-5, type=NOT_NEGATIVE
    )
    warmup_epochs: float = option(
        "Epochs of linear warm-up, which are part of the cosine's length; a tenth of shorter runs at most.",
        default=5,
        type=NOT_NEGATIVE,
    )
    warmup_lr: float = option("Learning rate at which the warm-up begins.", default=1e-6, type=NOT_NEGATIVE)
    cooldown_epochs: float = option(
        "How many of the last epochs stay at --min-lr; a tenth of shorter runs at most.", default=0, type=NOT_NEGATIVE
    )
    scale_ends: bool = option("Scale --warmup-lr and --min-lr with the batch size, as --lr is.", default=False)
    schedule: str = option(
        "Change the learning rate with every step, or once per epoch. A warm-up of less than an epoch is per step, "
        "unless --schedule is given.",
        default="step",
        choices=SCHEDULES,
    )
    epoch_lag: int = option(
        "With --schedule epoch: epoch e, from 0, has the rate of index max(0, e - LAG): 1 in DeiT's program, whose "
        "first two epochs run at --warmup-lr, 0 in timm's.",
        default=1,
        type=click.IntRange(0),
        metavar="LAG",
    )

    layer_decay: float | None = option(
        "Layer-wise decay of the learning rate, for fine-tuning: each layer has this share of the rate of the layer "
        "above it, the head all of it; 1: all alike. Blocks count as layers, as in timm, those of a ResNet, too.",
        default=None,
        type=WHOLE,
    )
    frozen: bool = option(
        "Train the head alone, on the network of --init as it is: the rest has no gradients, its norms and dropout are "
        "as in evaluation.",
        default=False,
    )

    weight_decay: float = option(
        "Weight decay, except on biases, norms and other vectors, and on what the network exempts: positions, class "
        "token, Swin's position bias.",
        section="Recipe: regularisation",
        default=0.05,
        type=NOT_NEGATIVE,
    )
    smoothing: float = option("Label smoothing.", default=0.1, type=SHARE)
    drop_path: float = option("Stochastic depth, linear over the blocks.", default=0.1, type=SHARE)
    clip_grad: float | None = option("Clip the gradient to this norm; 0: never.", default=None, type=NOT_NEGATIVE)
    ema: float | None = option(
        "Decay per step of the weights' moving average, which is then evaluated and kept in place of the weights; 0: "
        "none.",
        default=None,
        type=SHARE,
    )

    crop_scale: float = option(
        "Smallest share of the image's area that a random crop shows.",
        section="Recipe: augmentation",
        default=0.08,
        type=WHOLE,
    )
    interpolation: str = option(
        "Interpolation of random crops; random: bilinear or bicubic, drawn for each.",
        default="bicubic",
        choices=INTERPOLATIONS,
    )
    hflip: float = option("Probability of a horizontal flip.", default=0.5, type=PART)
    rand_augment: str | None = option(
        f"RandAugment in timm's notation, as rand-m9-mstd0.5-inc1; or {NONE}.", default=None, metavar="SPEC"
    )
    rand_augment_first: bool = option(
        "RandAugment changes the whole image, before the random crop, as in LV-ViT's program; or the view after it.",
        default=False,
    )
    color_jitter: float = option(
        "Strength of random brightness, contrast and saturation; ignored beside RandAugment, as in timm. 0: none.",
        default=0.0,
        type=NOT_NEGATIVE,
    )
    erasing: float = option("Probability that a random box of the image becomes noise.", default=0.0, type=PART)
    mixup: float = option(
        "Mixup: blend pairs of images by a share from Beta(a, a); 0: never.", default=0.0, type=NOT_NEGATIVE
    )
    cutmix: float = option(
        "CutMix: paste a box, its area from Beta(a, a), from another image; 0: never.", default=0.0, type=NOT_NEGATIVE
    )
    mix_prob: float = option("Share of the batches that mixup or CutMix changes.", default=1.0, type=PART)
    mix_switch: float = option(
        "With mixup and CutMix both on, CutMix's share of the mixed batches.", default=0.5, type=PART
    )
    mix_token: float = option(
        "MixToken of LV-ViT, CutMix on the grid of tokens: paste a box of tokens, its area from Beta(a, a), from "
        "another image; 0: never.",
        default=0.0,
        type=NOT_NEGATIVE,
    )

    class_weight: float = option(
        "LV-ViT: weight of the loss on the image's own logits.",
        section="Recipe: losses",
        default=1.0,
        type=NOT_NEGATIVE,
    )
    token_weight: float = option(
        "LV-ViT: weight of the mean loss over the image's tokens.", default=1.0, type=NOT_NEGATIVE
    )

    repeats: int = option(
        "Repeated augmentation: an epoch takes 1/r of the images, r views of each; r epochs take all.",
        section="Recipe: views and sizes",
        default=1,
        type=COUNT,
    )
    views_per_decode: int = option(
        "Views cut from one decoded image, for one batch; divides the repeats.  [default: the repeats]",
        default=1,
        type=COUNT,
    )
    crop_pct: float | None = option(
        "In the run's own evaluation: centre crop side / resized side.  [default: the model's]",
        default=None,
        type=WHOLE,
    )
    keep_warmup: tuple[float, float] | None = option(
        "Keep all patches until epoch START, then fewer along half a cosine, down to the ticket's size at epoch END; "
        "0:0: the ticket's size from the start.",
        default=None,
        type=Span(),
        metavar="START:END",
    )
    finish_dense: int = option(
        "Train the last E epochs on all patches, on paths that drop any.",
        default=0,
        type=click.IntRange(0),
        metavar="E",
    )
    temperature: float | None = option(
        "Path lt: sample the ticket anew for every view, k patches without replacement by Gumbel-top-k on "
        "(1 - rank / N) / T. Cold, as 0.01, it is nearly the ticket; hot, as 10, nearly a random subset; 0.3 lies "
        "between.  [default: the ticket itself]",
        default=None,
        type=click.FloatRange(0, 1e6, min_open=True),
        metavar="T",
    )
    limit: int | None = option("Train on the first so many images only.", default=None, type=COUNT)
    image_size: int | None = option(
        "Side of the training view in pixels.  [default: by the images if they are small, else the manifest's or the "
        "model's]",
        default=None,
        type=COUNT,
    )
    patch_size: int | None = option("Side of a patch, or of an occluded cell, in pixels.", default=None, type=COUNT)

    def override(self, **values: Any) -> "Recipe":
        """This recipe with the values that are not None; `rand_augment` can be "none".

        What is not given follows what is: a shorter run warms up and cools down for at most a tenth of it each; a
        warm-up of less than an epoch is per step, since per epoch the rate would never leave it in a run of two;
        `repeats` sets `views_per_decode`, too, and the other way round where the recipe repeats nothing.

        Raises UserError where values do not fit together.
        """
        given = {name: value for name, value in values.items() if value is not None}
        epochs = given.get("epochs", self.epochs)
        if epochs < self.epochs:
            given.setdefault("warmup_epochs", min(self.warmup_epochs, epochs / 10))
            given.setdefault("cooldown_epochs", min(self.cooldown_epochs, epochs / 10))
        if 0 < given.get("warmup_epochs", self.warmup_epochs) < 1:
            given.setdefault("schedule", "step")
        if "repeats" in given:
            given.setdefault("views_per_decode", given["repeats"])
        elif self.repeats == 1:
            given["repeats"] = given.get("views_per_decode", 1)
        if given.get("rand_augment") == NONE:
            given["rand_augment"] = None
        changed = replace(self, **given)
        changed.check()
        return changed

    def cut(self, epochs: int) -> "Recipe":
        """The same for `epochs` on all patches, which a keep warm-up and `finish_dense` mean nothing to: they stay as
        they are, as in a dense run."""
        aside = replace(self, keep_warmup=None, finish_dense=0).override(epochs=epochs)
        return replace(aside, keep_warmup=self.keep_warmup, finish_dense=self.finish_dense)

    def check(self) -> None:
        """Raise UserError where values do not fit together."""
        if self.repeats % self.views_per_decode:
            raise UserError(
                f"expected a number of repeats that {self.views_per_decode} views per decode divide, "
                f"found {self.repeats}"
            )
        if self.cooldown_epochs >= self.epochs:
            raise UserError(f"expected a cool-down of less than {self.epochs} epochs, found {self.cooldown_epochs:g}")
        if self.finish_dense and self.finish_dense >= self.epochs:
            raise UserError(
                f"--finish-dense: expected fewer epochs than the run's {self.epochs}, found {self.finish_dense}"
            )
        if self.keep_warmup is not None and not 0 <= self.keep_warmup[0] <= self.keep_warmup[1]:
            start, end = self.keep_warmup
            raise UserError(f"expected a keep-rate warm-up from START to a later END, found {start:g}:{end:g}")
        if self.keep_warmup is not None and self.keep_warmup[1] > self.epochs:
            raise UserError(
                f"expected a keep-rate warm-up that ends within the run's {self.epochs} epochs, "
                f"found {self.keep_warmup[1]:g}"
            )
        if self.rand_augment is not None and not re.fullmatch(RAND_AUGMENT, self.rand_augment):
            raise UserError(f"expected RandAugment as rand-m9-mstd0.5-inc1, or {NONE}, found {self.rand_augment!r}")

    @property
    def peak_lr(self) -> float:
        """Learning rate between warm-up and cosine."""
        return self._scaled(self.lr)

    @property
    def start_lr(self) -> float:
        """Learning rate at which the warm-up begins."""
        return min(self._scaled(self.warmup_lr) if self.scale_ends else self.warmup_lr, self.peak_lr)

    @property
    def end_lr(self) -> float:
        """Learning rate at which the cosine ends, and of the cool-down."""
        return min(self._scaled(self.min_lr) if self.scale_ends else self.min_lr, self.peak_lr)

    def _scaled(self, rate: float) -> float:
        return rate * self.batch_size / self.lr_batch

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# Values of the fields that a recipe does not name.
DEFAULTS = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
