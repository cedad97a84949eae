"""From a request to a run: everything that defines it, checked against dataset, tickets and model."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import KINDS_OF_BUDGET, Budget, ceil_count, small_grid_side
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import STAGED, method_name
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.networks.fitting import naming
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.runs.choices import OCCLUSIONS, SCORERS, Choices
from vit_tickets.pipeline.runs.config import Labels, RunConfig
from vit_tickets.pipeline.runs.families import FAMILIES, timm_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.accounting.equal_cost import cut_of
from vit_tickets.train.data.split import check_belongs
from vit_tickets.train.models.frozen import freeze
from vit_tickets.train.models.online import OnlineSelector
from vit_tickets.train.models.sparse import Model, SparseViT, build_model, check_runs
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.run import STAGES, Run, absolute, kept_patches, shards_sha256
from vit_tickets.train.runs.tickets import check_stored_crops, open_manifest, with_mean_ticket
from vit_tickets.train.runs.weights import Sparse, open_weights, record_in

DEFAULT_SPARSITY = 0.27
AUTO_VIEW = "full"  # of train images where `generate --view` names none; runs on another are named after it
# An example of a model with logits for tokens.
WITH_TOKEN_OUTPUTS = next(family.models[0].short for family in FAMILIES if family.has_token_outputs)


@dataclass(frozen=True)
class Sizes:
    """What a run sees of an image at full resolution."""

    #: Side of the view in pixels.
    image_size: int
    #: Side of a patch in pixels.
    patch_size: int
    #: G: patches along a side of the view.
    grid: int
    #: k: patches that the budget keeps.
    kept: int
    #: Path `selector`: blocks that drop patches, counted from 1.
    stages: tuple[int, ...] | None = None
    #: Path `selector`: patches that each stage keeps.
    counts: tuple[int, ...] | None = None

    @property
    def num_patches(self) -> int:
        """N."""
        return self.grid**2

    def at_low_resolution(self) -> "Sizes":
        """Those of a view of about k patches, for path `small`."""
        grid = small_grid_side(self.num_patches, self.kept)
        return replace(self, grid=grid, image_size=grid * self.patch_size)


def resolve(dataset: Dataset, recipe: Recipe, request: Request, device: str = "cpu") -> Run:
    """Work out all that a run needs, and check that it fits together.

    Args:
        dataset: the images.
        recipe: how to train; `--match-patches` lengthens it.
        request: what the run is asked to be.
        device: where it will run, as torch names it.

    Raises:
        UserError: options, dataset, tickets and model do not go together.
    """
    request = request.on(device)
    request.check()
    request.check_recipe(recipe)
    dataset.shards(request.split)
    manifest = open_manifest(request.manifest, dataset, request.split)
    found = outline(len(dataset.classes), recipe, request, manifest)
    probe, budget, sizes = found.probe, found.budget, found.sizes
    maps = _open_label_maps(request, dataset, probe)
    cut = None
    if request.trained_on.same_cost:
        cut = cut_of(probe, sizes.image_size, sizes.kept, sizes.num_patches, recipe)
        recipe = recipe.cut(cut.epochs)
    if request.match_patches:
        recipe = replace(recipe, epochs=ceil_count(recipe.epochs * sizes.num_patches / sizes.kept))
    chooser = _online_selector(request, budget, sizes.image_size)
    sparse = open_weights(request, recipe, probe.network)
    with naming("--model"):
        start = Start.open(request.init, request.model, request.weights_key, request.depth) if request.init else None
    shown = sizes.at_low_resolution() if request.trained_on.low_resolution else sizes
    tickets = chooser.record() if chooser else manifest and TicketProvenance.of_training(manifest, request.split)
    config = RunConfig(
        **_choices(request, budget),
        dataset=dataset.name,
        root=absolute(dataset.root),
        split=request.split,
        shards_sha256=shards_sha256(dataset.shards(request.split)),
        kept=sizes.kept if request.trained_on.has_budget else sizes.num_patches,
        num_patches=sizes.num_patches,
        can_drop_patches=probe.can_drop_patches,
        read_off=request.path == "lt" and manifest is not None and budget != manifest.budget,
        stages=sizes.stages,
        counts=sizes.counts,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        image_size=shown.image_size,
        patch_size=shown.patch_size,
        num_classes=len(dataset.classes),
        cut_from=cut and cut.of,
        limit=recipe.limit,
        tickets_dir=manifest and absolute(manifest.root),
        tickets=tickets,
        labels_dir=maps and absolute(maps.root),
        labels=maps and Labels(**{each.name: getattr(maps.labels, each.name) for each in fields(Labels)}),
        weights_key=request.weights_key if request.init else None,
        initial=start and start.record(),
        recipe=recipe.as_dict(),
        eval_view=_eval_view(probe, recipe, shown.image_size),
    )
    config = replace(config, weights=record_in(config, sparse))
    root = request.out or run_name(
        dataset.name, request.model, request.path, budget, request.seed, _variant(request, recipe, manifest, sparse)
    )
    known = config.without_secrets()
    start = sparse.start if sparse and sparse.start else start
    run = Run(root, dataset, manifest, recipe, known, shown.grid, sizes.kept, chooser, maps, start, cut, sparse)
    return with_mean_ticket(run, budget) if request.ticket == "mean" else run


@dataclass(frozen=True)
class Outline:
    """What of a run follows from its options, its model and the sizes of its tickets, without an image or a ticket."""

    #: The model without numbers.
    probe: Model
    budget: Budget
    sizes: Sizes


def probe_of(
    model: str, classes: int, image_size: int, patch_size: int | None, frozen: bool, depth: int | None = None
) -> Model:
    """The model of these sizes without numbers; raises UserError where it takes no such images."""
    with torch.device("meta"):
        probe = build_model(model, classes, image_size, patch_size, None, depth=depth)
        check_runs(probe, image_size, classes)
    if frozen:
        freeze(probe.network)
    return probe


def outline(
    classes: int,
    recipe: Recipe,
    request: Request,
    manifest: Manifest | None,
    probe_of: Callable[[str, int, int, int | None, bool, int | None], Model] = probe_of,
) -> Outline:
    """Raises UserError where the options, the model of so many `classes`, and the tickets do not go together.

    The image size is that of the recipe, of the manifest or of the model.
    """
    model = request.model
    image_size = recipe.image_size or (manifest.ticket.image_size if manifest else _own_size(model))
    patch_size = recipe.patch_size or (manifest.ticket.patch_size if manifest else 0) or None
    probe = probe_of(model, classes, image_size, patch_size, recipe.frozen, request.depth)
    _check_model(probe, request, recipe)
    budget = request.budget or (manifest.budget if manifest else Budget(sparsity=DEFAULT_SPARSITY))
    return Outline(probe, budget, _sizes(request, recipe, manifest, probe, image_size, budget))


def _own_size(model: str) -> int:
    own: Any = registry.sketch(model).pretrained_cfg
    return own["input_size"][-1]


def _check_model(probe: Model, request: Request, recipe: Recipe) -> None:
    """Raise UserError for options that the model has no use for."""
    model = request.model
    if request.trained_on.chooses_patches and not isinstance(probe, SparseViT):
        plain = "a plain ViT, such as deit_small, which takes fewer tokens and classifies the image alone"
        raise UserError(f"--path {request.path}: expected {plain}, found {model}")
    if recipe.mix_token and not probe.has_token_outputs:
        raise UserError(
            f"expected a model with logits for tokens for --mix-token, such as {WITH_TOKEN_OUTPUTS}, found {model}"
        )
    if recipe.mix_token and request.trained_on.prunes_tokens:
        raise UserError("--mix-token: expected another path, as selector mixes no tokens, found selector")
    if recipe.mix_token and (recipe.mixup or recipe.cutmix):
        raise UserError("expected --mix-token, or --mixup and --cutmix, found both")
    if request.stem_occlusion and not probe.has_token_outputs:
        raise UserError(f"--stem-occlusion: expected LV-ViT, whose stem sees dropped patches, found {model}")
    if request.occlude and probe.can_drop_patches and not request.stem_occlusion:
        with_stem = " without --stem-occlusion" if probe.has_token_outputs else ""
        raise UserError(f"--occlude: expected a model that cannot drop patches, found {model}{with_stem}")


def _open_label_maps(request: Request, dataset: Dataset, probe: Model) -> LabelMaps | None:
    """The label maps; raises UserError unless they, dataset and model go together."""
    if request.labels is None:
        return None
    if not probe.has_token_outputs:
        raise UserError(
            f"expected a model with logits for tokens for --labels, such as {WITH_TOKEN_OUTPUTS}, found {request.model}"
        )
    maps = LabelMaps.open(request.labels)
    check_belongs(maps, dataset, [request.split])
    if (found := maps.num_classes) != len(dataset.classes):
        raise UserError(f"{maps.root}: expected labels of the dataset's {len(dataset.classes)} classes, found {found}")
    return maps


def _sizes(
    request: Request, recipe: Recipe, manifest: Manifest | None, probe: Model, image_size: int, budget: Budget
) -> Sizes:
    """The sizes that model, recipe and manifest give; raises UserError where they do not fit together."""
    grid, patch_size = _cells(probe, image_size, recipe, manifest)
    if image_size % grid:
        raise UserError(f"expected an image size that is a multiple of the grid's {grid} cells, found {image_size}")
    kept = kept_patches(budget, grid**2, manifest, 1 if request.trained_on.chooses_patches else STAGES)
    if manifest is not None and manifest.view(request.split).num_views:
        check_stored_crops(request, recipe, manifest, budget)
    if not request.trained_on.prunes_tokens:
        return Sizes(image_size, patch_size, grid, kept)
    stages = vit.default_stages(request.model, len(getattr(probe.network, "blocks", ())))
    vit.check_selector(probe.network, stages)
    counts = budget.stage_counts(grid**2, len(stages))
    return Sizes(image_size, patch_size, grid, counts[-1], stages, counts)


def _cells(probe: Model, image_size: int, recipe: Recipe, manifest: Manifest | None) -> tuple[int, int]:
    """Side of the grid, and of a cell in pixels: of the patches, or of what is occluded in a model without any."""
    if probe.can_drop_patches:
        return probe.grid, image_size // probe.grid
    if recipe.patch_size:
        return image_size // recipe.patch_size, recipe.patch_size
    grid = (manifest.ticket.grid if manifest else 0) or image_size // 16
    return grid, image_size // grid


def _online_selector(request: Request, budget: Budget, image_size: int) -> OnlineSelector | None:
    if not request.is_online or request.selector is None:
        return None
    return OnlineSelector(request.selector, request.weights, request.online, budget, image_size, request.weights_key)


def _eval_view(probe: Model, recipe: Recipe, image_size: int) -> View:
    own = getattr(probe.network, "pretrained_cfg", {})
    crop_pct = recipe.crop_pct or own.get("crop_pct", 1.0)
    return View("center", image_size, crop_pct, own.get("interpolation", "bicubic"), own["mean"], own["std"])


def _choices(request: Request, budget: Budget) -> dict[str, Any]:
    """The choices as config.json records them: those that have no value get the one that they stand for."""
    given = {each.name: getattr(request, each.name) for each in fields(Choices)}
    has_budget = request.trained_on.has_budget
    return given | {
        "model": timm_name(request.model),
        **{kind: getattr(budget, kind) if has_budget else None for kind in KINDS_OF_BUDGET},
        "mask_seed": request.seed if request.mask_seed is None else request.mask_seed,
        "occlude": request.occlude or OCCLUSIONS[0],
        "scorer": (request.scorer or SCORERS[0]) if request.trained_on.chooses_patches else None,
    }


def _variant(request: Request, recipe: Recipe, manifest: Manifest | None, sparse: Sparse | None) -> str:
    """What sets the default folder's name apart from that of a run with default choices."""
    view, method = AUTO_VIEW, STAGED
    if manifest is not None and request.trained_on.uses_tickets:
        view, method = manifest.view(request.split).kind, method_name(manifest.record)
    parts = {
        sparse.record.variant if sparse else "": sparse is not None,
        request.prune_scope or "": request.prune_scope is not None,
        request.allocation or "": request.allocation is not None,
        f"by{request.unit_multiple}": (request.unit_multiple or 1) > 1,
        view.replace(":", ""): view != AUTO_VIEW,
        method: method != STAGED,
        "online": request.is_online,
        f"rc-{request.rc}": request.rc != "fixed",
        f"ticket-{request.ticket}": request.ticket != "own",
        f"t{recipe.temperature}": recipe.temperature is not None,
        f"finish{recipe.finish_dense}": recipe.finish_dense > 0,
        "no-align": not request.align,
        "black": request.occlude == "black",
        "stem-occlusion": request.stem_occlusion,
        f"scorer-{request.scorer}": request.scorer not in (None, SCORERS[0]),
        request.fold.variant if request.fold else "": request.fold is not None,
        request.part.part if request.part else "": request.part is not None,
    }
    return "-".join(name for name, applies in parts.items() if applies)
