"""Recipes: how each family is trained, apart from the code that trains it.

name          vit-tickets train ... --path dense               hardware     hours  top-1
deit          data/imagenet --model deit_tiny                  8 x A100     3      72.2 paper (SViTE)
              data/imagenet --model deit_small                 8 x A100     12     79.9 paper (DLTH, table 1)
              data/imagenet --model deit_medium                8 x A100     27     83.3 paper (DLTH, table 4) [1]
              data/imagenet --model deit_base                  8 x A100     47     81.8 paper (SViTE)
swin          data/imagenet --model swin_tiny                  8 x A100     12     81.2 paper (DLTH, table 4)
lvvit         data/imagenet --model lvvit_small                8 x A100     18     83.3 paper (DLTH, table 4)
resnet50      data/imagenet --model resnet50                   8 x A100     4      77.34 paper (DLTH, table 4)
cifar-deit    data/cifar10 --model deit_small --image-size 32  1 x A100     1      in no paper
cifar-resnet  data/cifar10 --model resnet20                    1 x A100     < 1    90.3 paper (DLTH, table 2) [2]
digits        data/digits --model deit_micro                   2 CPU cores  < 0.1  88.40 measured (docs/results.md)
selector      (--path selector --init DENSE)                   8 x A100     1      in no paper
finetune      data/cifar10 --model deit_base --init pretrained 1 x A100     1      99.1 paper (DeiT, table 7) [3]
probe         data/cifar10 --model deit_base --init pretrained 1 x A100     0.3    in no paper
svite         data/imagenet --model deit_small [4]             8 x A100     24     79.72 paper (SViTE)

On 8 GPUs the command is `torchrun --nproc-per-node 8 -m vit_tickets.train ...`; the other paths add --tickets. "paper":
measured by nobody here. Hours on A100s are arithmetic, measured by nobody: the multiply-adds of dense steps at an
assumed 30 TFLOP/s per GPU, with a loader that keeps up. [1] Probably a misprint in the paper: it is above DeiT-B's, and
the same as LV-ViT-S's. [2] The paper does not say by which recipe. [3] Touvron et al. 2021, by a
longer recipe that augments more. [4] With --weight-method svite --weight-sparsity 0.5; masked weights are multiplied
all the same, so the hours are those of 600 dense epochs.

The values for ImageNet are those of the authors' programs (Shen et al. 2023), which follow DeiT (Touvron et al. 2021),
LV-ViT (Jiang et al. 2021), Swin (Liu et al. 2021) and timm. What every recipe but LV-ViT's evaluates and keeps is the
weights themselves: the authors' DeiT program maintains a moving average (0.99996) that it never evaluates, so there is
none here. With `--ema 0.99996` there is, and then it is what is evaluated and kept.
"""

from dataclasses import replace
from typing import Any

from vit_tickets.pipeline.datasets.embedded import IMAGE_SIZE, NAME, PATCH_SIZE
from vit_tickets.pipeline.runs.families import family_of, short_name
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.recipes.recipe import Recipe

RAND_AUGMENT = "rand-m9-mstd0.5-inc1"
CIFAR_SIDE = 32

# DeiT-T, S, M and B alike. Warm-up and final rate do not follow the batch, and the rate moves once per epoch.
DEIT = Recipe(
    name="deit",
    epochs=300,
    batch_size=1024,
    lr=5e-4,
    min_lr=1e-5,
    warmup_epochs=5,
    warmup_lr=1e-6,
    schedule="epoch",
    weight_decay=0.05,
    smoothing=0.1,
    drop_path=0.1,
    rand_augment=RAND_AUGMENT,
    color_jitter=0.4,
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    repeats=3,
    views_per_decode=3,
    crop_pct=0.875,
)

# All rates follow the batch; no repeated augmentation.
SWIN = replace(
    DEIT,
    name="swin",
    min_lr=5e-6,
    warmup_epochs=20,
    warmup_lr=5e-7,
    scale_ends=True,
    schedule="step",
    drop_path=0.2,
    clip_grad=5.0,
    repeats=1,
    views_per_decode=1,
)

