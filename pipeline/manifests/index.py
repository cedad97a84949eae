"""ticket.json and labels.json as typed records; the first fault in one is reported in one line.

Reading a JSON file raises only UserError, whatever it contains.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.geometry.patches import KINDS_OF_BUDGET, Budget, grid_side
from vit_tickets.pipeline.geometry.view_records import Side, read_view
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.methods import CROSS_FIT, STAGED, Method, method_name
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import Count, Finite, Name, Positive, shown, typed

# Recorded per split in ticket.json; the rest is the same in every file of a manifest.
PER_SPLIT = ("view", "preprocessing")
MAX_PATCHES = 1 << 16
MAX_MAP_SIZE = 1 << 12
MAX_LABEL_CLASSES = 1 << 16
PLACES = 5

Patches = Annotated[int, Meta(ge=1, le=MAX_PATCHES, description=f"a count in 1..{MAX_PATCHES}")]
Cells = Annotated[int, Meta(ge=1, le=MAX_MAP_SIZE, description=f"a count in 1..{MAX_MAP_SIZE}")]
Classes = Annotated[int, Meta(ge=1, le=MAX_LABEL_CLASSES, description=f"a count in 1..{MAX_LABEL_CLASSES}")]
Counts = Annotated[tuple[Positive, ...], Meta(min_length=1, description="a list of counts")]
Share = Annotated[float, Meta(ge=0, lt=1, description="a number in [0, 1)")]
Hashes = Annotated[tuple[str, ...], Meta(description="the SHA-256 of each fold's selector")]


class SplitSums(msgspec.Struct, frozen=True, kw_only=True):
    """An index's entry of a split."""

    #: rows of its files
    samples: Count
    #: rows with an error
    errors: Count


class SplitRecord(SplitSums, frozen=True, kw_only=True):
    """ticket.json's entry of a split."""

    #: kind of the view that the tickets were computed on
    view: Any
    preprocessing: Any
    #: view crops:V: whether the rows hold ranks
    crop_ranks: bool = False

    @property
    def seen(self) -> View:
        """The view that the tickets were computed on."""
        return View.from_record(self.view, self.preprocessing)


class TicketRecord(msgspec.Struct, frozen=True, kw_only=True):
    """ticket.json. Sizes and counts are those of the selector's own grid; `on` gives those of a split's."""

    #: N: patches of the grid
    num_patches: Patches
    #: patches that each stage keeps; the last is k
    counts: Counts
    #: side of the selector's input in pixels
    image_size: Side
    #: seed of the random subsets
    mask_seed: Annotated[int, Meta(description="an integer")]
    #: name of the dataset
    dataset: Name
    splits: dict[str, SplitRecord]
    #: name of the selector in timm
    selector: str | None = None
    weights_sha256: str | None = None
    #: how patches were scored; None stands for the staged identification
    method: str | None = None
    #: the block that the method reads, counted from 1
    block: int | None = None
    #: SHA-256 of the weights that marked each fold
    cross_fit: Hashes | None = None
    #: share of patches dropped; None where `keep_rate` or `tokens` was asked for
    sparsity: Share | None = None
    #: share of patches that each stage keeps
    keep_rate: Finite | None = None
    #: number of patches kept, on the selector's own grid and on a finer one
    tokens: Patches | None = None
    #: blocks that drop patches, counted from 1
    stages: tuple[Any, ...] | None = None
    #: G: cells along a side of the grid; 0 where it is not recorded
    grid: Positive = 0
    #: side of a patch in pixels; 0 where it is not recorded
    patch_size: Positive = 0
    #: arithmetic of the selector
    precision: str = "fp32"
    #: whether rows hold predictions; None where it is not recorded
    predictions: bool | None = None
    #: whether rows of views that show each image once hold scores
    scores: bool = True
    #: images with more pixels became an error
    max_pixels: Positive = MAX_PIXELS
    #: the run, or with `cross_fit` the runs, that trained the selector
    selector_run: str | tuple[str, ...] | None = None
    #: their training time
    selector_seconds: Finite | None = None
    #: seconds of selection
    wall_time_s: Finite | None = None

    @classmethod
    def read(cls, record: dict[str, Any]) -> "TicketRecord":
        """The content of ticket.json; raises UserError for the first field that is wrong."""
        ticket = typed(record | {"splits": _read_splits(record.get("splits"), SplitRecord)}, cls)
        ticket._check_counts()
        ticket._check_method()
        views = {split: _view_of(split, entry) for split, entry in ticket.splits.items()}
        ticket._check_budget()
        for split, view in views.items():
            try:
                ticket.on(view)
            except (UserError, ValueError, ArithmeticError) as error:
                raise UserError(f"splits: {split}: expected a grid and a budget that can be doubled: {error}") from None
        return ticket

    @property
    def kept(self) -> int:
        """k: patches in every ticket."""
        return self.counts[-1]

    @property
    def budget(self) -> Budget:
        return Budget(self.sparsity, self.keep_rate, self.tokens)

    @property
    def scored_by(self) -> str:
        """Name of the method."""
        return self.method or STAGED

    @property
    def method_name(self) -> str:
        """Name of method and kind of selection: `staged`, `rollout`, `cross-fit`, `rollout-cross-fit`."""
        return method_name({"method": self.method, CROSS_FIT: self.cross_fit})

    def on(self, view: View) -> "TicketRecord":
        """The same with the sizes and counts of a split of `view`; see `finer_sizes`."""
        return replace(self, **finer_sizes(self.num_patches, len(self.counts), self.budget, view))

    def _check_counts(self) -> None:
        N, counts = self.num_patches, self.counts
        if list(counts) != sorted(counts, reverse=True) or counts[0] > N:
            raise UserError(f"counts: expected at most {N}, not increasing, found {shown(counts)}")
        if self.stages is not None and len(self.stages) != len(counts):
            raise UserError(f"stages: expected as many as counts, {len(counts)}, found {shown(self.stages)}")

    def _check_method(self) -> None:
        try:
            Method(self.scored_by, self.block)
        except UserError as error:
            raise UserError(f"method: {error}") from None

    def _check_budget(self) -> None:
        N, counts = self.num_patches, self.counts
        try:
            budget = self.budget
            kept = budget.stage_counts(N, len(counts))[-1]
        except UserError as error:
            raise UserError(f"{', '.join(KINDS_OF_BUDGET)}: {error}") from None
        if budget.keep_rate is None and kept != counts[-1]:
            raise UserError(f"counts: expected the last to be {kept} at {budget}, found {counts[-1]}")


