"""From options to a run's settings: everything that defines a run, checked against dataset, tickets and model."""

from dataclasses import replace

import torch

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import Budget, ceil_count, small_grid_side
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.folds import Fold
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import STAGED, method_name
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.runs.choices import OCCLUSIONS
from vit_tickets.pipeline.runs.config import FORMAT_VERSION, RunConfig
from vit_tickets.pipeline.runs.families import timm_name
from vit_tickets.pipeline.runs.names import run_name
from vit_tickets.pipeline.runs.paths import DROPPING, PATHS, TRAINED
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.redaction import without_secrets
from vit_tickets.train.data.split import check_belongs
from vit_tickets.train.models.online import ONLINE, OnlineSelector
from vit_tickets.train.models.sparse import Model, build_model, check_runs
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.run import Run, absolute, kept_patches, shards_sha256

DEFAULT_SPARSITY = 0.27
AUTO_VIEW = "full"  # of train images where `generate --view` names none; runs on another are named after it
LABEL_FIELDS = ("annotator", "weights_sha256", "map_size", "places", "image_size", "precision")


def resolve(
    dataset: Dataset,
    model: str,
    path: str,
    recipe: Recipe,
    *,
    tickets: str | None = None,
    budget: Budget | None = None,
    out: str | None = None,
    seed: int = 0,
    mask_seed: int | None = None,
    holdout: float = 0.0,
    without_fold: str | None = None,
    init: str | None = None,
    precision: str = "fp32",
    rc: str = "fixed",
    align: bool = True,
    selector: str | None = None,
    weights: str | None = None,
    online: str = "full",
    match_patches: bool = False,
    labels: str | None = None,
    occlude: str | None = None,
    stem_occlusion: bool = False,
    split: str = "train",
) -> Run:
    """Work out all that a run needs, and check that it fits together. Raises UserError where it does not.

    tickets: a manifest, or `online`: then `selector` (with `weights`) chooses on every batch, in mode `online`.
    labels: label maps, as `vit-tickets labels` writes them, for models that classify every token.
    match_patches: lengthen the recipe so that the run sees as many patches as a dense one of the recipe's epochs.
    occlude: what dropped patches show, one of OCCLUSIONS, where the model is shown any; None for the mean colour.
    stem_occlusion: show a convolutional stem no dropped patch. without_fold: a fold such as 1/2 to train without.
    """
    if path not in TRAINED:
        raise UserError(f"expected a path among {', '.join(TRAINED)}, found {path!r}")
    trained = PATHS[path]
    if trained.drops_patches and tickets is None:
        raise UserError(f"--path {path}: expected --tickets MANIFEST, as written by `vit-tickets generate`, found none")
    if trained.prunes_tokens and init is None:
        raise UserError(
            "--path selector: expected --init, the dense weights (a file or a run) to fine-tune, found none"
        )
    if tickets == ONLINE and selector is None:
        raise UserError("--tickets online: expected --selector, a timm ViT or a finished run, found none")
    only = {"--tickets online": (tickets == ONLINE, ("lt",)), f"--rc {rc}": (rc != "fixed", ("rc",))}
    only["--no-align"] = not align, DROPPING
    for option, (given, paths) in only.items():
        if given and path not in paths:
            raise UserError(f"{option}: expected path {' or '.join(paths)}, found {path}")
    if tickets != ONLINE and selector is not None:
        raise UserError(f"--selector: expected --tickets online, as a manifest has its own, found {tickets or 'none'}")
    if match_patches and not trained.drops_patches:
        raise UserError(f"--match-patches: expected a path that drops patches, lt or rc, found {path}")
    if not 0 <= holdout < 1:
        raise UserError(f"expected a holdout in [0, 1), found {holdout:g}")
    if without_fold is not None and holdout:
        raise UserError("expected --holdout or --without-fold, found both")
    fold = None if without_fold is None else Fold.parse(without_fold)
    dataset.shards(split)
    manifest = None if tickets in (None, ONLINE) else Manifest.open(tickets)
    if manifest is not None:
        check_belongs(manifest, dataset, [split])

    record = {} if manifest is None else manifest.record
    image_size = recipe.image_size or record.get("image_size") or _own_size(model)
    with torch.device("meta"):  # shapes without numbers
        patch_size = recipe.patch_size or record.get("patch_size")
        probe = build_model(model, len(dataset.classes), image_size, patch_size, None)
        check_runs(probe, image_size, len(dataset.classes))
    _check_model(probe, model, path, recipe, occlude, stem_occlusion)
    maps = None if labels is None else _label_maps(labels, dataset, split, model, probe)
    if probe.can_drop_patches:
        grid, patch_size = probe.grid, image_size // probe.grid
    elif recipe.patch_size:
        grid, patch_size = image_size // recipe.patch_size, recipe.patch_size
    else:
        grid = record.get("grid") or image_size // 16
        patch_size = image_size // grid
    if image_size % grid:
        raise UserError(f"expected an image size that is a multiple of the grid's {grid} cells, found {image_size}")
    budget = budget or (manifest.budget if manifest is not None else Budget(sparsity=DEFAULT_SPARSITY))
    kept = kept_patches(budget, grid * grid, manifest)
    if manifest is not None and manifest.view(split).num_views:
        _check_stored_crops(manifest, split, path, budget, holdout)
    num_patches = grid * grid
    stages = counts = None
    if trained.prunes_tokens:
        stages = vit.default_stages(model, len(getattr(probe.network, "blocks", ())))
        vit.check_selector(probe.network, stages)
        counts = budget.stage_counts(num_patches, len(stages))
        kept = counts[-1]
    if match_patches:
        recipe = replace(recipe, epochs=ceil_count(recipe.epochs * num_patches / kept))
    chooser = OnlineSelector(selector, weights, online, budget, image_size) if tickets == ONLINE else None
    if trained.low_resolution:
        grid = small_grid_side(num_patches, kept)
        image_size = grid * patch_size

    cfg = getattr(probe.network, "pretrained_cfg", {})
    eval_view = View(
        "center", image_size, recipe.crop_pct or cfg.get("crop_pct", 1.0), cfg.get("interpolation", "bicubic"),
        cfg["mean"], cfg["std"],
    )  # fmt: skip
    drops = manifest is not None and trained.uses_tickets
    seen = manifest.view(split).kind if drops else AUTO_VIEW
    method = method_name(manifest.record) if drops else STAGED
    chosen = {
        seen.replace(":", ""): seen != AUTO_VIEW,
        method: method != STAGED,
        "online": tickets == ONLINE,
        f"rc-{rc}": rc != "fixed",
        "no-align": not align,
        "black": occlude == "black",
        "stem-occlusion": stem_occlusion,
    }
    chosen |= {} if fold is None else {fold.variant: True}
    variant = "-".join(name for name, is_so in chosen.items() if is_so)
    root = out or run_name(dataset.name, model, path, budget, seed, variant)
    config = {
        "format_version": FORMAT_VERSION,
        "dataset": dataset.name,
        "root": absolute(dataset.root),
        "split": split,
        "shards_sha256": shards_sha256(dataset.shards(split)),
        "model": timm_name(model),
        "path": path,
        "sparsity": budget.sparsity if trained.has_budget else None,
        "keep_rate": budget.keep_rate if trained.has_budget else None,
        "kept": kept if trained.has_budget else num_patches,
        "num_patches": num_patches,
        "can_drop_patches": probe.can_drop_patches,
        "occlude": occlude or OCCLUSIONS[0],
        "stem_occlusion": stem_occlusion,
        "seed": seed,
        "mask_seed": seed if mask_seed is None else mask_seed,
        "rc": rc,
        "align": align,
        "match_patches": match_patches,
        "read_off": path == "lt" and manifest is not None and budget != manifest.budget,
        "stages": stages,
        "counts": counts,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "image_size": image_size,
        "patch_size": patch_size,
        "precision": precision,
        "num_classes": len(dataset.classes),
        "holdout": holdout,
        "without_fold": without_fold,
        "limit": recipe.limit,
        "init": init,
        "tickets_dir": None if manifest is None else absolute(tickets),
        "tickets": chooser.record() if chooser else manifest and TicketProvenance.of_training(manifest, split).entries,
        "labels_dir": None if maps is None else absolute(labels),
        "labels": None if maps is None else {name: maps.record[name] for name in LABEL_FIELDS},
        "recipe": recipe.as_dict(),
        "eval_view": {"view": eval_view.kind, "preprocessing": eval_view.preprocessing()},
    }
    config = RunConfig.from_record(without_secrets(config))
    return Run(root, dataset, manifest, recipe, config, grid, kept, chooser, maps, init)


