"""What `train` is asked for, besides the dataset and the recipe."""

from dataclasses import dataclass, replace

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.folds import Fold
from vit_tickets.pipeline.runs.choices import Choices
from vit_tickets.pipeline.runs.families import short_name
from vit_tickets.pipeline.runs.paths import DROPPING, PATHS, TRAINED, TrainingPath
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import option
from vit_tickets.pipeline.weights import ticket
from vit_tickets.pipeline.weights.choices import WeightChoices
from vit_tickets.pipeline.weights.places import epoch_of
from vit_tickets.pipeline.weights.record import REINIT, TICKET
from vit_tickets.pipeline.weights.ticket import WeightTicket
from vit_tickets.train.recipes.presets import FINE_TUNING
from vit_tickets.train.recipes.recipe import Recipe

ONLINE = "online"  # instead of a manifest


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where tickets and label maps come from, and where the run goes: config.json records what they hold."""

    tickets: str | None = option(
        "The manifest, as written by `vit-tickets generate`. Or online: --selector chooses on every batch, as in the "
        "authors' programs.",
        default=None,
    )
    selector: str | None = option("With --tickets online: a timm ViT or a finished run.", default=None)
    weights: str | None = option("With --selector: a file instead of the hub's weights.", default=None)
    weights_key: str | None = option(
        "With --init FILE or --weights FILE: of a file with several sets of weights the one to take, such as "
        "model_ema.  [default: averaged (EMA) weights, where there are any]",
        default=None,
        metavar="NAME",
    )
    online: str = option(
        "With --tickets online: run the selector to its end, as the authors do, or only to the last identification "
        "(the same tickets).",
        default="full",
        choices=("full", "truncated"),
        show_default=True,
    )
    labels: str | None = option(
        "Label maps, as written by `vit-tickets labels`, for models that classify every token (LV-ViT). "
        "[default: the class label stands for every token]",
        default=None,
    )
    out: str | None = option("The run's folder.  [default: runs/<dataset>-<model>-<path>-s<S>-seed<n>]", default=None)


@dataclass(frozen=True, kw_only=True)
class Request(Choices, WeightChoices, Sources):
    """What one run is asked to be."""

    #: The split to train on.
    split: str = "train"

    @property
    def trained_on(self) -> TrainingPath:
        return PATHS[self.path]

    @property
    def fine_tunes(self) -> bool:
        """Whether it begins with weights of other training than its own: not where it goes on at their epoch."""
        return self.init is not None and not self.start_epoch and not self._begins_again

    @property
    def _begins_again(self) -> bool:
        """Whether it begins with what another run of its kind began with, as `--start-epoch 0` says of such weights."""
        return self.start_epoch == 0 and self.masks is None and epoch_of(self.init or "") == 0

    @property
    def is_online(self) -> bool:
        return self.tickets == ONLINE

    @property
    def manifest(self) -> str | None:
        """The folder of the manifest."""
        return None if self.is_online else self.tickets

    @property
    def budget(self) -> Budget | None:
        """The budget that was asked for; None for the manifest's. Raises UserError for two."""
        return Budget.chosen(self.sparsity, self.keep_rate, self.tokens)

    @property
    def fold(self) -> Fold | None:
        """The fold that is left out."""
        return None if self.without_fold is None else Fold.parse(self.without_fold)

    @property
    def part(self) -> Fold | None:
        """The fold that alone is trained on."""
        return None if self.only_fold is None else Fold.parse(self.only_fold)

    def on(self, device: str) -> "Request":
        """The same with the precision that `auto` stands for on `device`."""
        if self.precision != "auto":
            return self
        return replace(self, precision="bf16" if device.startswith("cuda") else "fp32")

    def check(self) -> None:
        """Raise UserError for options that do not go together."""
        if self.path not in TRAINED:
            raise UserError(f"expected a path among {', '.join(TRAINED)}, found {self.path!r}")
        self._check_needed()
        self._check_paths()
        if not 0 <= self.holdout < 1:
            raise UserError(f"expected a holdout in [0, 1), found {self.holdout:g}")
        if self.fold is not None and self.holdout:
            raise UserError("expected --holdout or --without-fold, found both")
        if self.part is not None and self.fold is not None:
            raise UserError("expected --only-fold or --without-fold, found both")
        _ = self.budget
        self.check_weights(self.init)

    def weight_ticket(self) -> WeightTicket | None:
        """The ticket of `--masks`, without its masks; None without one.

        Raises UserError where it is none, is of another model, or has not the weights that are asked for.
        """
        if self.masks is None:
            return None
        opened, option = ticket.read(self.masks), f"--masks {self.masks}"
        if short_name(opened.model) != short_name(self.model):
            raise UserError(f"{option}: expected masks of {short_name(self.model)}, found {short_name(opened.model)}")
        check_depth(opened, self.depth, option)
        if self.start == REINIT:
            return opened
        has_weights, epoch = opened.rewind_sha256 is not None, opened.rewind_epoch or 0
        if has_weights and self.init is not None:
            raise UserError(f"{option}: expected no --init beside its own weights of epoch {epoch}, found {self.init}")
        if has_weights and self.start_epoch not in (None, epoch):
            raise UserError(f"{option}: expected --start-epoch {epoch}, that of its weights, found {self.start_epoch}")
        if not has_weights and (self.init is None or self.start == TICKET):
            instead = "`prune --rewind` keeps some, --init gives some, --start reinit draws some"
            raise UserError(f"{option}: expected weights to start from, found none in it; {instead}")
        return opened

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise UserError for settings of the recipe that mean nothing on the path, or without initial weights."""
        has_weights = self.init is not None or (self.masks is not None and self.start != REINIT)
        if not has_weights and (recipe.frozen or recipe.name in FINE_TUNING):
            what = f"--recipe {recipe.name}" if recipe.name in FINE_TUNING else "--frozen"
            raise UserError(f"{what}: expected --init, the weights to start from (pretrained, FILE or RUN), found none")
        if recipe.frozen and self.trained_on.chooses_patches:
            raise UserError(f"--frozen: expected another path, as {self.path} trains its scorer, found {self.path}")
        if recipe.finish_dense and not (self.trained_on.drops_patches or self.trained_on.same_cost):
            expected = "a path that drops patches, lt or rc, or short, which costs as much"
            raise UserError(f"--finish-dense: expected {expected}, found {self.path}")
        if recipe.temperature is None:
            return
        if self.path != "lt":
            raise UserError(f"--temperature: expected path lt, whose tickets it samples, found {self.path}")
        if self.is_online:
            raise UserError("--temperature: expected the ranks of a manifest (--tickets MANIFEST), found online")

    def _check_needed(self) -> None:
        path = self.path
        if self.trained_on.drops_patches and self.tickets is None:
            raise UserError(
                f"--path {path}: expected --tickets MANIFEST, as written by `vit-tickets generate`, found none"
            )
        if self.trained_on.same_cost and self.tickets is None and self.budget is None:
            raise UserError(
                f"--path {path}: expected --tickets or --sparsity, for the cost of training on tickets, found none"
            )
        if self.trained_on.prunes_tokens and self.init is None:
            raise UserError(
                f"--path {path}: expected --init, the dense weights (a file or a run) to fine-tune, found none"
            )
        if self.is_online and self.selector is None:
            raise UserError("--tickets online: expected --selector, a timm ViT or a finished run, found none")
        if self.weights_key is not None and self.init is None and self.weights is None:
            raise UserError("--weights-key: expected a file of weights (--init or --weights), found none")
        if self.selector is not None and not self.is_online:
            found = self.tickets or "none"
            raise UserError(f"--selector: expected --tickets online, as a manifest has its own, found {found}")

    def _check_paths(self) -> None:
        """Raise UserError for options that mean nothing on the path."""
        only = (
            ("--tickets online", self.is_online, ("lt",)),
            (f"--rc {self.rc}", self.rc != "fixed", ("rc",)),
            (f"--ticket {self.ticket}", self.ticket != "own", ("lt",)),
            (f"--scorer {self.scorer}", self.scorer is not None, ("learned",)),
            ("--no-align", not self.align, DROPPING),
        )
        for name, given, paths in only:
            if given and self.path not in paths:
                raise UserError(f"{name}: expected path {' or '.join(paths)}, found {self.path}")
        if self.ticket != "own" and self.is_online:
            raise UserError(f"--ticket {self.ticket}: expected a manifest (--tickets MANIFEST), found online")
        if self.match_patches and not self.trained_on.drops_patches:
            raise UserError(f"--match-patches: expected a path that drops patches, lt or rc, found {self.path}")


def check_depth(masks: WeightTicket, depth: int | None, option: str) -> None:
    """Raise UserError where the masks that `option` names are of another number of blocks. depth: of `--depth`."""
    if masks.depth != depth:
        expected, found = (f"--depth {of}" if of else "no --depth" for of in (masks.depth, depth))
        raise UserError(f"{option}: expected {expected}, as its masks are of such a network, found {found}")
