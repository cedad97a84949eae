"""What can be told of a command line from files and numbers alone: before torch is imported, which takes seconds."""

import os
import re
from typing import Any

from vit_tickets.pipeline.commands.suggestions import did_you_mean
from vit_tickets.pipeline.datasets.embedded import NAME as EMBEDDED
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.runs.config import CONFIG, FINAL, LAST, RunConfig
from vit_tickets.pipeline.runs.families import family_of, timm_name
from vit_tickets.pipeline.runs.paths import TESTED_ON
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.ticket import is_weight_ticket
from vit_tickets.train.recipes.presets import recipe_for
from vit_tickets.train.runs.request import Request

DEVICES = ("auto", "cpu", "cuda")


def check_train(
    dataset: str,
    request: Request,
    recipe: str | None,
    values: dict[str, Any],
    device: str,
    resume: bool,
    overwrite: bool,
) -> None:
    """Raise UserError for what `train` cannot do by its options, its files, or what lies in its folder."""
    check_device(device)
    request.check()
    opened = _opened(dataset)
    source = opened.source if opened else EMBEDDED
    chosen = recipe_for(source, request.model, recipe, values.get("image_size"), request.path, request.fine_tunes)
    chosen = chosen.override(**values)
    request.check_recipe(chosen)
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if values.get("batch_size") and chosen.batch_size % ranks:
        raise UserError(f"expected a batch size that {ranks} ranks can share, found {chosen.batch_size}")
    if opened:
        opened.shards(request.split)
    if request.init != PRETRAINED:
        check_there("--init", request.init)
    check_there("--weights", request.weights)
    request.weight_ticket()
    if request.manifest is not None:
        if is_weight_ticket(request.manifest):
            found = f"found the weight ticket {request.manifest}; --masks takes it"
            raise UserError(f"--tickets: expected tickets of images, {found}")
        check_tickets(request.manifest, opened, request.split)
    if request.labels is not None and family_of(request.model).has_token_outputs:
        _check_name(LabelMaps.open(request.labels), opened)
    if request.out is not None and not overwrite:
        _check_folder(request.out, request, values, resume)


def check_evaluate(
    run: str | None, dataset: str | None, split: str, on: str | None, files_given: dict[str, str | None]
) -> None:
    """Raise UserError for a run that is none or is not finished, for unknown `on`, and for files that are not there.

    files_given: the options `tickets` and `weights`.
    """
    if run is not None:
        check_finished(run)
        dataset = RunConfig.read(run, ("root",)).root
    for how in on.split(",") if on else ():
        if how not in TESTED_ON:
            raise UserError(
                f"--on: expected some of {', '.join(TESTED_ON)}, found {how!r}{did_you_mean(how, tuple(TESTED_ON))}"
            )
    check_there("--weights", files_given["weights"])
    opened = _opened(dataset) if dataset else None
    if opened:
        opened.shards(split)
    if (tickets := files_given["tickets"]) is not None:
        check_tickets(tickets, opened, split)


def check_finished(run: str) -> None:
    """Raise UserError unless `run` is the folder of a finished run."""
    if not files.exists(run):
        raise UserError(f"expected the folder of a run, found nothing at {run}")
    if not files.exists(files.join(run, CONFIG)):
        raise UserError(f"expected the folder of a run, found no {CONFIG} in {run}")
    if not files.exists(files.join(run, FINAL)):
        raise UserError(f"{run} is not finished; resume it with `vit-tickets train ... --resume`")


def check_tickets(folder: str, dataset: Dataset | None, split: str) -> None:
    """Raise UserError unless `folder` holds a manifest with `split`, of that dataset."""
    manifest = Manifest.open(folder)
    _check_name(manifest, dataset)
    manifest.split_record(split)


def check_where(device: str | None, out: str | None) -> None:
    """Raise UserError for a device or a folder that the steps of a plan cannot have; None for those by default."""
    if device:
        check_device(device)
    if out is not None and not files.is_local(out):
        raise UserError(f"--out: expected a folder of this machine, found {out}")


def check_device(device: str) -> None:
    """Raise UserError for a word that names no device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UserError(
            f"expected a device among {', '.join(DEVICES)}, found {device!r}{did_you_mean(device, DEVICES)}"
        )


def check_there(option: str, path: str | None) -> None:
    """Raise UserError unless the file or folder that `option` names is there."""
    if path is not None and not files.exists(path):
        raise UserError(f"{option}: expected a file of weights or a finished run, found no {path}")


def _opened(dataset: str) -> Dataset | None:
    """The dataset; None for the built-in one, which is packed where it is missing."""
    if dataset == EMBEDDED and not files.exists(files.join(dataset, INDEX)):
        return None
    return Dataset.open(dataset)


def _check_name(made: Manifest | LabelMaps, dataset: Dataset | None) -> None:
    if dataset is not None and made.dataset != dataset.name:
        raise UserError(f"{made.root}: expected dataset {dataset.name!r}, found {made.dataset!r}")


def _check_folder(out: str, request: Request, values: dict[str, Any], resume: bool) -> None:
    """Raise UserError for a folder with an unfinished run, or with one that differs in a choice that was made."""
    if not files.exists(files.join(out, CONFIG)):
        return
    found = RunConfig.read(out, ("recipe",))
    asked = {"model": timm_name(request.model), "path": request.path, "ticket": request.ticket, "seed": request.seed}
    if different := difference(asked, {name: getattr(found, name) for name in asked}):
        raise UserError(f"{out} holds another run: {different}; repeat its settings, or pass another --out")
    same = all(found.recipe.get(name) == value for name, value in values.items() if value is not None)
    unfinished = files.exists(files.join(out, LAST)) and not files.exists(files.join(out, FINAL))
    if unfinished and same and not resume:
        raise UserError(f"{out} holds an unfinished run; pass --resume to continue, or --overwrite")