def _check_model(
    probe: Model, model: str, path: str, recipe: Recipe, occlude: str | None, stem_occlusion: bool
) -> None:
    """Raise UserError for options that the model has no use for."""
    if recipe.mix_token and not probe.has_token_outputs:
        raise UserError(f"expected a model with logits for tokens for --mix-token, such as lvvit_small, found {model}")
    if recipe.mix_token and PATHS[path].prunes_tokens:
        raise UserError("--mix-token: expected another path, as selector mixes no tokens, found selector")
    if recipe.mix_token and (recipe.mixup or recipe.cutmix):
        raise UserError("expected --mix-token, or --mixup and --cutmix, found both")
    if stem_occlusion and not probe.has_token_outputs:
        raise UserError(f"--stem-occlusion: expected LV-ViT, whose stem sees dropped patches, found {model}")
    if occlude and probe.can_drop_patches and not stem_occlusion:
        with_stem = " without --stem-occlusion" if probe.has_token_outputs else ""
        raise UserError(f"--occlude: expected a model that cannot drop patches, found {model}{with_stem}")


def _label_maps(root: str, dataset: Dataset, split: str, model: str, probe: Model) -> LabelMaps:
    """The label maps at `root`; raises UserError where they, dataset and model do not go together."""
    if not probe.has_token_outputs:
        raise UserError(f"expected a model with logits for tokens for --labels, such as lvvit_small, found {model}")
    maps = LabelMaps.open(root)
    check_belongs(maps, dataset, [split])
    if (found := maps.num_classes) != len(dataset.classes):
        raise UserError(f"{root}: expected labels of the dataset's {len(dataset.classes)} classes, found {found}")
    return maps


def _check_stored_crops(manifest: Manifest, split: str, path: str, budget: Budget, holdout: float) -> None:
    """Raise UserError for what masks of random crops cannot give."""
    kind = manifest.view(split).kind
    if holdout:
        raise UserError(f"expected tickets of a fixed view to score a holdout on, found {kind} in {manifest.root}")
    if path == "lt" and budget != manifest.budget:
        raise UserError(
            f"expected the manifest's own {manifest.budget.label}, found {budget.label}: {kind} holds masks"
        )


def _own_size(model: str) -> int:
    return registry.sketch(model).pretrained_cfg["input_size"][-1]
