"""The summary of label maps that `inspect` prints: counts, the annotator's classes, and their probabilities.

Legend: R rows, M cells along a side of a map, N = M * M cells, P classes stored per cell, C classes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.inspection.tickets import MAX_PERCENT_SIDE, SHADES, draw_map
from vit_tickets.pipeline.manifests.labels import LabelMaps, label_arrays
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


@dataclass
class LabelSummary:
    """Sums over the rows of a split, from which the printed figures are derived."""

    map_size: int
    num_classes: int
    shards: int = 0
    samples: int = 0
    #: errors of the rows without a label map
    reasons: Counter[str] = field(default_factory=Counter)
    #: sum of the probabilities of the best class in each cell, float64 (M, M)
    sure_MM: np.ndarray = field(init=False)
    #: number of cells with class c as the best one, int64 (C,)
    found_C: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sure_MM = np.zeros((self.map_size, self.map_size))
        self.found_C = np.zeros(self.num_classes, dtype=np.int64)

    def add(self, table: pa.Table, places: int, path: str) -> None:
        """Add the rows of one file. Raises UserError if `path` does not hold label maps of this M, P and C."""
        if missing := sorted({"classes", "logits", "error"} - set(table.column_names)):
            raise UserError(f"{path}: expected a column {missing[0]}, found {', '.join(table.column_names)}")
        arrays = label_arrays(table, self.map_size, places, path)
        first_RN = arrays.classes[arrays.valid, :, 0]
        if first_RN.size and first_RN.max() >= self.num_classes:
            raise UserError(f"{path}: expected classes in 0..{self.num_classes - 1}, found {first_RN.max()}")
        self.shards += 1
        self.samples += table.num_rows
        self.reasons.update(reason for reason in table["error"].to_pylist() if reason is not None)
        self.found_C += np.bincount(first_RN.ravel(), minlength=self.num_classes)
        sure_RN = first_probability(arrays.logits[arrays.valid], self.num_classes)
        self.sure_MM += sure_RN.sum(axis=0).reshape(self.map_size, self.map_size)

    @property
    def errors(self) -> int:
        return self.reasons.total()


def first_probability(logits: np.ndarray, num_classes: int) -> np.ndarray:
    """Softmax probability of the best class, float64 (...). Classes that are not stored have logit 0, as in training.

    logits: (..., P), best class first.
    """
    logits = logits.astype(np.float64)
    others = num_classes - logits.shape[-1]
    top = np.maximum(logits[..., 0], 0)
    weights = np.exp(logits - top[..., None])
    return weights[..., 0] / (weights.sum(axis=-1) + others * np.exp(-top))


def summarise_labels(maps: LabelMaps, split: str) -> LabelSummary:
    """Read the files of a split, one at a time. Raises UserError if one cannot be read."""
    maps.split_record(split)
    summary = LabelSummary(maps.map_size, maps.num_classes)
    for name in files.list_names(files.join(maps.root, split)):
        if name.endswith(".parquet") and not name.startswith("."):
            path = files.join(maps.root, split, name)
            summary.add(read_table(path)[0], maps.places, path)
    return summary


def describe(maps: LabelMaps, splits: list[str]) -> Iterator[str]:
    """Lines about the annotator, the maps and the classes, and about each of `splits`."""
    labels, size = maps.labels, f"{maps.map_size} x {maps.map_size}"
    yield f"{maps.root}: label maps of {labels.dataset}"
    weights = (labels.weights_sha256 or "unknown")[:12]
    run = f" ({labels.annotator_run})" if labels.annotator_run else ""
    yield f"annotator  {labels.annotator or 'unknown'}{run}, weights {weights}, {labels.precision}"
    yield f"map        {size} cells of the whole image at {maps.view.image_size} px"
    yield f"classes    the best {maps.places} of {maps.num_classes:,} in every cell"
    for split in splits:
        yield from describe_split(split, summarise_labels(maps, split))


def describe_split(split: str, summary: LabelSummary) -> Iterator[str]:
    """Lines about one split."""
    labelled, shards = summary.samples - summary.errors, f"{summary.shards} file{'' if summary.shards == 1 else 's'}"
    yield f"{split}: {summary.samples:,} images in {shards}, {summary.errors:,} without a label map"
    for reason, count in summary.reasons.most_common(3):
        yield f"  {count:,} x {reason}"
    if not labelled:
        return
    present, share = np.count_nonzero(summary.found_C), summary.found_C.max() / summary.found_C.sum()
    commonest = f"class {summary.found_C.argmax()} in {share:.1%} of the cells"
    yield f"  first      {present:,} of {summary.num_classes:,} classes come first somewhere; {commonest}"
    sure_MM = summary.sure_MM / labelled
    shades = "" if len(sure_MM) <= MAX_PERCENT_SIDE else f", '{SHADES[-1]}' is {sure_MM.max():.0%}"
    yield f"  sure       probability of the first class {sure_MM.mean():.1%} on average, by cell (%{shades}):"
    yield from (f"  {line}" for line in draw_map(sure_MM))
