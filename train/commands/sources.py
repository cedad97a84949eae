"""Where the images of a plan come from, which may have to be packed first, and what selects their tickets."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.commands.plan_options import VAL_SHARE, PlanOptions
from vit_tickets.train.sweep.plan import plan
from vit_tickets.train.sweep.request import Images, Packing, Request

if TYPE_CHECKING:
    from vit_tickets.pipeline.datasets.pack.planning import Plan
    from vit_tickets.pipeline.datasets.shards import Dataset

LEAST_SIDE = 256  # pixels; of the shorter side of stored images
CROP_PCT = 0.875  # the part of its shorter side that a view shows


def check_images(given: str) -> None:
    """Raise UserError where there is nothing at `given`, before anything slow is imported."""
    from vit_tickets.pipeline.datasets.embedded import NAME
    from vit_tickets.pipeline.system import files

    if given != NAME and files.is_local(given) and not files.exists(given):
        raise UserError(f"expected a dataset, or a folder of images, Parquet or tars, found no {given}")


def find_images(given: str, command: str, asked: PlanOptions, sizes: list[int]) -> Images:
    """The images of the dataset or source `given`; packs the built-in dataset where it is missing.

    Args:
        given: as typed.
        command: which asks.
        asked: its options.
        sizes: sides in pixels of the views that networks see of them.

    Raises:
        UserError: `given` is neither, or has nothing to train on or to test on.
    """
    from vit_tickets.pipeline.datasets.embedded import FOLDER, NAME
    from vit_tickets.pipeline.datasets.pack import open_or_build, plan
    from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, index_of
    from vit_tickets.pipeline.system import files

    if given == NAME and not files.exists(files.join(NAME, INDEX)):
        if asked.dry_run and not files.exists(files.join(FOLDER, INDEX)):
            return _of_plan(FOLDER, plan(NAME, None), [f"{NAME} is packed into {FOLDER} first"], None)
        return _of_dataset(open_or_build(NAME), given)
    if files.exists(index_of(given)):
        for option, value in (("--val-share", asked.val_share), ("--shorter-side", asked.shorter_side)):
            if value is not None:
                raise UserError(f"{option}: expected a source that is packed first, found the dataset {given}")
        return _of_dataset(Dataset.open(given), given)
    name = files.name_of(files.absolute(given)).removesuffix(".parquet").removesuffix(".tar").replace(".", "_")
    root = files.join(asked.out or f"runs/{command}-{name}", "data", name)
    source, side = files.absolute(given).rstrip("/"), asked.shorter_side
    if side is None:
        side = max([LEAST_SIDE, *(math.ceil(size / CROP_PCT) for size in sizes)])
    if files.exists(files.join(root, INDEX)):
        packed = Dataset.open(root)
        held = packed.held_out.get("val")
        return _of_dataset(packed, given, Packing(source, side, asked.val_share or (held and held.share)))
    planned = plan(given, root, val_share=asked.val_share or VAL_SHARE, val_if_missing=asked.val_share is None)
    packing = Packing(source, side, planned.val_share)
    return _of_plan(root, planned, [f"packed first, into {root}{_how(packing)}", *planned.notes], packing)


def _of_dataset(opened: "Dataset", given: str, packing: Packing | None = None) -> Images:
    splits = {split: opened.samples(split) for split in opened.splits}
    _check(given, splits, len(opened.classes))
    first = partial(opened.head, "train")
    names = tuple(opened.classes)
    return Images(opened.root, opened.name, opened.source, splits, len(names), packing, names, first=first)


def _of_plan(root: str, planned: "Plan", lines: list[str], packing: Packing | None) -> Images:
    from vit_tickets.pipeline.system import files

    splits = {split: len(part) for split, part in planned.splits.items()}
    _check(packing.source if packing else planned.kind, splits, len(planned.classes))
    train = planned.splits["train"]
    first = partial(train.read, range(len(train)))
    name, names = files.name_of(root), tuple(planned.classes)
    return Images(root, name, planned.kind, splits, len(names), packing, names, tuple(lines), first)


def _check(given: str, splits: dict[str, int], classes: int) -> None:
    """Raise UserError for images that nothing can be trained or tested on."""
    if lacking := [split for split in ("train", "val") if not splits.get(split)]:
        adds = "; `vit-tickets pack VAL_IMAGES DATASET --split val` adds one" if lacking == ["val"] else ""
        raise UserError(f"{given}: expected a split {lacking[0]}, found {', '.join(splits)}{adds}")
    if classes < 2:
        raise UserError(f"{given}: expected images of two classes or more, found one")


def _how(packing: Packing) -> str:
    if not packing.shorter_side:
        return ", every image as it is"
    return f", larger images shrunk to a shorter side of {packing.shorter_side} px (--shorter-side 0 leaves them)"


def record_of(images: Images) -> dict[str, Any]:
    """What request.json says of the images, so that the same are asked for again."""
    from vit_tickets.pipeline.datasets.shards import index_of, sha256_of
    from vit_tickets.pipeline.system import files

    if images.packing:
        return asdict(images.packing)
    index = index_of(images.root)
    return {"dataset_sha256": sha256_of(index)} if files.exists(index) else {}


@dataclass(frozen=True)
class Selecting:
    """What selects the tickets, as `generate` takes it: `--selector`, `--weights` and `--weights-key`.

    `why` says what decided, where the user did not name it.
    """

    selector: str
    weights: str | None = None
    weights_key: str | None = None
    why: str = ""


def selector_of(asked: PlanOptions, images: Images, models: list[str], init: str | None, key: str | None) -> Selecting:
    """The selector that is asked for; else the model whose weights all runs start from, if it can be one; else the
    default of `generate`.

    init, key: what every `train` starts from, and the name of the set of weights in that file.
    """
    from vit_tickets.pipeline.datasets.embedded import NAME
    from vit_tickets.pipeline.runs.config import CONFIG
    from vit_tickets.pipeline.runs.names import default_selector
    from vit_tickets.pipeline.system import files

    if asked.selector is not None:
        return Selecting(asked.selector, asked.weights, asked.weights_key)
    own = asked.weights is None and images.source != NAME and len(models) == 1 and _can_select(models[0])
    if own and init not in (None, PRETRAINED):
        why = "the weights that every run starts from; --selector chooses another"
        if files.exists(files.join(init, CONFIG)):
            return Selecting(init, why=why)
        return Selecting(models[0], init, key, why)
    return Selecting(default_selector(images.source), asked.weights, asked.weights_key, "the default; see --selector")


def _can_select(model: str) -> bool:
    """Whether the model is a ViT with a CLS token, so that its weights can select tickets."""
    from vit_tickets.pipeline.networks import registry, vit

    try:
        vit.check_is_vit(registry.sketch(model))
    except UserError:
        return False
    return True


def check_init(init: str | None, models: list[str]) -> None:
    """Raise UserError for weights that are not there, or that would have to fit several models."""
    from vit_tickets.train.commands.checks import check_there

    if init == PRETRAINED:
        from vit_tickets.pipeline.networks.pretrained import is_published

        for model in models:
            if not is_published(model):
                raise UserError(f"--init {PRETRAINED}: expected a model with published weights, found {model}")
    if init in (None, PRETRAINED):
        return
    check_there("--init", init)
    if len(models) > 1:
        found = f"found {', '.join(models)}; --init {PRETRAINED} takes the published weights of each"
        raise UserError(f"--init {init}: expected one model that these weights are of, {found}")


def check_within_reach(request: Request) -> None:
    """Raise UserError if a step that remains needs weights that this machine cannot get."""
    from vit_tickets.pipeline.networks.pretrained import is_within_reach
    from vit_tickets.pipeline.networks.registry import model_fault
    from vit_tickets.pipeline.runs.config import CONFIG
    from vit_tickets.pipeline.system import files

    kinds = {step.command[0] for step in plan(request) if not step.is_done()}
    gone = "are not cached and the hub cannot be reached; pass"
    own = request.pretrain or files.is_dir(request.selector) or files.exists(files.join(request.selector, CONFIG))
    of_hub = "generate" in kinds and request.weights is None and not own and model_fault(request.selector) is None
    selects = not of_hub or is_within_reach(request.selector)
    if request.init == PRETRAINED and "train" in kinds:
        for model in request.budgets:
            if not is_within_reach(model):
                both = not selects and request.selected_because and len(request.budgets) == 1 and _can_select(model)
                also = "; these weights then select the tickets, too" if both else ""
                raise UserError(f"the weights of {model} {gone} --init FILE, or --init RUN{also}")
    if not selects:
        instead = "--selector deit_tiny --weights FILE, or --selector RUN"
        raise UserError(f"the weights of the selector {request.selector} {gone} {instead}")


def sizes_of(networks: Iterable[str | None]) -> list[int]:
    """Sides in pixels of what `networks` see by default: models, or finished runs; those that are neither left out."""
    from vit_tickets.pipeline.networks import registry
    from vit_tickets.pipeline.runs.config import CONFIG, RunConfig
    from vit_tickets.pipeline.system import files

    sizes = []
    for name in filter(None, networks):
        if files.exists(files.join(name, CONFIG)):
            sizes.append(RunConfig.read(name, ("image_size",)).image_size)
        elif registry.model_fault(name) is None:
            sizes.append(cast("dict", registry.sketch(name).pretrained_cfg)["input_size"][-1])
    return sizes
