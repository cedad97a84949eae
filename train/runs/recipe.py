"""What a recipe is: every setting that decides what a run learns, and how options change it."""

import re
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from vit_tickets.pipeline.system.errors import UserError

NAMES = ("deit", "swin", "lvvit", "resnet50", "cifar-deit", "cifar-resnet", "digits", "selector")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("step", "epoch")
INTERPOLATIONS = ("bicubic", "random")
NONE = "none"
RAND_AUGMENT = r"rand(-(m|n|inc|mmax)\d+|-(p|mstd)\d+(\.\d+)?|-mstdinf|-t\w+)*"  # what timm reads; it skips the rest


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Durations are in epochs. Augmentation is off unless a recipe turns it on.

    name: which recipe this is, or was before options changed it.
    epochs: all of them, the cool-down included, so that paths are compared by what they really trained.
    lr, lr_batch: the rate at the top for a global batch of `lr_batch`; it is scaled linearly to `batch_size`.
    scale_ends: `warmup_lr` and `min_lr` are for `lr_batch` too; otherwise they are meant as they stand.
    schedule: the rate moves with every `step`, or once per `epoch`: then epoch e has the rate of index max(0, e - 1),
        as in DeiT's loop, so that epochs 0 and 1 both run at `warmup_lr`.
    warmup_epochs: linear, and part of the cosine's length. cooldown_epochs: the last so many stay at `min_lr`.
    weight_decay: not on biases, norms and other vectors, nor on what the network itself names (positions, class token,
        Swin's position bias). momentum, nesterov: of sgd alone.
    ema: decay per step of the weights' moving average, which is then what is evaluated and kept; without one, the
        weights themselves are.
    crop_scale: the smallest share of the image's area that a random crop shows. interpolation: of that crop; `random`
        draws bilinear or bicubic each time.
    rand_augment: timm's notation. color_jitter: brightness, contrast and saturation; ignored beside `rand_augment`, as
        in timm. erasing: probability that a box becomes noise.
    mixup, cutmix: parameters of the Beta distributions, 0 for none. mix_prob: share of the batches that are mixed.
        mix_switch: where both are on, the share of CutMix.
    mix_token: the same for MixToken, which is CutMix on the grid of tokens, for models with logits for every token.
    class_weight, token_weight: in these models, of the loss on an image's own logits, and of the mean over its tokens.
    repeats: views of an image in an epoch that takes it. views_per_decode: how many of them share one decoded image
        and one batch.
    crop_pct: share of the resized side that evaluation shows; None for the model's own.
    keep_warmup: (start, end): all patches until epoch `start`, then fewer by a half cosine, the ticket from `end` on.
    """

    name: str = "custom"
    epochs: int
    batch_size: int
    opt: str = "adamw"
    momentum: float = 0.9
    nesterov: bool = True
    lr: float
    lr_batch: int = 512
    min_lr: float = 1e-5
    warmup_epochs: float = 5
    warmup_lr: float = 1e-6
    cooldown_epochs: float = 0
    scale_ends: bool = False
    schedule: str = "step"
    weight_decay: float = 0.05
    smoothing: float = 0.1
    drop_path: float = 0.1
    clip_grad: float | None = None
    ema: float | None = None
    crop_scale: float = 0.08
    interpolation: str = "bicubic"
    hflip: float = 0.5
    rand_augment: str | None = None
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0
    mix_switch: float = 0.5
    mix_token: float = 0.0
    class_weight: float = 1.0
    token_weight: float = 1.0
    repeats: int = 1
    views_per_decode: int = 1
    crop_pct: float | None = None
    keep_warmup: tuple[float, float] | None = None
    limit: int | None = None
    image_size: int | None = None
    patch_size: int | None = None

    def override(self, **values: Any) -> "Recipe":
        """This recipe with the values that are not None; `rand_augment` can be "none".

        Unless they are given too: a shorter run warms up and cools down for at most a tenth of it each; a warm-up of
        less than an epoch goes per step, since per epoch the rate would never leave it in a run of two; `repeats`
        alone stands for `views_per_decode` too, and the other way round where the recipe repeats nothing.

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

    def check(self) -> None:
        """Raises UserError where values do not fit together."""
        if self.repeats % self.views_per_decode:
            raise UserError(
                f"expected a number of repeats that {self.views_per_decode} views per decode divide, "
                f"found {self.repeats}"
            )
        if self.cooldown_epochs >= self.epochs:
            raise UserError(f"expected a cool-down of less than {self.epochs} epochs, found {self.cooldown_epochs:g}")
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
        """The rate between warm-up and cosine."""
        return self._scaled(self.lr)

    @property
    def start_lr(self) -> float:
        """The rate at which the warm-up begins."""
        return min(self._scaled(self.warmup_lr) if self.scale_ends else self.warmup_lr, self.peak_lr)

    @property
    def end_lr(self) -> float:
        """The rate at which the cosine ends, and of the cool-down."""
        return min(self._scaled(self.min_lr) if self.scale_ends else self.min_lr, self.peak_lr)

    def _scaled(self, rate: float) -> float:
        return rate * self.batch_size / self.lr_batch

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# What fields are that a recipe does not name.
DEFAULTS = {field.name: field.default for field in fields(Recipe) if field.default is not MISSING}
