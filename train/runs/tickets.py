"""The manifest of a run: opened, checked against what is asked of its tickets, and their mean."""

from dataclasses import replace

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import Budget, scaled_count
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.split import check_belongs
from vit_tickets.train.data.substitutes import mean_rank, packed
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.run import Run, kept_patches


def open_manifest(root: str | None, dataset: Dataset, split: str) -> Manifest | None:
    """The manifest at `root`, None without one. Raises UserError if its tickets of `split` are of other images."""
    if root is None:
        return None
    manifest = Manifest.open(root)
    check_belongs(manifest, dataset, [split])
    return manifest


def check_stored_crops(request: Request, recipe: Recipe, manifest: Manifest, budget: Budget) -> None:
    """Raise UserError for what masks of random crops cannot give."""
    kind = manifest.view(request.split).kind
    if request.holdout:
        raise UserError(f"expected tickets of a fixed view to score a holdout on, found {kind} in {manifest.root}")
    if request.path != "lt":
        return
    if budget != manifest.budget:
        raise UserError(
            f"expected the manifest's own {manifest.budget.label}, found {budget.label}: {kind} holds masks"
        )
    if options := _needing_ranks(request, recipe):
        raise UserError(
            f"{options[0]}: expected a rank of each image, found masks of stored crops ({kind} in {manifest.root}); "
            "tickets of --view full have it"
        )
    if recipe.keep_warmup is not None and recipe.keep_warmup[1] > 0:
        start, end = recipe.keep_warmup
        raise UserError(
            f"--keep-warmup {start:g}:{end:g}: expected ranks, which say what to keep beside a ticket, found masks "
            f"({kind} in {manifest.root}); pass --keep-warmup 0:0, or tickets of --view full"
        )


def _needing_ranks(request: Request, recipe: Recipe) -> list[str]:
    given = {f"--ticket {request.ticket}": request.ticket != "own"}
    given[f"--temperature {recipe.temperature}"] = recipe.temperature is not None
    return [option for option, is_given in given.items() if is_given]


def with_mean_ticket(run: Run, budget: Budget) -> Run:
    """The run with the mean of its training images' tickets of `budget`, which config.json records."""
    if run.manifest is None:
        return run
    images = replace(run, config=replace(run.config, ticket="own")).data.images
    num_patches = run.manifest.num_patches_of(run.config.split)
    if budget.tokens is None:
        kept = kept_patches(budget, num_patches, run.manifest)
    else:  # on a finer grid they are a smaller share of the image
        kept = scaled_count(run.kept, run.grid**2, num_patches)
    return replace(run, config=replace(run.config, mean_rank=packed(mean_rank(images, kept))))
