"""Accuracy after every epoch: on val, and on the part of train that is held out."""

from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.runs.rows import RowName
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.train.evaluation.predict import accuracy, eval_config, val_sets
from vit_tickets.train.loop.options import Options
from vit_tickets.train.models.sparse import Model
from vit_tickets.train.runs.run import Run
from vit_tickets.train.runtime.distributed import World

SHOWN_AFTER_S = 2.0


class Validation:
    """Scores a model on the sets of a run. Raises UserError if one of them is empty.

    Attributes:
        sets: the images to score, by name (`val`, `holdout`).
    """

    def __init__(self, run: Run, world: World, autocast: torch.dtype | None, options: Options):
        self.run, self.world, self.autocast, self.workers = run, world, autocast, options.workers
        self.progress = options.progress and world.is_main
        self.decoding = {
            "max_pixels": options.max_pixels,
            "skip_errors": options.skip_errors,
            "hint": "pass --skip-errors to continue",
        }
        self.sets = val_sets(run)

    def view(self, name: str) -> str:
        """What is shown of the images of set `name`: accuracies are compared on one view only."""
        data = self.sets[name]
        view = eval_config(self.run, data).view
        return f"{'own' if data.manifest is None else 'manifest'}: {described(view)}"

    def top1(self, model: nn.Module, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Top-1 accuracy of `model` on each set, in percent, over the images of all ranks.

        Each rank scores its part of a set. The buffers of `model` become those of rank 0 first. None if `stop` returned
        True on a rank.
        """
        world, run = self.world, self.run
        world.share(model.buffers())
        scores = {}
        for name, data in self.sets.items():
            shows_own = data.manifest is not None or PATHS[run.path].chooses_patches
            on = RowName.of(run.config).validated_on if shows_own else "dense"
            config = eval_config(run, data, world.rank, world.size, **self.decoding)
            with self._bar(name, sum(data.counts)) as bar:
                correct = accuracy(
                    cast("Model", model), config, [on], world.device, self.workers, self.autocast, stop, bar
                )
            hits, seen, stopped = world.sum(*correct[on], stop())
            if stopped:
                return None
            scores[name] = 100 * hits / seen
        return scores

    def _bar(self, name: str, images: int) -> Bar:
        """Of the part of `images` that this rank scores; it shows once it takes its time."""
        total = -(-images // self.world.size)
        return Bar(total=total, desc=name, unit="img", leave=False, delay=SHOWN_AFTER_S, disable=not self.progress)


def described(view: View) -> str:
    """`view` in words: its kind, the share that a centre crop shows, and an interpolation other than bicubic."""
    shown = f"{view.kind} {view.crop_pct:g}" if view.kind == "center" else view.kind
    return shown if view.interpolation == "bicubic" else f"{shown} {view.interpolation}"
