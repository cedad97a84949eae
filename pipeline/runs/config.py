"""The identity of a run: config.json, written by `train` and read by all that use the run."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from vit_tickets.pipeline.geometry.patches import KINDS_OF_BUDGET, Budget
from vit_tickets.pipeline.geometry.view_records import MAX_SIDE, view_fault
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.tables import difference
from vit_tickets.pipeline.runs.choices import OCCLUSIONS, Choices
from vit_tickets.pipeline.runs.parts import Environment, ImageMacs, Labels
from vit_tickets.pipeline.runs.provenance import TicketProvenance, read_tickets
from vit_tickets.pipeline.runs.weights import InitialWeights
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import WORDS, fields_fault, is_count
from vit_tickets.pipeline.system.redaction import without_secrets
from vit_tickets.pipeline.weights.record import SparseWeights

CONFIG, FINAL, BEST, LAST = "config.json", "final.safetensors", "best.safetensors", "last.pt"
SCORER = "scorer.safetensors"  # of path `learned`, beside the weights under timm's names
CLASSES = "classes.json"  # the names of the dataset's classes, for `predict`
FORMAT_VERSION = 1
SIZES = {"num_classes": 1 << 20, "image_size": MAX_SIDE, "patch_size": MAX_SIDE}
# No part of what makes two runs the same: where things lie, and what follows from the rest.
APART_FROM_IDENTITY = ("root", "tickets_dir", "labels_dir", "macs")
# Entries of config.json in their order; those that are not named follow, and the environment comes last.
ORDER = (
    *("format_version", "dataset", "root", "split", "shards_sha256", "model", "path", "sparsity", "keep_rate", "kept"),
    *("num_patches", "can_drop_patches", "occlude", "stem_occlusion", "seed", "mask_seed", "rc", "ticket", "align"),
    *("match_patches", "read_off", "stages", "counts", "epochs", "batch_size", "image_size", "patch_size", "precision"),
    *("num_classes", "holdout", "without_fold", "limit", "init", "tickets_dir", "tickets", "labels_dir", "labels"),
    *("recipe", "eval_view"),
)
# Entries that are left out where they say nothing.
OPTIONAL = (
    "mean_rank",
    "run",
    "weights_key",
    "initial",
    "tokens",
    "cut_from",
    "macs",
    "weights",
    "scorer",
    "only_fold",
)
# Besides the choices, what runs that are compared should share; and the choices that they differ in.
SETTINGS = (
    *("split", "epochs", "batch_size", "image_size", "patch_size", "num_classes", "holdout", "limit", "rc", "align"),
    *("precision", "occlude", "stem_occlusion", "without_fold"),
)
APART = ("model", "path", "init", *KINDS_OF_BUDGET, "match_patches", "seed", "mask_seed", "ticket", "scorer")
OF_ROW = ("temperature", "finish_dense")  # fields of the recipe that the row of a report names
# Of every run that `train` made; None in folders that hold less.
RECORDED: Any = None
NOWHERE = Environment()


@dataclass(frozen=True, kw_only=True)
class RunConfig(Choices):
    """config.json: the choices of `Choices`, what `train` made of them, and where it ran.

    Defaults are what the runs of older versions, which did not record a field, were made with.
    """

    model: str = RECORDED
    path: str = RECORDED
    seed: int = RECORDED
    occlude: str = OCCLUSIONS[0]
    precision: str = "fp32"
    format_version: int | None = FORMAT_VERSION
    #: Name of the dataset.
    dataset: str = RECORDED
    #: Its folder.
    root: str = RECORDED
    #: The split that was trained on.
    split: str = "train"
    #: SHA-256 over its shards' names, samples and SHA-256s.
    shards_sha256: str | None = None
    #: k: patches that the run keeps.
    kept: int = RECORDED
    #: N: patches of an image.
    num_patches: int = RECORDED
    #: False for models that see dropped patches as one colour.
    can_drop_patches: bool = True
    #: Whether its tickets were read off the ranks of a manifest for another budget.
    read_off: bool = False
    #: Path `selector`: blocks that drop patches, counted from 1.
    stages: tuple[int, ...] | None = None
    #: Path `selector`: patches that each stage keeps.
    counts: tuple[int, ...] | None = None
    epochs: int = RECORDED
    #: Path `short`: epochs of the training on tickets whose cost it has; None on other paths.
    cut_from: int | None = None
    #: Images of a step, over all ranks.
    batch_size: int = RECORDED
    #: Side of the training view in pixels.
    image_size: int = RECORDED
    #: Side of a patch in pixels.
    patch_size: int = RECORDED
    num_classes: int = RECORDED
    #: Number of training images; None for all.
    limit: int | None = None
    #: Folder of the manifest.
    tickets_dir: str | None = None
    tickets: TicketProvenance | None = None
    #: With `ticket` mean: the rank of every patch in the mean keep map of its training images.
    mean_rank: str | None = None
    #: Folder of the label maps.
    labels_dir: str | None = None
    labels: Labels | None = None
    #: Fields of the recipe.
    recipe: dict[str, Any] = RECORDED
    #: The view of an image that evaluation shows.
    eval_view: View = RECORDED
    environment: Environment = NOWHERE
    #: Multiply-adds of one image, which follow from the rest; None where they were not counted.
    macs: ImageMacs | None = None
    #: Folder of the run that `evaluate --out` scored; None in a run's own.
    run: str | None = None
    #: Name of the set of weights in the file `init`; None where it was not named.
    weights_key: str | None = None
    #: What `init` named; None for random weights, and in the runs of older versions.
    initial: InitialWeights | None = None
    #: Which weights are masked; None for dense ones.
    weights: SparseWeights | None = None
    #: Entries that this version does not know.
    others: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, run: str, needed: tuple[str, ...] = ()) -> "RunConfig":
        """RUN/config.json; raises UserError where it is missing or malformed, or lacks one of `needed`."""
        path = files.join(run, CONFIG)
        record = files.read_json(path)
        try:
            return cls.from_record(record, needed)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def from_record(cls, record: Any, needed: tuple[str, ...] = ()) -> "RunConfig":
        """The config that the JSON value `record` holds, of whatever version.

        Args:
            record: of config.json; entries that older versions did not have may be missing.
            needed: entries that must be there.

        Raises:
            UserError: an entry is of the wrong type, or one of `needed` is missing.
        """
        if not isinstance(record, dict):
            raise UserError(f"expected the settings of a run, found a {type(record).__name__}")
        if fault := fields_fault(record, KINDS, needed) or _size_fault(record):
            raise UserError(fault)
        version = record.get("format_version", None if "format_version" in needed else FORMAT_VERSION)
        if version != FORMAT_VERSION:
            raise UserError(f"expected format version {FORMAT_VERSION}, found {version!r}")
        given = {name: value for name, value in record.items() if value is not None}
        own = {name: _READ.get(name, _unchanged)(given.pop(name)) for name in OWN if name in given}
        environment = Environment(**{name: given.pop(name) for name in ENVIRONMENT if name in given})
        others = {name: given[name] for name in given if name not in OWN}
        return cls(**own, environment=environment, others=others)

    def record(self) -> dict[str, Any]:
        """What config.json holds, in its order."""
        own = {
            name: getattr(self, name) for name in (*ORDER, *(name for name in OWN if name not in (*ORDER, *OPTIONAL)))
        }
        own["tickets"] = self.tickets and self.tickets.entries
        own["labels"] = self.labels and asdict(self.labels)
        own["eval_view"] = self.eval_view and {
            "view": self.eval_view.kind,
            "preprocessing": self.eval_view.preprocessing(),
        }
        optional = asdict(self.environment) | {name: getattr(self, name) for name in OPTIONAL}
        optional["macs"] = self.macs and asdict(self.macs)
        optional["initial"] = self.initial and asdict(self.initial)
        optional["weights"] = self.weights and self.weights.record()
        return own | {name: value for name, value in optional.items() if value is not None} | self.others

    def without_secrets(self) -> "RunConfig":
        """The same, with every text `redacted`."""
        return RunConfig.from_record(without_secrets(self.record()))

    def difference(self, found: "RunConfig", recipe_defaults: Mapping[str, Any]) -> str | None:
        """The first entry in which `found` is another run, as `name: expected ..., found ...`; None if it is the same.

        Places, the environment and the costs of tickets make no difference. Initial weights are told apart by their
        SHA-256, or by where they were where an older run did not record it.

        Args:
            found: the config of the other run.
            recipe_defaults: values of the recipe's fields that an older run did not record.
        """
        both = self.initial is not None and found.initial is not None
        return difference(self._identity(recipe_defaults, both), found._identity(recipe_defaults, both))

    def _identity(self, recipe_defaults: Mapping[str, Any], by_sha256: bool) -> dict[str, Any]:
        identity = {
            name: value for name, value in self.record().items() if name not in (*APART_FROM_IDENTITY, *ENVIRONMENT)
        }
        identity["recipe"] = {**recipe_defaults, **self.recipe}
        identity["tickets"] = self.tickets and self.tickets.identity
        identity["weights"] = self.weights and self.weights.identity
        identity["initial"] = self.initial.sha256 if by_sha256 and self.initial else None
        if by_sha256:
            identity |= {"init": None, "weights_key": None}
        return json.loads(json.dumps(identity))

    @property
    def budget(self) -> Budget | None:
        """None for runs that have no budget; raises UserError where two are recorded, or one that is none."""
        given = self.sparsity, self.keep_rate, self.tokens
        return None if given == (None, None, None) else Budget(*given)

    @property
    def first_epoch(self) -> int:
        """The epoch at which training begins, counted from 0."""
        return self.weights.start_epoch if self.weights else 0

    @property
    def depth(self) -> int | None:
        """Blocks of the network, where they are fewer than the model's own."""
        return self.weights.depth if self.weights else None

    @property
    def trained_epochs(self) -> int | None:
        """Epochs that the run itself trains; None where none is recorded."""
        return self.epochs and self.epochs - self.first_epoch

    @property
    def settings(self) -> dict[str, Any]:
        """What runs that are compared should share: the recipe's fields and the run's own, the latter winning."""
        names = dict.fromkeys(SETTINGS) | dict.fromkeys(choice.name for choice in fields(Choices))
        own = {name: getattr(self, name) for name in names if name not in APART}
        own = {name: value for name, value in own.items() if value is not None or name not in OPTIONAL}
        begun = {} if self.init is None else {"initial weights": self.begun_with}
        recipe = {name: value for name, value in (self.recipe or {}).items() if name not in OF_ROW}
        return {**recipe, **own, "labels": self.labels and self.labels.annotator, **begun}

    @property
    def begun_with(self) -> str | None:
        """The start of the SHA-256 of the initial weights, or where they were if that is all that is known."""
        return self.initial.sha256[:12] if self.initial and self.initial.sha256 else self.init


