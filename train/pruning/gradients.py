"""Gradients of a finished run on the images that it was trained on, each seen as in evaluation."""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.paths import OWN, PATHS
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights.methods import UNITS
from vit_tickets.pipeline.weights.record import TAYLOR
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.evaluation import scoring
from vit_tickets.train.evaluation.predict import eval_config, shown
from vit_tickets.train.evaluation.stream import EvalStreamConfig
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.distributed import World
from vit_tickets.train.sparsity.scores import Labelled, mean_gradients
from vit_tickets.train.sparsity.units.scores import HeadScores, head_scores

DENSE = "dense"


def gradients_of(root: str, names: list[str], images: int, device: str) -> dict[str, Tensor]:
    """Mean gradients of the cross-entropy, on the CPU, of the run's parameters `names`.

    Runs on whole images see whole images, those on tickets or random subsets see them.

    Args:
        root: folder of a finished run.
        names: of parameters, in any order.
        images: at even distances among those that the run was trained on; all if there are fewer. Those that cannot be
            decoded are left out.
        device: of the passes.

    Raises:
        UserError: the run's images or tickets are not there, or it sees patches that its network or its loss chooses.
    """
    model, batches, _ = _opened(root, images, device, TAYLOR)
    parameters = {name: model.network.get_parameter(name) for name in names}
    with contextlib.closing(batches):
        found, _ = mean_gradients(model, batches, parameters)
    return {name: value.cpu() for name, value in found.items()}


def head_scores_of(root: str, images: int, world: World) -> HeadScores:
    """The scores of all heads of a finished run, in evaluation mode; arguments and errors as of `gradients_of`."""
    model, batches, count = _opened(root, images, world.device, UNITS)

    def losses() -> Iterator[Tensor]:
        for batch in batches:
            logits_BC = model(batch.images, batch.kept_BK).float()
            yield F.cross_entropy(logits_BC, batch.label_B, reduction="sum") / count

    with contextlib.closing(batches):
        return head_scores(model.network, losses, world, model)


def _opened(root: str, images: int, device: str, criterion: str) -> tuple[Any, Generator[Labelled, None, None], int]:
    """The run's model in evaluation mode, the batches of its images, and their number."""
    split = RunConfig.read(root, scoring.NEEDED).split
    run = (subject := scoring.open_run(root, None, split, None)).run
    data = replace(run.data, spread=images)
    how = _how(run, data, criterion)
    view = "recipe" if how == DENSE else "manifest"
    batches = _batches(eval_config(run, data, view=view, skip_errors=True), how, device)
    return subject.model.to(device).eval(), batches, sum(data.counts)


def _how(run: Run, data: SplitData, criterion: str) -> str:
    """What the run sees of an image: all of it, its ticket or a random subset; raises UserError for anything else."""
    how = RowName.of(run.config).validated_on
    if how == OWN:
        chooses = PATHS[run.path].chooses_patches
        found = f"--path {run.path}" if chooses else f"--ticket {run.config.ticket}"
        raise UserError(
            f"--criterion {criterion}: expected a run on whole images, own tickets or subsets, found {found}"
        )
    if how != DENSE and (data.manifest is None or data.stored_view.num_views):
        found = "none" if data.manifest is None else f"those of random crops in {data.manifest.root}"
        raise UserError(f"--criterion {criterion}: expected one ticket per image of {data.split}, found {found}")
    return how


def _batches(config: EvalStreamConfig, how: str, device: str) -> Generator[Labelled, None, None]:
    """The images of `config`, in the order of the dataset: one process reads them, so that sums are the same."""
    with Bar(total=sum(config.data.counts), desc="gradients", unit="img") as bar:
        for each in shown(config, [how], device, workers=1 if device.startswith("cuda") else 0):
            yield Labelled(each.images, each.kept_BK, each.batch.label.to(device))
            bar.update(len(each.batch.label))
