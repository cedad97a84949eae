"""What changes in the course of a run: the learning rate, the number of kept patches, and the temperature."""

import math

from vit_tickets.pipeline.geometry.patches import ceil_count
from vit_tickets.train.recipes.recipe import Recipe

TAU = (10.0, 0.1)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The rate of step `step`, counted from 0 over the whole run: linear warm-up, half a cosine, constant cool-down.

    Bit for bit timm's CosineLRScheduler: the cosine spans warm-up and decay and starts with the warm-up, so the rate
    drops a little when the warm-up ends.
    """
    now, warmup, length = step, recipe.warmup_epochs, recipe.epochs - recipe.cooldown_epochs
    if recipe.schedule == "epoch":
        now = max(0, step // steps_per_epoch - recipe.epoch_lag)
    else:
        warmup, length = round(warmup * steps_per_epoch), round(length * steps_per_epoch)
    start, peak, end = recipe.start_lr, recipe.peak_lr, recipe.end_lr
    if now < warmup:
        return start + now * ((peak - start) / warmup)
    if now >= length:
        return end
    return end + 0.5 * (peak - end) * (1 + math.cos(math.pi * now / length))


def kept_at(keep_warmup: tuple[float, float], kept: int, num_patches: int, epoch_progress: float) -> int:
    """Patches to keep after `epoch_progress` epochs (fractions count): k = `kept` of N = `num_patches` in the end.

    EViT's warm-up (START, END), applied to the whole count: N until START, then k + (N - k) (1 + cos(pi t / T)) / 2
    with t epochs since START and T = END - START, and k from END on.
    """
    start, end = keep_warmup
    if epoch_progress >= end:
        return kept
    if epoch_progress < start:
        return num_patches
    share = (1 + math.cos(math.pi * (epoch_progress - start) / (end - start))) / 2
    return ceil_count(kept + (num_patches - kept) * share)


def tau_at(step: int, steps: int) -> float:
    """The temperature of the Gumbel-softmax of path `learned` in step `step` of `steps`, counted from 0: linear from
    10 in the first to 0.1 in the last, as in the program of Chen et al. 2021."""
    first, last = TAU
    return first + (last - first) * step / max(1, steps - 1)
