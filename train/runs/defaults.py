"""What a run has by default: its family's recipe, in sizes and batches that follow the images and their number."""

import contextlib
import io
import itertools
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from PIL import Image

from vit_tickets.pipeline.datasets.embedded import NAME as EMBEDDED
from vit_tickets.pipeline.datasets.left_out import UNDECODABLE, counted, undecodable
from vit_tickets.pipeline.datasets.shards import Dataset, Sample
from vit_tickets.pipeline.runs.config import CONFIG, RunConfig
from vit_tickets.pipeline.system import files
from vit_tickets.train.recipes.presets import CIFAR_SIDE, FINE_TUNING, FINETUNE, default_name, recipe_for
from vit_tickets.train.recipes.recipe import DEFAULTS, Recipe
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.runs.run import Run

LOOKED_AT = 64  # images whose sizes stand for those of all
TINY, SMALL = 40, 128  # pixels: up to these, images are trained on at 32 pixels, or at about their own size
TINY_PATCH, SMALL_PATCH = 4, 8
FEW_STEPS = 20  # an epoch of fewer is said to be short
LEAST_BATCH = 8


@dataclass(frozen=True)
class Asked:
    """What the user set of the recipe.

    Attributes:
        recipe: name of the recipe; None for the family's.
        values: those of its fields, None where not given.
    """

    recipe: str | None
    values: dict[str, Any]

    def given(self, name: str) -> bool:
        return self.values.get(name) is not None


def resolved(dataset: Dataset, request: Request, asked: Asked, device: str, overwrite: bool) -> tuple[Run, str | None]:
    """The run, and a line about what of it follows the images.

    A run that an older version began with other defaults keeps them.
    """
    family = _recipe(dataset, request, asked, {})
    fitted = _fitted(dataset, request, asked, family)
    run = resolve(dataset, fitted, request, device)
    if not overwrite and files.exists(files.join(run.root, CONFIG)):
        found = RunConfig.read(run.root, ("recipe",))
        if run.config.difference(found, DEFAULTS):
            for recipe in _older(dataset, request, asked, fitted, family):
                older = resolve(dataset, recipe, request, device)
                if older.config.difference(found, DEFAULTS) is None:
                    return older, None
    return run, "; ".join(filter(None, (_of_weights(run, request, asked), _of_images(run, fitted, family)))) or None


def _older(dataset: Dataset, request: Request, asked: Asked, fitted: Recipe, family: Recipe) -> list[Recipe]:
    """What older versions had by default where this one has `fitted`, by `family`."""
    recipes = [family]
    if request.fine_tunes and asked.recipe is None:
        scratch = _recipe(dataset, request, asked, {}, from_weights=False)
        recipes += [_fitted(dataset, request, asked, scratch, from_weights=False), scratch]
    return [recipe for recipe in recipes if recipe != fitted]


def _of_weights(run: Run, request: Request, asked: Asked) -> str | None:
    if run.recipe.name != FINETUNE.name or asked.recipe is not None:
        return None
    scratch = default_name(run.dataset.source, request.model)
    return f"recipe {FINETUNE.name}, the default with --init (--recipe {scratch} trains as from random weights)"


def _of_images(run: Run, fitted: Recipe, family: Recipe) -> str | None:
    """What of the defaults follows the images, in words."""
    if fitted == family:
        return None
    dataset, images = run.dataset, f"{run.dataset.samples(run.config.split):,} images"
    changed = [
        name for name in ("image_size", "patch_size", "batch_size") if getattr(fitted, name) != getattr(family, name)
    ]
    options = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
    return (
        f"defaults that follow the {images} of {dataset.name}: {run.image_size} px, "
        f"patches of {run.config.patch_size} px, batches of {fitted.batch_size}, recipe {fitted.name}; "
        f"{options or '--recipe'} or --recipe would set others"
    )


class Described(Protocol):
    """What the defaults of a run look at in a dataset, which may not be packed yet."""

    @property
    def source(self) -> str: ...

    def samples(self, split: str) -> int: ...

    def head(self, split: str) -> Iterable[Sample]: ...


def fitted(images: Described, request: Request, asked: Asked) -> Recipe:
    """The recipe of a run on `images`, as `resolved` has it for a new one."""
    dataset = cast("Dataset", images)
    return _fitted(dataset, request, asked, _recipe(dataset, request, asked, {}))


def _recipe(
    dataset: Dataset, request: Request, asked: Asked, sizes: dict[str, int], from_weights: bool = True
) -> Recipe:
    """The recipe by name or family, changed by `sizes` and by what was asked for. Small images have one for them."""
    side = asked.values.get("image_size") or sizes.get("image_size")
    if side and not asked.given("image_size") and side <= SMALL:
        side = CIFAR_SIDE
    begun = from_weights and request.fine_tunes
    chosen = recipe_for(dataset.source, request.model, asked.recipe, side, request.path, begun)
    return replace(chosen, **sizes).override(**asked.values)


