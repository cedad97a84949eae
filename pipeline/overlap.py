"""What `compare` says of two manifests of a dataset: how far their tickets overlap, and where train differs from val.

Legend: R images, N patches of an image, k of them kept.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vit_tickets.pipeline import files
from vit_tickets.pipeline.columns import list_matrix
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.manifests import Manifest
from vit_tickets.pipeline.methods import method_name
from vit_tickets.pipeline.summary import chance_iou


@dataclass(frozen=True)
class Overlap:
    """A split of two manifests, on the R images that have a ticket in both.

    iou_R: intersection over union of the two tickets. rank_R: Spearman's correlation of the two ranks. keep_2N: share
    of the images whose ticket holds patch p, in each manifest. All float64.
    """

    iou_R: np.ndarray
    rank_R: np.ndarray
    keep_2N: np.ndarray

    @property
    def images(self) -> int:
        return len(self.iou_R)


def iou(rank_RN: np.ndarray, other_RN: np.ndarray, kept: int, other_kept: int) -> np.ndarray:
    """Intersection over union of the tickets that two ranks (R, N) give, float64 (R,)."""
    ours, theirs = rank_RN < kept, other_RN < other_kept
    both_R = (ours & theirs).sum(axis=1)
    return both_R / (kept + other_kept - both_R)


def rank_correlation(rank_RN: np.ndarray, other_RN: np.ndarray) -> np.ndarray:
    """Spearman's correlation of two permutations of 0..N-1 in each row, float64 (R,): 1 - 6 sum d^2 / (N (N^2 - 1)).

    1 where N is 1.
    """
    N = rank_RN.shape[1]
    squared_R = ((rank_RN.astype(np.int64) - other_RN.astype(np.int64)) ** 2).sum(axis=1)
    return 1 - 6 * squared_R / max(1, N * (N**2 - 1))


def keep_map_distance(keep_N: np.ndarray, other_N: np.ndarray) -> float:
    """Total variation between where the tickets of two sets of images lie: half the sum of |p - q|, over the share of
    kept patches, so 0 where each patch is kept equally often, and 1 where no patch is kept in both sets."""
    return float(np.abs(keep_N - other_N).sum() / (keep_N.sum() + other_N.sum()))


def chance_distance(keep_N: np.ndarray, images: int, other_images: int) -> float:
    """The `keep_map_distance` to expect between so many images and so many others where both are drawn alike.

    Each patch's difference is taken as normal with variance p (1 - p) (1 / n + 1 / m), so that its mean size is
    sqrt(2 / pi) of a standard deviation.
    """
    deviation_N = np.sqrt(keep_N * (1 - keep_N) * (1 / images + 1 / other_images))
    return float(math.sqrt(2 / math.pi) * deviation_N.sum() / (2 * keep_N.sum()))


def overlap(ours: Manifest, theirs: Manifest, split: str) -> Overlap:
    """Go through a split of two manifests, one file at a time.

    Raises UserError where they are not of the same images in the same order, or not on the same grid.
    """
    _check_alike(ours, theirs, split)
    N, parts, kept = ours.num_patches_of(split), [], (ours.kept_of(split), theirs.kept_of(split))
    counts_2N = np.zeros((2, N))
    for name in files.list_names(files.join(ours.root, split)):
        if not name.endswith(".parquet") or name.startswith("."):
            continue
        ranks, keys = [], []
        for manifest in (ours, theirs):
            path = files.join(manifest.root, split, name)
            if not files.exists(path):
                raise UserError(f"expected the files of {ours.root} in {manifest.root} too, found no {split}/{name}")
            table = manifest.read_file(split, path, ["key", "rank"])
            ranks.append(list_matrix(table["rank"], N, path))
            keys.append(table["key"])
        if not keys[0].equals(keys[1]):
            raise UserError(f"{split}/{name}: expected the same keys in {ours.root} and {theirs.root}, found others")
        valid_R = ranks[0][1] & ranks[1][1]
        rank_RN, other_RN = (matrix[valid_R] for matrix, _ in ranks)
        counts_2N += [(rank < k).sum(axis=0) for rank, k in zip((rank_RN, other_RN), kept, strict=True)]
        parts.append((iou(rank_RN, other_RN, *kept), rank_correlation(rank_RN, other_RN)))
    iou_R, rank_R = (np.concatenate([part[i] for part in parts]) for i in range(2)) if parts else np.zeros((2, 0))
    return Overlap(iou_R, rank_R, counts_2N / max(1, len(iou_R)))


def _check_alike(ours: Manifest, theirs: Manifest, split: str) -> None:
    for manifest in (ours, theirs):
        if manifest.view(split).num_views:
            raise UserError(f"expected tickets of a fixed view, found {manifest.view(split).kind} in {manifest.root}")
    for what, value in (("dataset", lambda m: m.record["dataset"]), ("patches", lambda m: m.num_patches_of(split))):
        if value(ours) != value(theirs):
            raise UserError(
                f"expected manifests of the same {what}, found {value(ours)} in {ours.root} and {value(theirs)} in "
                f"{theirs.root}"
            )


def describe(ours: Manifest, theirs: Manifest, overlaps: dict[str, Overlap]) -> Iterator[str]:
    """Lines about two manifests, their overlap in each split, and train against val."""
    for letter, manifest in zip("AB", (ours, theirs), strict=True):
        record = manifest.record
        weights, kept = str(record.get("weights_sha256", "unknown"))[:12], f"{manifest.kept} of {manifest.num_patches}"
        by = f"{method_name(record)}, {record.get('selector', 'unknown')}, weights {weights}"
        yield f"{letter} {manifest.root}: {by}, {kept} patches"
    for split, found in overlaps.items():
        yield f"{split}: {found.images:,} images with a ticket in both"
        if not found.images:
            continue
        low, median, high = np.quantile(found.iou_R, (0.05, 0.5, 0.95))
        chance = chance_iou(ours.num_patches_of(split), ours.kept_of(split), theirs.kept_of(split))
        yield (f"  overlap    IoU {found.iou_R.mean():.3f} (5% {low:.3f}, median {median:.3f}, 95% {high:.3f}), "
               f"by chance {chance:.3f}")  # fmt: skip
        yield f"  ranks      Spearman's correlation {found.rank_R.mean():.3f}"
        yield f"  keep maps  {keep_map_distance(*found.keep_2N):.2%} of the tickets' places differ between A and B"
    if {"train", "val"} <= overlaps.keys() and all(overlaps[split].images for split in ("train", "val")):
        yield "train against val:"
        yield from _train_against_val(overlaps["train"], overlaps["val"])


def _train_against_val(train: Overlap, val: Overlap) -> Iterator[str]:
    same_grid = train.keep_2N.shape == val.keep_2N.shape
    for letter, train_N, val_N in zip("AB", train.keep_2N, val.keep_2N, strict=True) if same_grid else ():
        chance = chance_distance((train_N + val_N) / 2, train.images, val.images)
        yield (f"  keep maps  {keep_map_distance(train_N, val_N):.2%} of the tickets' places differ in {letter}, "
               f"{chance:.2%} by chance")  # fmt: skip
    for what, ours_R, theirs_R in (("overlap  ", train.iou_R, val.iou_R), ("ranks    ", train.rank_R, val.rank_R)):
        error = math.sqrt(sum(part.var() / len(part) for part in (ours_R, theirs_R)))
        yield f"  {what}  {ours_R.mean() - theirs_R.mean():+.4f} ± {error:.4f} (standard error)"
