"""What ticket.json, labels.json and dataset.json must say: the first thing that is wrong with one, in one line.

Whatever a JSON file holds, these raise nothing.
"""

from typing import Any

from vit_tickets.pipeline.geometry.patches import Budget, grid_side
from vit_tickets.pipeline.geometry.view_records import MAX_SIDE, WRONG, view_fault
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.methods import CROSS_FIT, Method, scored_by
from vit_tickets.pipeline.system.records import is_count, shown

# What a split has of its own in ticket.json; the rest is the same in every file of a manifest.
PER_SPLIT = ("view", "preprocessing")
MAX_PATCHES = 1 << 16
MAX_MAP_SIZE = 1 << 12
MAX_LABEL_CLASSES = 1 << 16
PLACES = 5


def ticket_fault(record: dict[str, Any]) -> str | None:
    """What is wrong with the fields of ticket.json; None if nothing."""
    counts, N = record["counts"], record["num_patches"]
    if not is_count(N) or not 0 < N <= MAX_PATCHES:
        return f"num_patches: expected a count in 1..{MAX_PATCHES}, found {N!r}"
    if not isinstance(counts, list) or not counts or not all(is_count(count) and count for count in counts):
        return f"counts: expected a list of counts, found {shown(counts)}"
    if counts != sorted(counts, reverse=True) or counts[0] > N:
        return f"counts: expected at most {N}, not increasing, found {shown(counts)}"
    if not is_count(record["image_size"]) or not 0 < record["image_size"] <= MAX_SIDE:
        return f"image_size: expected a count in 1..{MAX_SIDE}, found {record['image_size']!r}"
    if not isinstance(record["mask_seed"], int):
        return f"mask_seed: expected an integer, found {record['mask_seed']!r}"
    if not isinstance(record["dataset"], str):
        return f"dataset: expected a name, found {record['dataset']!r}"
    for name in ("grid", "patch_size"):
        if name in record and not (is_count(record[name]) and record[name]):
            return f"{name}: expected a count, found {record[name]!r}"
    if "stages" in record and (not isinstance(record["stages"], list) or len(record["stages"]) != len(counts)):
        return f"stages: expected as many as counts, {len(counts)}, found {shown(record['stages'])}"
    try:
        Method(scored_by(record), record.get("block"))
    except WRONG as error:
        return f"method: {error}"
    if not all(isinstance(sha256, str) for sha256 in record.get(CROSS_FIT) or ()):
        return f"{CROSS_FIT}: expected the SHA-256 of each fold's selector, found {shown(record[CROSS_FIT])}"
    if fault := sums_fault(record["splits"], PER_SPLIT):
        return fault
    for split, entry in record["splits"].items():
        if fault := view_fault(entry):
            return f"splits: {split}: {fault}"
    return _budget_fault(record)


def _budget_fault(record: dict[str, Any]) -> str | None:
    counts, N, sparsity, keep_rate = (record.get(name) for name in ("counts", "num_patches", "sparsity", "keep_rate"))
    if sparsity is not None:
        try:
            (kept,) = Budget(sparsity=sparsity).stage_counts(N, 1)
        except WRONG:
            return f"sparsity: expected a number in [0, 1), found {sparsity!r}"
        if kept != counts[-1]:
            return f"counts: expected the last to be {kept} at sparsity {sparsity:g}, found {counts[-1]}"
    try:
        Budget(sparsity, keep_rate).stage_counts(N, len(counts))
    except WRONG as error:
        return f"sparsity, keep_rate: {error}"
    for split, entry in record["splits"].items():
        try:
            true_of(record, View.from_record(entry["view"], entry["preprocessing"]))
        except WRONG as error:
            return f"splits: {split}: expected a grid and a budget that can be doubled: {error}"
    return None


def label_fault(record: dict[str, Any]) -> str | None:
    """What is wrong with the fields of labels.json; None if nothing."""
    for name, most in (("map_size", MAX_MAP_SIZE), ("num_classes", MAX_LABEL_CLASSES)):
        if not is_count(value := record[name]) or not 0 < value <= most:
            return f"{name}: expected a count in 1..{most}, found {value!r}"
    if record["places"] != (expected := min(PLACES, record["num_classes"])):
        return f"places: expected {expected} of {record['num_classes']} classes, found {record['places']!r}"
    if not isinstance(record["dataset"], str):
        return f"dataset: expected a name, found {record['dataset']!r}"
    if fault := view_fault({"view": "full", "preprocessing": record["preprocessing"]}):
        return f"preprocessing: expected a view of the whole image: {fault}"
    size = record["preprocessing"]["image_size"]
    if (found := record.get("image_size")) != size:
        return f"image_size: expected {size} as in preprocessing, found {found!r}"
    return sums_fault(record["splits"])


def sums_fault(splits: Any, own: tuple[str, ...] = ()) -> str | None:
    """What is wrong with an index's entries by split: two counts, and the names in `own`; None if nothing."""
    if not isinstance(splits, dict) or not splits:
        return f"splits: expected entries by name, found {shown(splits)}"
    for split, entry in splits.items():
        for name in ("samples", "errors", *own):
            if not isinstance(entry, dict) or name not in entry:
                return f"splits: {split}: expected an entry {name}, found none"
        for name in ("samples", "errors"):
            if not is_count(entry[name]):
                return f"splits: {split}: {name}: expected a count, found {entry[name]!r}"
    return None


def true_of(record: dict[str, Any], view: View) -> dict[str, Any]:
    """What all splits share, as it is true of a split of `view`: a finer grid has N, grid, counts, size of its own.

    The counts are those of the same budget; the last is k. Of crops-mean:V they stand for the averaged map.
    """
    if view.fineness == 1:
        return record
    num_patches = record["num_patches"] * view.fineness**2
    budget = Budget(record.get("sparsity"), record.get("keep_rate"))
    counts = list(budget.stage_counts(num_patches, len(record["counts"])))
    own = {"num_patches": num_patches, "grid": grid_side(num_patches), "counts": counts}
    return record | own | {"image_size": view.image_size}
