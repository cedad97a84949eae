"""The summary of a manifest that `inspect` prints: counts, keep maps, and overlap with random subsets.

Legend: R rows, N patches of an image on a G x G grid, k of them kept.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.geometry.patches import grid_side, random_subset
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.inspection.sinks import Tally
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.crop_rows import read_crop_rows
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import GIVEN, STAGED
from vit_tickets.pipeline.system.errors import UserError

MAX_PERCENT_SIDE = 16  # larger keep maps are drawn in shades
SHADES = " .:-=+*#%@"


@dataclass
class SplitSummary:
    """Sums over the rows of a split, from which the printed figures are derived."""

    num_patches: int
    kept: int
    #: tickets per image for view crops:V, else None
    views: int | None = None
    mask_seed: int = 0
    samples: int = 0
    #: errors of the rows without a ticket
    reasons: Counter[str] = field(default_factory=Counter)
    #: number of tickets that hold patch p, int64 (N,)
    kept_N: np.ndarray = field(init=False)
    #: the same image by image, to find attention sinks
    tally: Tally = field(init=False)
    #: number of rows by the number of patches in both lt and rc (of the first view)
    overlaps: Counter[int] = field(default_factory=Counter)
    #: rows with a prediction
    predicted: int = 0
    #: rows whose prediction is the label
    agreeing: int = 0
    confidence_sum: float = 0.0
    #: sum of the shares of the image that the views show
    area_sum: float = 0.0

    def __post_init__(self) -> None:
        self.kept_N = np.zeros(self.num_patches, dtype=np.int64)
        self.tally = Tally(self.num_patches)

    def add(self, table: pa.Table, path: str) -> None:
        """Add the rows of one file. Raises UserError if `path` does not hold tickets of this N and k."""
        needed = {"key", "label", "lt", "error"} | ({"box", "height", "width"} if self.views else {"rc"})
        missing = sorted(needed - set(table.column_names))
        if missing:
            raise UserError(f"{path}: expected a column {missing[0]}, found {', '.join(table.column_names)}")
        self.samples += table.num_rows
        self.reasons.update(reason for reason in table["error"].to_pylist() if reason is not None)
        if self.views:
            self._add_crops(table.filter(table["error"].is_null()), self.views, path)
            return
        lt_Rk, rc_Rk = (self._patches(table, name, path) for name in ("lt", "rc"))
        lt_RN, rc_RN = (_mask(patches_Rk, self.num_patches) for patches_Rk in (lt_Rk, rc_Rk))
        self.kept_N += lt_RN.sum(axis=0)
        self.tally.add(lt_RN)
        self.overlaps.update((lt_RN & rc_RN).sum(axis=1).tolist())
        if "prediction" in table.column_names:
            predictions = table["prediction"].drop_null()
            self.predicted += len(predictions)
            agree = np.asarray(table["prediction"].fill_null(-1)) == np.asarray(table["label"].fill_null(-2))
            self.agreeing += int(agree.sum())
            self.confidence_sum += float(np.asarray(table["confidence"].drop_null(), dtype=np.float64).sum())

    def _add_crops(self, table: pa.Table, views: int, path: str) -> None:
        rows = read_crop_rows(table, views, self.num_patches, path)
        for row, key in enumerate(table["key"].to_pylist()):
            mask_VN = rows.masks(row)
            self.kept_N += mask_VN.sum(axis=0)
            self.tally.add(mask_VN.mean(axis=0, keepdims=True))
            random_k = random_subset(self.mask_seed, key, self.num_patches, self.kept)
            self.overlaps[int(mask_VN[0, random_k].sum())] += 1
        x0, y0, x1, y1 = np.moveaxis(rows.box_RV4.astype(np.float64), -1, 0)
        whole_R = np.asarray(table["height"], dtype=np.float64) * np.asarray(table["width"])
        self.area_sum += float(((x1 - x0) * (y1 - y0) / whole_R[:, None]).sum())

    def _patches(self, table: pa.Table, name: str, path: str) -> np.ndarray:
        rows_Rk, valid_R = list_matrix(table[name], self.kept, path)
        return rows_Rk[valid_R]

    @property
    def errors(self) -> int:
        return self.reasons.total()

    @property
    def keep_map(self) -> np.ndarray:
        """Share of the tickets that hold each patch, float64 (G, G). NaN without a ticket."""
        side = grid_side(self.num_patches)
        with np.errstate(invalid="ignore"):
            return (self.kept_N / np.float64((self.samples - self.errors) * (self.views or 1))).reshape(side, side)

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of lt and rc. NaN without a ticket."""
        rows = self.overlaps.total()
        iou = sum(count * both / (2 * self.kept - both) for both, count in self.overlaps.items())
        return iou / rows if rows else math.nan


def _mask(patches_Rk: np.ndarray, num_patches: int) -> np.ndarray:
    mask_RN = np.zeros((len(patches_Rk), num_patches), dtype=bool)
    np.put_along_axis(mask_RN, patches_Rk.astype(np.int64), True, axis=1)
    return mask_RN


def chance_iou(num_patches: int, kept: int, other_kept: int | None = None) -> float:
    """Expected intersection over union of two independent random subsets of `num_patches` patches.

    The subsets have `kept` and `other_kept` (default: `kept`) patches.
    """
    others = kept if other_kept is None else other_kept
    ways = math.comb(num_patches, others)
    shared = range(max(0, kept + others - num_patches), min(kept, others) + 1)
    return sum(
        math.comb(kept, both) * math.comb(num_patches - kept, others - both) / ways * both / (kept + others - both)
        for both in shared
    )