# 300 epochs of warm-up and cosine, and 10 more at the final rate; the rate is for this batch, and moves once per epoch
# as in timm's program. RandAugment comes before the crop. Tokens are mixed instead of images, and the moving average of
# the weights is what the authors evaluate.
LVVIT = replace(
    DEIT,
    name="lvvit",
    epochs=310,
    cooldown_epochs=10,
    lr=1.6e-3,
    lr_batch=1024,
    epoch_lag=0,
    ema=0.99992,
    interpolation="random",
    rand_augment_first=True,
    mixup=0.0,
    cutmix=0.0,
    mix_token=1.0,
    repeats=1,
    views_per_decode=1,
    crop_pct=0.9,
)

# 90 epochs of warm-up and cosine, and 10 more at the final rate; once per epoch, as in timm's program.
RESNET50 = Recipe(
    name="resnet50",
    epochs=100,
    cooldown_epochs=10,
    batch_size=1024,
    opt="sgd",
    momentum=0.9,
    nesterov=True,
    lr=0.2048,
    lr_batch=1024,
    min_lr=1e-6,
    warmup_epochs=3,
    warmup_lr=1e-4,
    schedule="epoch",
    epoch_lag=0,
    weight_decay=2e-5,
    smoothing=0.1,
    drop_path=0.0,
    interpolation="random",
    color_jitter=0.4,
    crop_pct=0.95,
)

# The authors' CIFAR-10 recipe, DeiT's at a batch of 256, on images that stay as small as they are (theirs: 224 pixels).
CIFAR_DEIT = replace(DEIT, name="cifar-deit", batch_size=256, crop_pct=1.0, image_size=CIFAR_SIDE, patch_size=4)

# Neither paper nor authors' programs give one. He et al. 2016, section 4.2: batch, rate, decay, 64,000 steps. Ours: a
# cosine where theirs has two steps, and random resized crops where they pad by 4 pixels.
CIFAR_RESNET = Recipe(
    name="cifar-resnet",
    epochs=164,
    batch_size=128,
    opt="sgd",
    momentum=0.9,
    nesterov=False,
    lr=0.1,
    lr_batch=128,
    min_lr=0.0,
    warmup_epochs=0,
    weight_decay=1e-4,
    smoothing=0.0,
    drop_path=0.0,
    crop_scale=0.6,
    crop_pct=1.0,
    image_size=CIFAR_SIDE,
    patch_size=4,
)

# No flips (they change a digit), crops of 0.6 to 1. Larger models see fewer images, so that each takes a few minutes
# on 2 cores; what they reach is no measure of them.
DIGITS = Recipe(
    name="digits",
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
    "lvvit_small": {"epochs": 2, "limit": 2000, "lr": 3e-4},
    "swin_tiny": {"epochs": 3, "limit": 6000, "lr": 3e-4},
    "resnet50": {"epochs": 3, "limit": 6000, "lr": 5e-4},
    "resnet20": {"epochs": 4, "limit": 6000},
}
OTHER_ON_DIGITS = {"epochs": 2, "limit": 3000, "lr": 3e-4}

# Chen et al. 2021 (SViTE) and their program: DeiT's recipe for twice as long, in half the batch; DeiT-B has 1,024.
SVITE = replace(DEIT, name="svite", epochs=600, batch_size=512)
SVITE_BY_MODEL: dict[str, dict[str, Any]] = {"deit_base": {"batch_size": 1024}}

# The authors' fine-tune of dense weights with token pruning on: the model stays in eval mode meanwhile.
SELECTOR = replace(
    DEIT,
    name="selector",
    epochs=30,
    batch_size=2048,
    lr=2e-5,
    min_lr=2e-6,
    warmup_epochs=0,
    weight_decay=1e-6,
    drop_path=0.0,
)
SELECTOR_ON_DIGITS = {"name": "selector", "epochs": 2, "lr": 1e-4, "warmup_epochs": 0}

