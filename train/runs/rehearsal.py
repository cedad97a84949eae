"""What `train` would refuse of a run whose dataset or tickets are not there yet."""

from functools import cache
from typing import cast

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.runs.choices import PRETRAINED
from vit_tickets.pipeline.weights.methods import METHODS
from vit_tickets.train.models.sparse import build_model
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.defaults import Asked, Described, fitted, images_of
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import Outline, outline, probe_of
from vit_tickets.train.runs.weights import open_weights
from vit_tickets.train.sparsity.schedule import Growth, updates_of


class Rehearsal:
    """Resolves runs on the same images one after the other, as `resolve` does, as far as no image and no ticket is
    needed for it. What runs have in common is checked once.

    Args:
        images: of the dataset.
        classes: their number.
    """

    def __init__(self, images: Described, classes: int):
        self._images, self._classes = images, classes
        self._probe_of = cache(probe_of)
        self._fit: set[tuple] = set()  # weights and models that were found to fit

    def check(self, request: Request, asked: Asked, manifest: Manifest | None) -> None:
        """Raise UserError for options, sizes and budgets that do not go together.

        Args:
            request: what the run is asked to be.
            asked: what it is asked of its recipe.
            manifest: of its tickets; it may hold no more than its record.
        """
        request.check()
        recipe = fitted(self._images, request, asked)
        request.check_recipe(recipe)
        self._outline(request, recipe, manifest)

    def check_masks(self, request: Request, asked: Asked) -> None:
        """Raise UserError for masks that the model cannot have, or that would never change though they are to."""
        recipe = fitted(self._images, request, asked)
        open_weights(request, recipe, self._outline(request, recipe, None).probe.network)
        method = METHODS.get(request.weight_method or "")
        if method is not None and "update_every" in method.takes:
            steps = recipe.epochs * (images_of(cast("Dataset", self._images), request, recipe) // recipe.batch_size)
            Growth(recipe.epochs, updates_of(request.model), request.update_every).check(steps)

    def check_weights(self, request: Request, asked: Asked, manifest: Manifest | None) -> None:
        """Raise UserError for a file or a run of other weights than the model's.

        Published weights are not looked at: whether they can be had is another question.
        """
        weights = request.model, request.init, request.weights_key
        if request.init is None or request.init == PRETRAINED or weights in self._fit:
            return
        found = self._outline(request, fitted(self._images, request, asked), manifest).sizes
        start = Start.open(request.init, request.model, request.weights_key, request.depth)
        model = build_model(
            request.model, self._classes, found.image_size, found.patch_size, found.grid, depth=request.depth
        )
        start.load(model.network, request.seed)
        self._fit.add(weights)

    def _outline(self, request: Request, recipe: Recipe, manifest: Manifest | None) -> Outline:
        return outline(self._classes, recipe, request, manifest, self._probe_of)
