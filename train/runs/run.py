"""A run, ready to be trained or evaluated."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch

from vit_tickets.pipeline.datasets.shards import Dataset, Shard
from vit_tickets.pipeline.geometry.patches import Budget, scaled_count
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.folds import Fold, hash_word
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks.fitting import naming
from vit_tickets.pipeline.networks.starting import Start
from vit_tickets.pipeline.runs.choices import SCORERS
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.weights.record import REINIT
from vit_tickets.train.accounting.equal_cost import Cut
from vit_tickets.train.data.split import Holdout, SplitData
from vit_tickets.train.data.substitutes import substitute_of
from vit_tickets.train.models.learned import LearnedViT
from vit_tickets.train.models.online import OnlineSelector
from vit_tickets.train.models.sparse import Model, SparseViT, model_of
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.weights import Sparse

STAGES = 3  # of a selector, where no manifest says how many


@dataclass(frozen=True)
class Run:
    """A run, resolved: its settings, and what they name opened."""

    #: Its folder.
    root: str
    dataset: Dataset
    manifest: Manifest | None
    recipe: Recipe
    #: What config.json holds.
    config: RunConfig
    #: Side of the training view's own grid.
    grid: int
    #: Patches that it keeps of that grid.
    kept: int
    #: Chooses the patches in every step; None for a manifest's tickets.
    online: OnlineSelector | None = field(default=None, repr=False)
    labels: LabelMaps | None = None
    #: The weights that it begins with; None for random ones.
    start: Start | None = field(default=None, repr=False)
    #: Path `short`: what it is cut to.
    cut: Cut | None = None
    #: The masked weights; None for a dense run.
    sparse: Sparse | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        return self.config.path

    @property
    def precision(self) -> str:
        return self.config.precision

    @property
    def image_size(self) -> int:
        return self.config.image_size

    @property
    def left_out(self) -> Holdout | Fold | None:
        """The images of its split that it is not trained on."""
        if fold := self.config.without_fold:
            return Fold.parse(fold)
        return Holdout(self.config.holdout) if self.config.holdout else None

    @property
    def eval_view(self) -> View:
        """The run's own evaluation view."""
        return self.config.eval_view

    @cached_property
    def data(self) -> SplitData:
        """The images that it is trained on, with tickets and label maps."""
        return SplitData(
            self.dataset,
            self.config.split,
            self.manifest,
            holdout=None if self.left_out is None else (self.left_out, False),
            fold=Fold.parse(self.config.only_fold) if self.config.only_fold else None,
            limit=self.config.limit,
            labels=self.labels,
            substitute=substitute_of(self.config),
        )

    def place(self, name: str) -> str:
        return files.join(self.root, name)

    def build_model(self) -> Model:
        """The run's model with its initial weights: the same for every path of a seed, as far as they have the sizes
        of one another. They are not masked yet; `--start reinit` draws others, also by the seed."""
        seed, weights = self.config.seed, self.config.weights
        torch.manual_seed(hash_word(f"reinit:{seed}") >> 1 if weights and weights.start == REINIT else seed)
        model = model_of(self.config, self.grid, self.recipe.drop_path)
        if self.start is not None:
            with naming("--model"):
                self.start.load(model.network, self.config.seed)
        if isinstance(model, SparseViT) and PATHS[self.path].chooses_patches:
            return LearnedViT(model.network, self.config.scorer or SCORERS[0], self.config.seed)
        return model


def shards_sha256(shards: list[Shard]) -> str:
    """SHA-256 over names, numbers of samples and SHA-256s of `shards`: identifies the training data."""
    lines = "".join(f"{shard.file} {shard.samples} {shard.sha256}\n" for shard in shards)
    return hashlib.sha256(lines.encode()).hexdigest()


def absolute(path: str) -> str:
    """Local paths from the root, so that a run can be evaluated from anywhere; URLs as they are."""
    return files.filesystem(path)[1] if files.is_local(path) else path


def kept_patches(budget: Budget, num_patches: int, manifest: Manifest | None, stages: int = STAGES) -> int:
    """k on a grid of `num_patches`: c((1 - s) * N), with a keep rate the manifest's share of it, or k tokens.

    stages: how often a keep rate is applied where there is no manifest.
    """
    if budget.keep_rate is None:
        return budget.stage_counts(num_patches, 1)[-1]
    if manifest is None:
        return budget.stage_counts(num_patches, stages)[-1]
    counts = budget.stage_counts(manifest.num_patches, len(manifest.ticket.counts))
    return scaled_count(counts[-1], manifest.num_patches, num_patches)