# Weights of --init on another dataset: AdamW with layer-wise decay of the rate, as BEiT (Bao et al. 2022) and MAE (He
# et al. 2022) fine-tune, with their weight decay, smoothing and stochastic depth. Theirs are 100 epochs on ImageNet
# with RandAugment, mixup and CutMix, at 2e-3 to 4e-3 for 1,024 images. Ours is for 5,000 to 100,000 images: fewer
# epochs, crops and flips alone, and small batches at a rate that lets the fresh head learn in few steps.
FINETUNE = Recipe(
    name="finetune",
    epochs=20,
    batch_size=64,
    lr=1e-3,
    lr_batch=64,
    min_lr=1e-6,
    warmup_epochs=1,
    weight_decay=0.05,
    layer_decay=0.75,
    smoothing=0.1,
    drop_path=0.1,
    crop_scale=0.35,
)
# Of a ResNet all layers have one rate, as usual, which is therefore lower. Ours.
FINETUNE_BY_FAMILY: dict[str, dict[str, Any]] = {"resnet": {"layer_decay": None, "lr": 3e-4, "drop_path": 0.0}}

# A linear probe of the weights of --init: how good their features are for the dataset, at a fraction of the cost. SGD
# at 0.1 for 256 images without weight decay, as of MoCo v3 (Chen et al. 2021) and MAE, which has LARS; 90 epochs there.
PROBE = replace(
    FINETUNE,
    name="probe",
    frozen=True,
    opt="sgd",
    nesterov=False,
    lr=0.1,
    lr_batch=256,
    min_lr=0.0,
    layer_decay=None,
    weight_decay=0.0,
    smoothing=0.0,
    drop_path=0.0,
)
# On the built-in digits: no flips, and the digits' own sizes.
FINETUNE_ON_DIGITS = {"hflip": 0.0, "crop_scale": 0.6, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE}

_ALL = (DEIT, SWIN, LVVIT, RESNET50, CIFAR_DEIT, CIFAR_RESNET, DIGITS, SELECTOR, FINETUNE, PROBE, SVITE)
RECIPES = {recipe.name: recipe for recipe in _ALL}
#: For weights of --init, on any number of images.
FINE_TUNING = (FINETUNE.name, PROBE.name)


def recipe_for(
    source: str,
    model: str,
    name: str | None = None,
    image_size: int | None = None,
    path: str | None = None,
    from_weights: bool = False,
) -> Recipe:
    """The recipe called `name`, or else the one that suits `model` on a dataset packed from `source`.

    What starts from weights is fine-tuned. The built-in dataset has its own. Otherwise the family of the model names
    it, and may name another for images of 32 pixels (`image_size`) and the models made for them. Raises UserError if no
    recipe is called `name`.
    """
    if name is None:
        prunes = path in PATHS and PATHS[path].prunes_tokens
        name = default_name(source, model, image_size)
        name = SELECTOR.name if prunes else FINETUNE.name if from_weights else name
    if name not in RECIPES:
        raise UserError(f"expected a recipe among {', '.join(RECIPES)}, found {name!r}")
    model = short_name(model)
    if name == SELECTOR.name and source == NAME:
        return replace(DIGITS, **SELECTOR_ON_DIGITS)
    if name in FINE_TUNING:
        of_family = FINETUNE_BY_FAMILY.get(family_of(model).name, {}) if name == FINETUNE.name else {}
        return replace(RECIPES[name], **of_family, **(FINETUNE_ON_DIGITS if source == NAME else {}))
    if name == DIGITS.name and not model.endswith("_micro"):
        return replace(DIGITS, **DIGITS_BY_MODEL.get(model, OTHER_ON_DIGITS))
    if name == SVITE.name:
        return replace(SVITE, **SVITE_BY_MODEL.get(model, {}))
    return RECIPES[name]


def default_name(source: str, model: str, image_size: int | None = None) -> str:
    """Name of the recipe that trains `model` if none is given."""
    if source == NAME:
        return DIGITS.name
    family = family_of(model)
    at_32 = image_size == CIFAR_SIDE or short_name(model) in family.made_for_32
    return family.recipe_at_32 if family.recipe_at_32 and at_32 else family.recipe