def _fitted(dataset: Dataset, request: Request, asked: Asked, family: Recipe, from_weights: bool = True) -> Recipe:
    """The recipe that follows the images; `family` where it is named, or the dataset is the built-in one.

    A run from the weights of another has its sizes, whatever the recipe, and fine-tuning has batches that fit.
    """
    named = asked.recipe is not None and asked.recipe not in FINE_TUNING
    if dataset.source == EMBEDDED:
        return family
    recipe = family
    if family.image_size is None and (request.fine_tunes or not named):
        recipe = _recipe(dataset, request, asked, _sizes(dataset, request, asked), from_weights)
    if named or asked.given("batch_size"):
        return recipe
    batch = fitting_batch(images_of(dataset, request, recipe), recipe.batch_size)
    return replace(recipe, batch_size=batch)


def _sizes(dataset: Dataset, request: Request, asked: Asked) -> dict[str, int]:
    """Sizes of view and patch: those of the run whose weights it starts from, or those that small images suggest."""
    if request.init is not None and request.fine_tunes:
        if not files.exists(files.join(request.init, CONFIG)):
            return {}  # the sizes of the model, whose weights these are
        run = RunConfig.read(request.init, ("image_size", "patch_size"))
        return {"image_size": run.image_size, "patch_size": run.patch_size}
    side = None if request.is_online else shorter_side(dataset, request.split)
    if side is None or side > SMALL:
        return {}
    if side <= TINY:
        return {"image_size": CIFAR_SIDE, "patch_size": TINY_PATCH}
    return {"image_size": round(side / SMALL_PATCH) * SMALL_PATCH, "patch_size": SMALL_PATCH}


def shorter_side(dataset: Dataset, split: str) -> int | None:
    """Median of the shorter sides of the first images of `split`, in pixels; None where none can be opened."""
    sides = []
    for sample in itertools.islice(dataset.head(split), LOOKED_AT):
        with contextlib.suppress(Exception):  # Pillow raises anything for hostile data; the stream tells of it
            sides.append(min(Image.open(io.BytesIO(sample.data or b"")).size))
    return statistics.median_low(sides) if sides else None


def images_of(dataset: Dataset, request: Request, recipe: Recipe) -> int:
    """Number of images to train on, about."""
    count = dataset.samples(request.split) * (1 - request.holdout)
    if fold := request.fold:
        count *= 1 - 1 / fold.count
    count = min(count, recipe.limit or count)
    return int(count / request.part.count if request.part else count)


def fitting_batch(images: int, most: int) -> int:
    """The largest power of two that makes at least `FEW_STEPS` steps of `images`; `LEAST_BATCH` to `most`."""
    if images >= FEW_STEPS * most:
        return most
    batch = LEAST_BATCH
    while 2 * batch * FEW_STEPS <= images:
        batch *= 2
    return min(batch, most)


def enlarged(run: Run, asked: Asked) -> str | None:
    """A note where `--image-size` is above what the images offer; None where it was not given."""
    if not asked.given("image_size"):
        return None
    side = shorter_side(run.dataset, run.config.split)
    if side is None or side >= run.image_size:
        return None
    return (
        f"note: the images are enlarged to {run.image_size} px from {side} px (median of the shorter sides of the "
        f"first {LOOKED_AT}), and enlarged pixels show no more detail"
    )


def few_steps(run: Run, asked: Asked, steps: int, images: int) -> str | None:
    """A note where an epoch has few steps, with a batch that fits; None for the built-in dataset's own settings."""
    own = run.dataset.source == EMBEDDED and not asked.given("batch_size") and not asked.given("limit")
    if steps >= FEW_STEPS or own:
        return None
    found = f"note: an epoch has {counted(steps, 'step')} of {run.recipe.batch_size} images, fewer than {FEW_STEPS}"
    fits = fitting_batch(images, run.recipe.batch_size)
    if fits < run.recipe.batch_size:
        return f"{found}; --batch-size {fits} makes {images // fits}"
    epochs = -(-FEW_STEPS * run.recipe.epochs // steps)
    return f"{found}; --epochs {epochs} makes as many in all as {run.recipe.epochs} of {FEW_STEPS} steps"


def undecodable_images(run: Run, skip_errors: bool) -> str | None:
    """A note on images that `pack` found damaged, at which the run would stop; None where it leaves them out."""
    if skip_errors or run.manifest is not None:  # damaged images have no ticket
        return None
    said = []
    for split in dict.fromkeys((run.config.split, "val")):
        folder = files.join(run.dataset.root, split)
        if split in run.dataset.splits and (found := undecodable(folder)):
            said.append(f"{counted(len(found), 'image')} of {split} (listed in {files.join(folder, UNDECODABLE)})")
    if not said:
        return None
    return f"note: {' and '.join(said)} cannot be decoded, and the run stops there; --skip-errors leaves them out"
