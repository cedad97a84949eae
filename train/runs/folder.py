"""The folder that a run lives in: its files, what they record, and whether it may be written to."""

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence

import torch

from vit_tickets.pipeline.runs.config import BEST, CLASSES, CONFIG, FINAL, LAST, SCORER, Environment, RunConfig
from vit_tickets.pipeline.runs.log import METRICS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.pipeline.system.locks import alone_in
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.places import FINAL_MASKS, epoch_of, epoch_weights
from vit_tickets.train.recipes.recipe import DEFAULTS
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.sparsity.units.files import RECORD, SHRUNK

VERSIONED = ("vit-tickets", "torch", "timm", "numpy", "pillow", "webdataset")


def environment(device: str, ranks: int, workers: int) -> Environment:
    """Where a run is carried out."""
    hardware = torch.cuda.get_device_name() if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"
    versions = {name: importlib.metadata.version(name) for name in VERSIONED} | {"python": platform.python_version()}
    return Environment(hardware=hardware, ranks=ranks, workers=workers, versions=versions)


def claim(root: str, config: RunConfig, resume: bool, overwrite: bool) -> str:
    """What to do with the folder `root` for a run of `config`: `start`, `resume`, or `finished` where all is done.

    Raises UserError where the folder holds another run, or an unfinished one and neither option was given.
    """
    path = files.join(root, CONFIG)
    if overwrite or not files.exists(path):
        return "start"
    if different := config.difference(RunConfig.read(root, ("recipe",)), DEFAULTS):
        raise UserError(f"{root} holds another run: {different}; repeat its settings, or pass another --out")
    if files.exists(files.join(root, FINAL)):
        return "finished"
    if not files.exists(files.join(root, LAST)):
        return "start"
    if not resume:
        raise UserError(f"{root} holds an unfinished run; pass --resume to continue, or --overwrite")
    return "resume"


@contextlib.contextmanager
def held(root: str, world: World) -> Iterator[None]:
    """`alone_in` the folder `root`, by the main rank for all; where that is refused, it says so and the others end."""
    with contextlib.ExitStack() as stack:
        refused = None
        if world.is_main:
            try:
                stack.enter_context(alone_in(root))
            except (UserError, WorkFailed) as error:
                refused = error
        if any(world.sum(refused is not None)):
            raise refused or SystemExit(1)
        yield


def clear(root: str) -> None:
    """Delete what an earlier run left in the folder. Raises `files.cannot_write` where nothing can be written to it."""
    files.check_writable(root)
    for name in files.list_names(root):
        ours = name in (CONFIG, CLASSES, METRICS, FINAL, BEST, LAST) or name.startswith(("predictions-", "events."))
        ours = ours or epoch_of(name) is not None or name.endswith(SCORER) or name in (SHRUNK, RECORD)
        if ours or (name.startswith(".") and name.endswith(files.LEFTOVER)):
            files.remove(files.join(root, name))
    for name in (ticket.INDEX, ticket.MASKS, ticket.REWIND):
        files.remove(files.join(root, FINAL_MASKS, name))


def check_keeps(root: str, wanted: Sequence[int], epochs: range, begun: int) -> None:
    """Raise UserError for epochs before which the run's weights cannot be kept: it has none such, or they are past.

    wanted: as `--keep-epochs` has them. epochs: of the run, from 0. begun: number of the first whose weights are there.
    """
    option = f"--keep-epochs {','.join(map(str, wanted))}"
    if outside := [epoch for epoch in wanted if epoch not in epochs]:
        of = f"epochs of the run, {epochs.start} to {epochs.stop - 1}"
        raise UserError(f"{option}: expected {of}, found {outside[0]}")
    past = [epoch for epoch in wanted if epoch < begun and not files.exists(files.join(root, epoch_weights(epoch)))]
    if past:
        missing = files.join(root, epoch_weights(past[0]))
        raise UserError(f"{option}: expected {missing} of a run that is past it, found none; --overwrite trains anew")