def centre_and_border(keep_map: np.ndarray) -> tuple[float, float]:
    """Means of a map (G, G) over the cells in the middle half of both axes, and over the outermost ring.

    The first is NaN if no cell's centre lies strictly inside the middle half (for G = 2, but not for G = 1).
    """
    side = len(keep_map)
    offset = np.abs(np.arange(side) + 0.5 - side / 2)
    middle, edge = offset < side / 4, offset == offset.max()
    centre = keep_map[np.ix_(middle, middle)]
    border = keep_map[edge[:, None] | edge[None, :]]
    return float(centre.mean()) if centre.size else math.nan, float(border.mean())


def draw_map(keep_map: np.ndarray) -> list[str]:
    """Lines that draw a map of shares (G, G): percentages up to 16 cells a side, else shades from 0 to the maximum."""
    if len(keep_map) <= MAX_PERCENT_SIDE:
        return ["".join(f"{100 * share:4.0f}" for share in row) for row in keep_map]
    top = max(float(keep_map.max()), 1e-9)
    return ["".join(2 * SHADES[round(share / top * (len(SHADES) - 1))] for share in row) for row in keep_map]


def summarise_split(manifest: Manifest, split: str) -> SplitSummary:
    """Read the files of a split, one at a time. Raises UserError if one cannot be read or rows are missing."""
    summary = SplitSummary(
        manifest.num_patches_of(split), manifest.kept_of(split), manifest.view(split).num_views, manifest.mask_seed
    )
    for path, table in manifest.read_files(split):
        summary.add(table, path)
    return summary


def describe_manifest(manifest: Manifest, splits: list[str]) -> Iterator[str]:
    """Lines about selector, budget and grid, and about the view of each of `splits`."""
    ticket, N, k = manifest.ticket, manifest.num_patches, manifest.kept
    yield f"{manifest.root}: tickets of {ticket.dataset}"
    weights = (ticket.weights_sha256 or "unknown")[:12]
    by = f"scores {weights}" if ticket.scored_by == GIVEN else f"weights {weights}, {ticket.precision}"
    yield f"selector   {ticket.selector or 'unknown'}, {by}"
    stages = ", ".join(str(stage) for stage in ticket.stages or ()) or "unknown"
    kept = ", ".join(str(count) for count in ticket.counts)
    budget = manifest.budget
    asked = f"{budget} per stage" if budget.keep_rate else f"{budget}"
    staged = f"; blocks {stages} keep {kept}" if ticket.scored_by == STAGED else ""
    if not staged:
        block = f" of block {ticket.block}" if ticket.block is not None else ""
        yield f"method     {ticket.scored_by}{block}"
    if folds := ticket.cross_fit:
        yield f"cross-fit  {len(folds)} selectors, each marking the fold of the images that it was trained without"
    yield f"budget     {asked}: {k} of {N} patches ({k / N:.1%}){staged}"
    grid = f"{grid_side(N)} x {grid_side(N)}"
    yield f"grid       {grid} at {ticket.image_size} px; mask seed {manifest.mask_seed}"
    for split in splits:
        view, finer = manifest.view(split), ""
        if view.grid_scale > 1:
            side = manifest.grid_of(split)
            finer = f"; grid {side} x {side}, {manifest.kept_of(split)} of {side * side} cells in a ticket"
        yield f"view       {split}: {view.kind} ({_how(view)}, {view.interpolation}, {view.image_size} px){finer}"


def _how(view: View) -> str:
    if view.num_crops:
        drawn = f"from {view.crop_scale:g} of its area on, flip {view.crop_flip:g}, crop seed {view.crop_seed}"
        return f"random crops {drawn}" if view.num_views else f"whole image, mean over random crops {drawn}"
    if view.kind == "center":
        return f"shorter side to {view.preprocessing()['resize']}, centre crop"
    return "whole image"


def describe_split(split: str, summary: SplitSummary, method: str = STAGED) -> Iterator[str]:
    """Lines about one split. method: that chose its tickets."""
    yield f"{split}: {summary.samples:,} images, {summary.errors:,} without a ticket"
    for reason, count in summary.reasons.most_common(3):
        yield f"  {count:,} x {reason}"
    if summary.samples == summary.errors:
        return
    if summary.views:
        area = summary.area_sum / ((summary.samples - summary.errors) * summary.views)
        yield f"  crops      {summary.views} per image, {area:.1%} of its area on average"
    chance = chance_iou(summary.num_patches, summary.kept)
    where = " in the first crop" if summary.views else ""
    yield f"  lt and rc  overlap (IoU){where} {summary.mean_iou:.3f}, by chance {chance:.3f}"
    centre, border = centre_and_border(summary.keep_map)
    shown = "" if math.isnan(centre) else f"middle quarter {centre:.1%}, "
    yield f"  kept       {shown}border {border:.1%}, all {summary.kept / summary.num_patches:.1%}"
    for sink in summary.tally.sinks():
        yield f"  sinks      {sink.said(method, 'crops' if summary.views else 'images')}"
    if summary.predicted:
        top1, confidence = summary.agreeing / summary.predicted, summary.confidence_sum / summary.predicted
        yield f"  selector   right on {top1:.1%}, mean confidence {confidence:.1%}"
    shades = "" if len(summary.keep_map) <= MAX_PERCENT_SIDE else f", '{SHADES[-1]}' is {summary.keep_map.max():.0%}"
    yield f"  how often each patch is in the ticket (%{shades}):"
    yield from (f"  {line}" for line in draw_map(summary.keep_map))
