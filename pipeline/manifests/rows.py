"""The rows of a manifest's files and their columns, each declared once. manifests/README.md shows the same table.

Legend: R rows of a file, N patches of an image, k of them kept, V crops of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests import contract
from vit_tickets.pipeline.manifests.contract import HALVES, Check, Column


@dataclass(frozen=True)
class Layout:
    """What the columns of a manifest's files depend on."""

    #: N
    num_patches: int
    #: k
    kept: int
    #: whether the selector's predictions are stored
    predictions: bool = False
    #: V of view crops:V; None for other views
    num_views: int | None = None
    #: view crops:V: whether a rank of each crop is stored
    crop_ranks: bool = False
    #: whether scores are stored
    scores: bool = True

    @classmethod
    def of(
        cls,
        num_patches: int,
        kept: int,
        view: View,
        predictions: bool = False,
        crop_ranks: bool = False,
        scores: bool = True,
    ) -> "Layout":
        """The layout of a split of `view`."""
        return cls(num_patches, kept, predictions and not view.num_views, view.num_views, crop_ranks, scores)

    @property
    def row(self) -> "type[Row] | type[CropRow]":
        """The dataclass of its rows."""
        return CropRow if self.num_views else Row


def at_least(least: int) -> Check:
    return Check(lambda layout: f"{least} or more", lambda values, layout: values >= least)


def _not_permutation(rank_N: np.ndarray, layout: Any) -> str:
    values, counts = np.unique(rank_N, return_counts=True)
    twice = values[counts > 1]
    return f"{twice[0]} twice" if len(twice) else f"{values[-1]}"


def _ascending(patch_Rk: np.ndarray, layout: Layout) -> np.ndarray:
    patch_Rk = patch_Rk.astype(np.int32)
    return (np.diff(patch_Rk, axis=1) > 0).all(axis=1) & (patch_Rk[:, -1] < layout.num_patches)


PERMUTATION = Check(
    lambda layout: f"a permutation of 0..{layout.num_patches - 1}",
    lambda rank_RN, layout: (np.sort(rank_RN, axis=1) == np.arange(layout.num_patches)).all(axis=1),
    _not_permutation,
)
ASCENDING = Check(
    lambda layout: f"{layout.kept} patches, ascending, in 0..{layout.num_patches - 1}",
    _ascending,
    lambda value, layout: "others",
)
FINITE = Check(
    lambda layout: "finite numbers",
    lambda values, layout: np.isfinite(values).all(axis=1),
    lambda value, layout: "others",
)
PROBABILITY = Check(lambda layout: "a probability", lambda values, layout: (values >= 0) & (values <= 1))


def _patches(layout: Layout) -> pa.DataType:
    """Lists of patch indices: uint8 up to 256 patches, uint16 beyond."""
    return pa.list_(pa.uint8() if layout.num_patches <= 256 else pa.uint16())


def _all(layout: Layout) -> int:
    return layout.num_patches


def _kept(layout: Layout) -> int:
    return layout.kept


def _predicted(layout: Layout) -> bool:
    return layout.predictions


KEY = Column(pa.string(), "the sample's key in the dataset, unique in a split")
LABEL = Column(pa.int32(), "class index; may be null where there is an `error`", with_error=True, in_full=[at_least(0)])
SIZE = Column(
    pa.int32(),
    "of the source image in pixels, after EXIF orientation; null where there is an `error`",
    with_error=True,
    in_full=[at_least(1)],
)
ERROR = Column(pa.string(), "null, or why this image has no ticket; then the lists are null. Rows are never dropped")

RANK = Column(
    _patches,
    "length N, a permutation of 0..N-1: `rank[p]` is the place of patch p, 0 = most informative",
    "rank",
    length=_all,
    on_read=[PERMUTATION],
    in_full=[PERMUTATION],
)
TICKET = Column(
    _patches,
    "length k, the ticket: the patches with `rank` < k, ascending",
    "lt",
    length=_kept,
    on_read=[ASCENDING],
)
RANDOM = Column(
    _patches,
    "length k, a random subset of the same size, fixed per image by a hash of mask seed and key, ascending",
    "rc",
    length=_kept,
    on_read=[ASCENDING],
)
SCORE = Column(
    HALVES,
    "length N: attention of the CLS token in the last stage where the patch was alive, averaged over heads (not with "
    "`--no-scores`)",
    "score",
    only=lambda layout: layout.scores,
    length=_all,
    in_full=[FINITE],
)
PREDICTION = Column(
    pa.int32(), "the selector's own class (only with `--predictions`)", only=_predicted, in_full=[at_least(0)]
)
CONFIDENCE = Column(
    pa.float32(),
    "the selector's probability for it (only with `--predictions`)",
    only=_predicted,
    in_full=[PROBABILITY],
)
BOXES = Column(
    pa.list_(pa.list_(pa.int32())),
    "V x (x0, y0, x1, y1): the crop in pixels of the source image after EXIF orientation, half-open",
    "box",
)
FLIPS = Column(pa.list_(pa.bool_()), "V: whether the crop was mirrored, left to right, after cropping", "flip")
MASKS = Column(
    pa.list_(pa.binary()),
    "V masks of N bits: bit p % 8 of byte p // 8 says whether patch p of the cropped, then mirrored pixels is in the "
    "ticket; every mask has k bits set",
    "lt",
)
RANKS = Column(
    lambda layout: pa.list_(_patches(layout)),
    "V ranks, each of N as above (only with `--crop-ranks`)",
    "rank",
    only=lambda layout: layout.crop_ranks,
)


@dataclass(frozen=True)
class Row:
    """One image's row of a view that shows each image once; the attributes of its ticket are None with an `error`."""

    key: Annotated[str, KEY]
    label: Annotated[int | None, LABEL]
    height: Annotated[int | None, SIZE] = None
    width: Annotated[int | None, SIZE] = None
    rank_N: Annotated[np.ndarray | None, RANK] = None
    ticket_k: Annotated[np.ndarray | None, TICKET] = None
    random_k: Annotated[np.ndarray | None, RANDOM] = None
    score_N: Annotated[np.ndarray | None, SCORE] = None
    prediction: Annotated[int | None, PREDICTION] = None
    confidence: Annotated[float | None, CONFIDENCE] = None
    error: Annotated[str | None, ERROR] = None


@dataclass(frozen=True)
class CropRow:
    """One image's row of view crops:V; the attributes of its tickets are None with an `error`."""

    key: Annotated[str, KEY]
    label: Annotated[int | None, LABEL]
    height: Annotated[int | None, SIZE] = None
    width: Annotated[int | None, SIZE] = None
    boxes: Annotated[list[tuple[int, int, int, int]] | None, BOXES] = None
    flips: Annotated[list[bool] | None, FLIPS] = None
    masks: Annotated[list[bytes] | None, MASKS] = None
    ranks: Annotated[list[np.ndarray] | None, RANKS] = None
    error: Annotated[str | None, ERROR] = None


AnyRow = Row | CropRow


def schema(layout: Layout) -> pa.Schema:
    """The columns of a manifest's file."""
    return contract.schema(layout.row, layout)


def write_rows(path: str, rows: Sequence[AnyRow], layout: Layout, metadata: dict[str, Any]) -> None:
    """Write one shard's manifest; equal rows and metadata give equal bytes."""
    contract.write(path, rows, layout.row, layout, metadata)
