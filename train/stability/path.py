"""Networks on the straight line between two, and which images they classify right.

Legend: P points of the line, n images.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.evaluation import scoring
from vit_tickets.train.evaluation.predict import Shown, eval_config, shown
from vit_tickets.train.runs.run import Run
from vit_tickets.train.stability.children import Pair

State = dict[str, Tensor]
NORMED_BY = 2048  # images of train, for the statistics of batch norm


def correct_along(
    pair: Pair, points: int, split: str, device: str, workers: int, normed_by: int = NORMED_BY
) -> tuple[np.ndarray, str]:
    """Whether each image of `split` is classified right at each point, bool (P, n), and what is shown of it.

    The points lie at even distances, the two networks among them; all their weights are on the device at once. The
    statistics of batch norm are no weights: between two networks they fit neither. So they are computed anew at every
    point, both ends included, over `normed_by` images of the split that was trained on.
    """
    ends = [scoring.open_run(root, None, split, None) for root in (pair.first, pair.second)]
    run, data, model = ends[0].run, ends[0].data, ends[0].model.eval()
    how = RowName.of(run.config).validated_on
    states = line([end.model.state_dict() for end in ends], points)
    model, states = model.to(device), [{name: of.to(device) for name, of in each.items()} for each in states]
    if has_batch_norm(model):
        _renorm(model, states, run, how, device, workers, normed_by)
    correct: list[list[Tensor]] = [[] for _ in states]
    batches = _shown(run, data, how, device, workers)
    with torch.inference_mode(), contextlib.closing(batches), Bar(total=ends[0].images, desc=split, unit="img") as bar:
        for each in batches:
            label_B = each.batch.label.to(device)
            for state, found in zip(states, correct, strict=True):
                found.append((_logits(model, state, each).argmax(1) == label_B).cpu())
            bar.update(len(label_B))
    return torch.stack([torch.cat(found) for found in correct]).numpy(), how


def line(ends: Sequence[State], points: int) -> list[State]:
    """`points` states at even distances from the first of `ends` to the second, both included to the bit.

    Whole numbers, such as counts of batches, are those of the first.
    """
    first, second = ends
    return [
        {
            name: torch.lerp(value, second[name], place) if value.is_floating_point() else value.clone()
            for name, value in first.items()
        }
        for place in torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    ]


def has_batch_norm(model: nn.Module) -> bool:
    return bool(_norms(model))


def renormed(model: nn.Module, states: Sequence[State], batches: Sequence[Shown]) -> None:
    """Set the statistics of batch norm in each of `states`, in place, to the means over the batches."""
    norms = _norms(model)
    for state in states:
        for name in norms:
            state[f"{name}.running_mean"].zero_()
            state[f"{name}.running_var"].fill_(1)
            state[f"{name}.num_batches_tracked"].zero_()
    was = {name: norm.momentum for name, norm in norms.items()}
    for norm in norms.values():
        norm.train()
        norm.momentum = None  # the mean of all batches
    with torch.no_grad():
        for each in batches:
            for state in states:
                _logits(model, state, each)
    for name, norm in norms.items():
        norm.eval()
        norm.momentum = was[name]


def _norms(model: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    }


def _renorm(
    model: nn.Module, states: Sequence[State], run: Run, how: str, device: str, workers: int, images: int
) -> None:
    batches = _shown(run, replace(run.data, spread=images), how, device, workers)
    with contextlib.closing(batches):
        first = next(batches)
        whole = [first, *(each for each in batches if len(each.images) == len(first.images))]  # a rest counts as much
    renormed(model, states, whole)


def _shown(run: Run, data: SplitData, how: str, device: str, workers: int):
    view = "recipe" if how == "dense" else "manifest"
    chooses = bool(getattr(run.config, "scorer", None))
    return shown(eval_config(run, data, view=view), [how], device, workers, chooses)


def _logits(model: nn.Module, state: State, each: Shown) -> Tensor:
    more = {} if each.choose is None else {"choose": each.choose}
    return functional_call(model, state, (each.images, each.kept_BK), more)
