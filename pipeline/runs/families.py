"""Families of models: everything about a model that is known without building it, so without torch.

A model of no family here is trained like any classifier of timm (`OTHERS`). A family's own network is in
`pipeline.networks`, its recipe in `train.recipes.presets`, and its adapter, where it can do more than see dropped
patches masked, in `train.models.sparse`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A model that has a short name."""

    short: str
    #: The name in timm; ours are registered there under the short name.
    timm: str
    abbreviation: str | None = None
    #: Blocks, counted from 1, in which it identifies tokens as a selector; None for the quarters of its depth.
    stages: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    #: What the short names of its models begin with.
    name: str
    models: tuple[Known, ...] = ()
    #: Name of the recipe that trains it, and of the one for images of 32 pixels, if that is another.
    recipe: str = "deit"
    recipe_at_32: str | None = None
    #: Models that are made for images of 32 pixels.
    made_for_32: tuple[str, ...] = ()
    #: Classifies every token, so that `train` takes label maps for it.
    has_token_outputs: bool = False


CIFAR_DEPTHS = (20, 32, 44, 56, 110)
FAMILIES = (
    Family(
        name="deit",
        models=(
            Known("deit_tiny", "deit_tiny_patch16_224", "deit_t"),
            Known("deit_small", "deit_small_patch16_224", "deit_s"),
            Known("deit_base", "deit_base_patch16_224", "deit_b"),
            Known("deit_medium", "deit_medium", "deit_m"),
            Known("deit_micro", "deit_micro", stages=(4,)),
        ),
        recipe_at_32="cifar-deit",
    ),
    Family(
        name="lvvit",
        models=(Known("lvvit_small", "lvvit_small", "lvvit_s"), Known("lvvit_micro", "lvvit_micro")),
        recipe="lvvit",
        has_token_outputs=True,
    ),
    Family(
        name="swin",
        models=(Known("swin_tiny", "swin_tiny_patch4_window7_224", "swin_t"),),
        recipe="swin",
    ),
    Family(
        name="resnet",
        models=(Known("resnet50", "resnet50"), Known("resnet20", "resnet20")),
        recipe="resnet50",
        recipe_at_32="cifar-resnet",
        made_for_32=tuple(f"resnet{depth}" for depth in CIFAR_DEPTHS),
    ),
)
OTHERS = Family(name="", recipe_at_32="cifar-deit")
KNOWN = {known.short: known for family in FAMILIES for known in family.models}
ABBREVIATIONS = {known.abbreviation: known.short for known in KNOWN.values() if known.abbreviation}


def timm_name(model: str) -> str:
    """The timm name that `model` stands for: deit_s and deit_small give deit_small_patch16_224, others themselves."""
    model = ABBREVIATIONS.get(model, model)
    return KNOWN[model].timm if model in KNOWN else model


def short_name(model: str) -> str:
    """Name of `model` in folder names: deit_small for deit_small_patch16_224.fb_in1k, other names untagged."""
    architecture = timm_name(model).split(".")[0]
    return next((known.short for known in KNOWN.values() if known.timm == architecture), architecture)


def family_of(model: str) -> Family:
    """The family of a model by full or short name; `OTHERS` where it is of none."""
    short = short_name(model)
    return next((family for family in FAMILIES if short.startswith(family.name)), OTHERS)
