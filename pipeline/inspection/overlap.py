"""How far the tickets of several manifests of the same images overlap, image by image.

Images are matched by key, however they are packed. If views or grids differ, ranks are first resampled to a common view
and grid (`Ground`), as in training.

Legend: M manifests, P pairs of them, R images with a ticket in all, N cells of the common grid (G x G), k kept.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vit_tickets.pipeline.geometry.patches import scaled_count
from vit_tickets.pipeline.geometry.regrid import axis_weights, rerank, view_affines
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.keyed import OTHER_LABELS, KeyedRows, check_fixed_view, read_keyed
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError

CHUNK = 2048  # images at a time


@dataclass(frozen=True)
class Overlap:
    """The comparison of a split of M manifests, on the R images that have a ticket in all of them."""

    #: the P pairs, as indices of manifests
    pairs: list[tuple[int, int]]
    #: intersection over union of the two tickets, float32 (P, R)
    iou_PR: np.ndarray
    #: Spearman's correlation of the two ranks, float32 (P, R)
    rank_PR: np.ndarray
    #: share of the images whose ticket holds cell p, float64 (M, N)
    keep_MN: np.ndarray
    #: k on the common grid
    kept_M: list[int]
    #: labels in the first manifest, -1 for none, int32 (R,)
    label_R: np.ndarray
    #: G
    grid: int
    #: kind of the common view
    view: str
    #: whether the ranks were resampled
    resampled_M: list[bool]
    #: number of keys in all manifests
    common: int
    #: number of keys that are not in all manifests
    others_M: list[int]
    #: number of images whose label is not the same in all manifests
    other_labels: int

    @property
    def images(self) -> int:
        return self.iou_PR.shape[1]


@dataclass(frozen=True)
class Ground:
    """The common view and grid on which manifests are compared.

    The view is the narrowest one (`center` if any manifest has it), so that every manifest covers all of it. The grid
    is the coarsest one, so that no manifest is given detail that it does not have.
    """

    #: index of the manifest with this view
    place: int
    view: View
    #: cells along one side
    grid: int

    @classmethod
    def of(cls, manifests: Sequence[Manifest], split: str) -> "Ground":
        views = [manifest.view(split) for manifest in manifests]
        place = min(range(len(views)), key=lambda i: (_shown(views[i]), i))
        return cls(place, views[place], min(manifest.grid_of(split) for manifest in manifests))

    def holds(self, manifest: Manifest, split: str) -> bool:
        """Whether the manifest's ranks have this view and grid already."""
        return manifest.grid_of(split) == self.grid and _shown(manifest.view(split)) == _shown(self.view)


def _shown(view: View) -> tuple[float, int]:
    """A sort key for the part of an image that a view shows, the narrowest first."""
    return (view.crop_pct, view.image_size) if view.kind == "center" else (math.inf, 0)


def iou(rank_RN: np.ndarray, other_RN: np.ndarray, kept: int, other_kept: int) -> np.ndarray:
    """Intersection over union of the tickets of two ranks (R, N), float64 (R,)."""
    ours, theirs = rank_RN < kept, other_RN < other_kept
    both_R = (ours & theirs).sum(axis=1)
    return both_R / (kept + other_kept - both_R)


def rank_correlation(rank_RN: np.ndarray, other_RN: np.ndarray) -> np.ndarray:
    """Spearman's correlation of the permutations in each row of two ranks (R, N), float64 (R,).

    It is 1 - 6 sum d^2 / (N (N^2 - 1)), and 1 for N = 1.
    """
    N = rank_RN.shape[1]
    squared_R = ((rank_RN.astype(np.int64) - other_RN.astype(np.int64)) ** 2).sum(axis=1)
    return 1 - 6 * squared_R / max(1, N * (N**2 - 1))


def keep_map_distance(keep_N: np.ndarray, other_N: np.ndarray) -> float:
    """Total variation distance between two keep maps (N,), that is, between the positions of two sets of tickets.

    It is the sum of |p - q| divided by the sum of p + q: 0 if every patch is kept equally often in both sets, 1 if no
    patch is kept in both.
    """
    return float(np.abs(keep_N - other_N).sum() / (keep_N.sum() + other_N.sum()))


def chance_distance(keep_N: np.ndarray, images: int, other_images: int) -> float:
    """The expected `keep_map_distance` of two sets of images that are drawn from the same distribution.

    The difference of each patch is assumed to be normal with variance p (1 - p) (1 / n + 1 / m), so its mean absolute
    value is sqrt(2 / pi) standard deviations.
    """
    deviation_N = np.sqrt(keep_N * (1 - keep_N) * (1 / images + 1 / other_images))
    return float(math.sqrt(2 / math.pi) * deviation_N.sum() / (2 * keep_N.sum()))