ENVIRONMENT = tuple(each.name for each in fields(Environment))
OWN = tuple(each.name for each in fields(RunConfig) if each.name not in ("environment", "others"))


def _kind_of(annotation: Any) -> type | None:
    """The JSON type of a field; None for lists, whose entries nothing reads without a check."""
    alternatives = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    kind = get_origin(alternatives[0]) or alternatives[0]
    return None if kind is tuple else kind if kind in WORDS else dict


KINDS = {
    name: kind
    for cls in (RunConfig, Environment)
    for name, annotation in get_type_hints(cls).items()
    if name not in ("format_version", "environment", "others") and (kind := _kind_of(annotation))
}


def _size_fault(record: dict[str, Any]) -> str | None:
    for name, most in SIZES.items():
        if (value := record.get(name)) is not None and not (is_count(value) and 0 < value <= most):
            return f"{name}: expected a count in 1..{most}, found {value}"
    return None


def _view(record: dict[str, Any]) -> View:
    if fault := view_fault(record):
        raise UserError(fault)
    return View.from_record(record["view"], record["preprocessing"])


def _labels(record: dict[str, Any]) -> Labels:
    return Labels(**{each.name: record.get(each.name) for each in fields(Labels)})


def _unchanged(value: Any) -> Any:
    return value


_READ = {
    "eval_view": _view,
    "tickets": read_tickets,
    "labels": _labels,
    "macs": ImageMacs.from_record,
    "initial": InitialWeights.from_record,
    "weights": SparseWeights.from_record,
    "stages": tuple,
    "counts": tuple,
}
