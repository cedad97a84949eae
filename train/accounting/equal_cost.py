"""How long dense training may last at the cost of training on tickets: path `short`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from vit_tickets.train.accounting.counting import StepMacs
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.recipes.schedule import kept_at

PER_EPOCH = 100  # steps by which the patches kept in an epoch of a keep warm-up are averaged
IMAGES = 2  # batch norm takes no batch of one


@dataclass(frozen=True)
class Cut:
    """A run of fewer epochs on all patches that costs about what training on tickets does.

    Attributes:
        of: epochs of the training on tickets.
        epochs: the nearest whole number of epochs on all patches, at least 1.
        ratio: multiply-adds of these, divided by those of the training on tickets.
        kept: k.
        num_patches: N.
    """

    of: int
    epochs: int
    ratio: float
    kept: int
    num_patches: int

    @property
    def is_dense(self) -> bool:
        """Whether nothing is cut: too few epochs, or a model that computes every patch."""
        return self.epochs == self.of

    @property
    def said(self) -> str:
        """The cut, in a line."""
        of = "1 epoch" if self.of == 1 else f"{self.of} epochs"
        if self.is_dense:
            return (
                f"short: nothing is cut from {of}, so this is dense training: it costs {self.ratio:.2f} times the "
                f"multiply-adds of {of} on {self.kept} of {self.num_patches} patches"
            )
        return (
            f"short: {self.epochs} of {of}, on all patches, cost {self.ratio:.2f} times the multiply-adds of {of} on "
            f"{self.kept} of {self.num_patches} patches"
        )


def cut_of(model: nn.Module, image_size: int, kept: int, num_patches: int, recipe: Recipe) -> Cut:
    """What `recipe` is cut to: epochs on all patches at the cost of its epochs on tickets of `kept` patches.

    Its keep warm-up and its last epochs on all patches are part of the training on tickets. A model that cannot drop
    patches costs as much with any number of them: nothing is cut.

    Args:
        model: as `build_model` makes them, on any device.
        image_size: side of its images in pixels.
        kept: k.
        num_patches: N.
        recipe: its epochs are those of the training on tickets.
    """
    was, _ = model.training, model.train()
    macs = StepMacs(model, image_size, num_patches, drops_patches=True)
    of_kept = _quadratic(lambda patches: macs.count([IMAGES], patches), kept, num_patches)
    spent = sum(_mean_of_epoch(of_kept, recipe, kept, num_patches, epoch) for epoch in range(recipe.epochs))
    model.train(was)
    dense = of_kept(num_patches)
    epochs = max(1, math.floor(spent / dense + Fraction(1, 2)))
    return Cut(recipe.epochs, epochs, float(epochs * dense / spent), kept, num_patches)


def _mean_of_epoch(
    of_kept: Callable[[int], Fraction], recipe: Recipe, kept: int, num_patches: int, epoch: int
) -> Fraction:
    """The mean multiply-adds of a step in an epoch, counted from 0."""
    if epoch >= recipe.epochs - recipe.finish_dense:
        return of_kept(num_patches)
    if recipe.keep_warmup is None or epoch >= recipe.keep_warmup[1]:
        return of_kept(kept)
    steps = [epoch + step / PER_EPOCH for step in range(PER_EPOCH)]
    return sum(of_kept(kept_at(recipe.keep_warmup, kept, num_patches, now)) for now in steps) / Fraction(PER_EPOCH)


def _quadratic(count: Callable[[int], int], low: int, high: int) -> Callable[[int], Fraction]:
    """`count` on low..high, called at most three times: a transformer costs a + b k + c k^2 with k patches, exactly."""
    points = sorted({low, (low + high) // 2, high})
    counts = {point: count(point) for point in points}

    def value(at: int) -> Fraction:
        total = Fraction(0)
        for point in points:
            term = Fraction(counts[point])
            for other in points:
                if other != point:
                    term *= Fraction(at - other, point - other)
            total += term
        return total

    return value