def _datasets(manifests: Sequence[Manifest]) -> str:
    """`a is of dataset digits, b of photos`."""
    first, *others = manifests
    return ", ".join([f"{first.root} is of dataset {first.dataset}", *(f"{m.root} of {m.dataset}" for m in others)])


def overlap(manifests: Sequence[Manifest], split: str) -> Overlap:
    """Compare a split of two or more manifests.

    Raises UserError for tickets of stored crops, for manifests without a common key, and if the labels of more than 1%
    of the common images differ, because the keys then name different images.
    """
    for manifest in manifests:
        check_fixed_view(manifest, split)
    ground = Ground.of(manifests, split)
    rows_M = [read_keyed(manifest, split) for manifest in manifests]
    row_MR, others_M = _matched(rows_M)
    common = row_MR.shape[1]
    if not common:
        raise UserError(f"{split}: expected manifests of the same images, found no common key: {_datasets(manifests)}")
    row_MR = row_MR[:, np.all([rows.valid_R[row_R] for rows, row_R in zip(rows_M, row_MR, strict=True)], axis=0)]
    label_MR = np.array([rows.label_R[row_R] for rows, row_R in zip(rows_M, row_MR, strict=True)])
    other_labels = int((label_MR != label_MR[0]).any(axis=0).sum())
    if other_labels > OTHER_LABELS * row_MR.shape[1]:
        raise UserError(
            f"{split}: expected keys that name the same images, found another label for {other_labels:,} of "
            f"{row_MR.shape[1]:,}: {_datasets(manifests)}"
        )
    kept_M = [scaled_count(m.kept_of(split), m.num_patches_of(split), ground.grid**2) for m in manifests]
    pairs = list(combinations(range(len(manifests)), 2))
    scores = np.zeros((2, len(pairs), row_MR.shape[1]), dtype=np.float32)
    counts_MN = np.zeros((len(manifests), ground.grid**2))
    for start in range(0, row_MR.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        ranks_M = _on_ground(ground, manifests, rows_M, row_MR[:, part], split)
        counts_MN += [(rank_RN < k).sum(axis=0) for rank_RN, k in zip(ranks_M, kept_M, strict=True)]
        for pair, (a, b) in enumerate(pairs):
            scores[0, pair, part] = iou(ranks_M[a], ranks_M[b], kept_M[a], kept_M[b])
            scores[1, pair, part] = rank_correlation(ranks_M[a], ranks_M[b])
    return Overlap(
        pairs=pairs,
        iou_PR=scores[0],
        rank_PR=scores[1],
        keep_MN=counts_MN / max(1, row_MR.shape[1]),
        kept_M=kept_M,
        label_R=label_MR[0],
        grid=ground.grid,
        view=ground.view.kind,
        resampled_M=[not ground.holds(manifest, split) for manifest in manifests],
        common=common,
        others_M=others_M,
        other_labels=other_labels,
    )


def _matched(rows_M: list[KeyedRows]) -> tuple[np.ndarray, list[int]]:
    """Rows of the keys that are in all manifests, int64 (M, keys), and the number of other keys of each manifest."""
    found = [pc.index_in(rows_M[0].keys, value_set=rows.keys) for rows in rows_M]
    in_all = np.all([np.asarray(places.is_valid()) for places in found], axis=0)
    chosen = pa.array(np.flatnonzero(in_all))
    row_MR = np.array([places.take(chosen).to_numpy(zero_copy_only=False) for places in found], dtype=np.int64)
    return row_MR, [len(rows) - len(chosen) for rows in rows_M]


def _on_ground(
    ground: Ground, manifests: Sequence[Manifest], rows_M: list[KeyedRows], row_MR: np.ndarray, split: str
) -> list[np.ndarray]:
    """The ranks of some images on the common view and grid: M arrays (R, N)."""
    size_MR2 = [
        np.stack([rows.height_R[row_R], rows.width_R[row_R]], axis=1)
        for rows, row_R in zip(rows_M, row_MR, strict=True)
    ]
    ranks = []
    for place, (manifest, rows, row_R) in enumerate(zip(manifests, rows_M, row_MR, strict=True)):
        rank_RN, side = rows.ranks(row_R, manifest.num_patches_of(split)), manifest.grid_of(split)
        if not ground.holds(manifest, split):
            affine_R23 = view_affines(ground.view, size_MR2[ground.place], manifest.view(split), size_MR2[place])
            weights = [axis_weights(affine_R23[:, i, i], affine_R23[:, i, 2], side, ground.grid) for i in (1, 0)]
            rank_RN = rerank(rank_RN, *weights)
        ranks.append(rank_RN)
    return ranks
