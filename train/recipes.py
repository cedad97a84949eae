"""Recipes: how each family is trained, apart from the code that trains it.

A recipe's `lr` is for a global batch of `lr_batch`; the trainer scales it linearly. Each field has an option on the
command line.

family     source                                   command                                       full size
deit       DeiT; Shen et al. 2023, section 4.1      train data/imagenet --model deit_small ...    300 epochs, 8 GPUs
swin       Liu et al. 2021, appendix A2.1           train data/imagenet --model swin_tiny ...     300 epochs, 8 GPUs
resnet     timm's ResNet-50 baseline, with AdamW    train data/imagenet --model resnet50 ...      90 epochs, 8 GPUs
digits     ours, for the embedded dataset           make train MODEL=...                          minutes, 2 cores
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from vit_tickets.pipeline.digits import IMAGE_SIZE, NAME, PATCH_SIZE
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.names import short_name


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Durations are in epochs, `crop_scale` is the smallest share of the image's area that a random crop shows.

    ema: decay per step of the weights' moving average, which is then what is evaluated and kept. repeats: views of an
    image in an epoch that takes it. views_per_decode: how many of them share one decoded image and one batch.
    """

    epochs: int
    batch_size: int
    lr: float
    lr_batch: int = 512
    min_lr: float = 1e-5
    warmup_epochs: float = 5
    warmup_lr: float = 1e-6
    weight_decay: float = 0.05
    smoothing: float = 0.1
    drop_path: float = 0.1
    clip_grad: float | None = None
    ema: float | None = None
    crop_scale: float = 0.08
    hflip: float = 0.5
    repeats: int = 1
    views_per_decode: int = 1
    limit: int | None = None
    image_size: int | None = None
    patch_size: int | None = None

    def override(self, **values: Any) -> "Recipe":
        """This recipe with the values that are not None; a shorter run warms up for a tenth of it at most, and of
        `repeats` and `views_per_decode` one alone stands for both."""
        given = {name: value for name, value in values.items() if value is not None}
        if given.get("epochs", self.epochs) < self.epochs:
            given.setdefault("warmup_epochs", min(self.warmup_epochs, given["epochs"] / 10))
        if "repeats" in given:
            given.setdefault("views_per_decode", given["repeats"])
        given.setdefault("repeats", given.get("views_per_decode", self.repeats))
        if given["repeats"] % given.get("views_per_decode", self.views_per_decode):
            raise UserError(
                f"expected a number of repeats that {given['views_per_decode']} views per decode divide, "
                f"found {given['repeats']}"
            )
        return replace(self, **given)

    @property
    def peak_lr(self) -> float:
        return self.lr * self.batch_size / self.lr_batch

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


DEIT = Recipe(epochs=300, batch_size=1024, lr=5e-4)
SWIN = Recipe(epochs=300, batch_size=1024, lr=5e-4, warmup_epochs=20, warmup_lr=1e-6, drop_path=0.2, clip_grad=5.0)
RESNET = Recipe(epochs=90, batch_size=1024, lr=1e-3, warmup_epochs=3, drop_path=0.0)

# No flips (they change a digit), crops of 0.6 to 1. Larger models see fewer images, so that each takes a few minutes
# on 2 cores; what they reach is no measure of them.
DIGITS = Recipe(
    epochs=8,
    batch_size=64,
    lr=1e-3,
    lr_batch=64,
    warmup_epochs=1,
    drop_path=0.0,
    smoothing=0.05,
    crop_scale=0.6,
    hflip=0.0,
    image_size=IMAGE_SIZE,
    patch_size=PATCH_SIZE,
)
DIGITS_BY_MODEL = {
    "deit_tiny": {"epochs": 3, "limit": 6000, "lr": 5e-4},
    "deit_small": {"epochs": 2, "limit": 3000, "lr": 3e-4},
    "deit_medium": {"epochs": 2, "limit": 2000, "lr": 3e-4},
    "deit_base": {"epochs": 2, "limit": 1000, "lr": 2e-4},
    "swin_tiny": {"epochs": 3, "limit": 6000, "lr": 3e-4},
    "resnet50": {"epochs": 3, "limit": 6000, "lr": 5e-4},
}
OTHER_ON_DIGITS = {"epochs": 2, "limit": 3000, "lr": 3e-4}


def recipe_for(source: str, model: str) -> Recipe:
    """The recipe of `model` on a dataset packed from `source`: the embedded one has its own, others the family's."""
    name = short_name(model)
    if source == NAME:
        return DIGITS if name == "deit_micro" else replace(DIGITS, **DIGITS_BY_MODEL.get(name, OTHER_ON_DIGITS))
    if name.startswith("swin"):
        return SWIN
    if name.startswith("resnet"):
        return RESNET
    return DEIT
