"""A finished run as it is used: on all patches, on those that it selects itself, or on those of a selector."""

from dataclasses import dataclass, replace

from torch import nn

from vit_tickets.pipeline.datasets.shards import INDEX, Dataset
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.networks.pretrained import check_key, open_pretrained
from vit_tickets.pipeline.runs.choices import SCORERS
from vit_tickets.pipeline.runs.config import CLASSES, FINAL, RunConfig
from vit_tickets.pipeline.runs.paths import PATHS, TrainingPath
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.evaluation.pictures import Chooser, Classifier
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.models.pruned import PrunedViT
from vit_tickets.train.models.saved import load_weights
from vit_tickets.train.models.sparse import SparseViT, model_of
from vit_tickets.train.runs.run import kept_patches

NEEDED = ("model", "path", "eval_view", "image_size", "patch_size", "num_classes")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """On which patches a run classifies: on all, on those that it selects itself, or on those of a selector."""

    on: str | None = None  #: `all` or `self`; None for `all`, or `self` of a run on path `learned`
    selector: str | None = None
    weights: str | None = None
    weights_key: str | None = None
    #: Instead of the run's own.
    budget: Budget | None = None

    def check(self) -> None:
        """Raise UserError for options that do not go together."""
        if self.selector is not None and self.on == "self":
            raise UserError("expected --on self or --selector, found both")
        if self.weights is not None and self.selector is None:
            raise UserError(
                f"--weights: expected --selector, the model that they are of, found none beside {self.weights}"
            )
        check_key(self.weights, self.weights_key)

    def by_itself(self, path: TrainingPath) -> bool:
        """Whether a run on `path` selects the patches itself; raises UserError for a budget of what selects none."""
        on = self.on or ("self" if path.chooses_patches and self.selector is None else "all")
        if self.budget is not None and self.selector is None and on == "all":
            raise UserError(f"{self.budget}: expected --on self or --selector, found neither: all patches are seen")
        return on == "self"


def open_classifier(root: str, selection: Selection) -> Classifier:
    """The finished run at `root`; raises UserError where it is none, or cannot classify on those patches."""
    selection.check()
    config = RunConfig.read(root, NEEDED)
    weights = files.join(root, FINAL)
    if not files.exists(weights):
        raise UserError(f"{root} is not finished; resume it with `vit-tickets train ... --resume`")
    grid = config.image_size // config.patch_size
    path, model = PATHS[config.path], model_of(config, grid)
    if isinstance(model, SparseViT) and path.chooses_patches:
        model = LearnedViT(model.network, config.scorer or SCORERS[0])
    load_weights(model, root)
    names = class_names(root, config)
    numbers = [str(number) for number in range(config.num_classes)]
    shown = f"all {grid**2} patches" if config.can_drop_patches else "whole images"
    known = Classifier(model.eval(), config.eval_view, names or numbers, shown, has_names=names is not None)
    by_itself = selection.by_itself(path)
    if by_itself and isinstance(model, LearnedViT):
        return _by_its_scorer(known, config, selection)
    if by_itself:
        return _on_itself(known, model.network, config, selection)
    return _by_selector(known, grid, config, selection) if selection.selector is not None else known


def class_names(root: str, config: RunConfig) -> list[str] | None:
    """The names that the run recorded, or those of its dataset where it was; None where neither is known."""
    recorded = files.join(root, CLASSES)
    if files.exists(recorded):
        names = files.read_json(recorded)
    elif config.root and files.exists(files.join(config.root, INDEX)):
        names = Dataset.open(config.root).classes
    else:
        return None
    fits = isinstance(names, list) and len(names) == config.num_classes and all(isinstance(n, str) for n in names)
    return list(names) if fits else None


def _budget(config: RunConfig, selection: Selection, option: str) -> Budget:
    if PATHS[config.path].low_resolution:
        raise UserError(f"{option}: expected a run at full resolution, found one on path {config.path}")
    if budget := selection.budget or config.budget:
        return budget
    raise UserError(f"{option}: expected --sparsity, --keep-rate or --tokens, as a run on {config.path} has no budget")


def _by_its_scorer(known: Classifier, config: RunConfig, selection: Selection) -> Classifier:
    """The run on as many patches as it was trained on, or of another budget, which its scorer chooses."""
    kept, patches = config.kept, config.num_patches
    if selection.budget is not None:
        kept = kept_patches(selection.budget, patches, None, stages=1)
    return replace(known, choose=kept, shown=f"the {kept} of {patches} patches that its scorer chooses")


def _on_itself(known: Classifier, network: nn.Module, config: RunConfig, selection: Selection) -> Classifier:
    """The run with its own staged selection: it computes fewer patches after each stage, and needs no other network."""
    budget = _budget(config, selection, "--on self")
    try:
        checked = vit.check_is_vit(network)
        stages = config.stages or vit.default_stages(config.model, len(checked.blocks))
        patches = checked.patch_embed.num_patches
        own = config.counts if selection.budget is None else None
        counts = own or budget.stage_counts(patches, len(stages))
        model = PrunedViT(checked, stages, counts).eval()
    except UserError as error:
        raise UserError(f"--on self: {error.message}") from None
    left = ", ".join(map(str, counts))
    blocks = ", ".join(map(str, stages))
    shown = f"{left} of {patches} patches after block {blocks}" + (", one after the other" if len(stages) > 1 else "")
    return replace(known, model=model, shown=f"its own selection: {shown}")


def _by_selector(known: Classifier, grid: int, config: RunConfig, selection: Selection) -> Classifier:
    """The run on the patches that another network chooses of the same part of the picture."""
    budget = _budget(config, selection, "--selector")
    opened = open_pretrained(selection.selector or "", selection.weights, vit.check_is_vit, selection.weights_key)
    network = vit.check_is_vit(opened.network)
    stages = vit.default_stages(opened.model, len(network.blocks))
    vit.check_selector(network, stages)
    record = {name: opened.view_record[name] for name in ("image_size", "interpolation", "mean", "std")}
    counts = budget.stage_counts(network.patch_embed.num_patches, len(stages))
    own = selection.budget is None and PATHS[config.path].drops_patches
    kept = config.kept if own else kept_patches(budget, grid**2, None)
    chooser = Chooser(network, View("full", **record), stages, counts, grid, kept)
    return replace(known, chooser=chooser, shown=f"the {kept} of {grid**2} patches that {opened.model} chooses")