class LabelRecord(msgspec.Struct, frozen=True, kw_only=True):
    """labels.json."""

    #: M: cells along a side of every map
    map_size: Cells
    #: P: classes stored per cell
    places: Any
    #: classes of the annotator and of the dataset
    num_classes: Classes
    preprocessing: Any
    #: name of the dataset
    dataset: Name
    splits: dict[str, SplitSums]
    #: side of the annotator's input in pixels
    image_size: Any = None
    #: name of the annotator in timm
    annotator: str | None = None
    weights_sha256: str | None = None
    #: arithmetic of the annotator
    precision: str = "fp32"
    #: the run that trained the annotator
    annotator_run: str | None = None

    @classmethod
    def read(cls, record: dict[str, Any]) -> "LabelRecord":
        """The content of labels.json; raises UserError for the first field that is wrong."""
        labels = typed(record | {"splits": _read_splits(record.get("splits"), SplitSums)}, cls)
        if labels.places != (expected := min(PLACES, labels.num_classes)) or isinstance(labels.places, bool):
            raise UserError(f"places: expected {expected} of {labels.num_classes} classes, found {labels.places!r}")
        try:
            size = read_view("full", labels.preprocessing).image_size
        except UserError as error:
            raise UserError(f"preprocessing: expected a view of the whole image: {error}") from None
        if labels.image_size != size:
            raise UserError(f"image_size: expected {size} as in preprocessing, found {labels.image_size!r}")
        return labels


Sums = TypeVar("Sums", bound=SplitSums)


def _read_splits(splits: Any, kind: type[Sums]) -> dict[str, Sums]:
    """An index's entries by split; raises UserError for the first that is wrong."""
    if not isinstance(splits, dict) or not splits:
        raise UserError(f"splits: expected entries by name, found {shown(splits)}")
    found = {}
    for split, entry in splits.items():
        try:
            found[split] = typed(entry if isinstance(entry, dict) else {}, kind)
        except UserError as error:
            raise UserError(f"splits: {split}: {error}") from None
    return found


def _view_of(split: str, entry: SplitRecord) -> View:
    try:
        return read_view(entry.view, entry.preprocessing)
    except UserError as error:
        raise UserError(f"splits: {split}: {error}") from None


def finer_sizes(num_patches: int, num_stages: int, budget: Budget, view: View) -> dict[str, Any]:
    """The entries of ticket.json that differ for a split of `view`: none unless its grid is finer.

    The counts are those of the same budget; the last is k. Of crops-mean:V they stand for the averaged map.
    """
    if view.grid_scale == 1:
        return {}
    num_patches *= view.grid_scale**2
    return {
        "num_patches": num_patches,
        "grid": grid_side(num_patches),
        "counts": budget.stage_counts(num_patches, num_stages),
        "image_size": view.image_size,
    }


def true_of(record: dict[str, Any], view: View) -> dict[str, Any]:
    """The entries that all splits share, `record`, as they apply to a split of `view`; see `finer_sizes`."""
    budget = Budget.of(record)
    own = finer_sizes(record["num_patches"], len(record["counts"]), budget, view)
    return record | own | {"counts": list(own.get("counts", record["counts"]))}
