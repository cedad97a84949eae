"""Multiply-adds of one image at test time, as papers on pruning count them and as a machine executes them."""

from vit_tickets.pipeline.runs.parts import ImageMacs
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.report.analysis.results import RunResult


def counted_of(run: RunResult) -> int | None:
    """Those of a run in which dead weights cost nothing; None where they were not counted."""
    weights = run.config.weights
    return run.masks and run.masks.macs if weights is not None and weights.has_masks else executed_of(run)


def executed_of(run: RunResult) -> int | None:
    """Those of the network as it was trained, which multiplies dead weights, too; None where they were not counted."""
    of_image = run.config.macs or ImageMacs()
    return of_image.forward_kept if PATHS[run.path].drops_patches else of_image.forward
