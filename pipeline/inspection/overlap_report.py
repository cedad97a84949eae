"""The report of `compare`: a record with all numbers, and lines of text made from it.

Legend: M manifests, P pairs of them, R images, N cells of a grid (G x G).
"""

import math
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any

import numpy as np

from vit_tickets.pipeline.geometry.regrid import axis_weights, resample
from vit_tickets.pipeline.inspection.overlap import Overlap, chance_distance, keep_map_distance
from vit_tickets.pipeline.inspection.tickets import MAX_PERCENT_SIDE, SHADES, chance_iou, draw_map
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import GIVEN, uses_selector

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
CLASSES_SHOWN = 3
MOST = len(ascii_uppercase)

Record = dict[str, Any]


def record_of(manifests: Sequence[Manifest], overlaps: dict[str, Overlap], classes: list[str] | None = None) -> Record:
    """All numbers, ready for JSON: `manifests` by letter, `splits`, and `train_against_val` if both were compared."""
    record: Record = {
        "manifests": {
            letter: {"root": manifest.root, "method": manifest.ticket.method_name}
            | {name: getattr(manifest.ticket, name) for name in ("selector", "weights_sha256", "mask_seed", "dataset")}
            | {"num_patches": manifest.num_patches, "kept": manifest.kept}
            for letter, manifest in zip(ascii_uppercase, manifests, strict=False)
        },
        "splits": {split: _split_record(found, classes) for split, found in overlaps.items()},
    }
    train, val = (overlaps.get(split) for split in ("train", "val"))
    if train is not None and val is not None and train.images and val.images:
        record["train_against_val"] = _train_against_val(train, val)
    return record


def _split_record(found: Overlap, classes: list[str] | None) -> Record:
    letters = ascii_uppercase[: len(found.kept_M)]
    record: Record = {
        "keys_in_all": found.common,
        "other_keys": dict(zip(letters, found.others_M, strict=True)),
        "images": found.images,
        "other_labels": found.other_labels,
        "grid": found.grid,
        "view": found.view,
        "resampled": [letter for letter, moved in zip(letters, found.resampled_M, strict=True) if moved],
        "kept": dict(zip(letters, found.kept_M, strict=True)),
    }
    if not found.images:
        return record
    record["pairs"] = {
        letters[a] + letters[b]: _pair_record(found, pair, a, b) for pair, (a, b) in enumerate(found.pairs)
    }
    record["classes"] = _classes(found, classes)
    maps = found.keep_MN.reshape(-1, found.grid, found.grid)
    record["keep_maps"] = {letter: keep_GG.tolist() for letter, keep_GG in zip(letters, maps, strict=True)}
    return record


def _pair_record(found: Overlap, pair: int, a: int, b: int) -> Record:
    iou_R, rank_R = found.iou_PR[pair].astype(np.float64), found.rank_PR[pair].astype(np.float64)
    quantiles = np.quantile(iou_R, QUANTILES)
    return {
        "iou": float(iou_R.mean()),
        "chance_iou": chance_iou(found.grid**2, found.kept_M[a], found.kept_M[b]),
        "most_iou": min(found.kept_M[a], found.kept_M[b]) / max(found.kept_M[a], found.kept_M[b]),
        "rank_correlation": float(rank_R.mean()),
        "keep_map_distance": keep_map_distance(found.keep_MN[a], found.keep_MN[b]),
        "iou_quantiles": {f"{share:g}": float(value) for share, value in zip(QUANTILES, quantiles, strict=True)},
        "iou_histogram": np.histogram(iou_R, BINS, (0, 1))[0].tolist(),
    }


def _classes(found: Overlap, names: list[str] | None) -> list[Record]:
    """The mean IoU over all pairs for each class, the highest first."""
    mean_R, known_R = found.iou_PR.mean(axis=0, dtype=np.float64), found.label_R >= 0
    if not known_R.any():
        return []
    count_C = np.bincount(found.label_R[known_R])
    sum_C = np.bincount(found.label_R[known_R], weights=mean_R[known_R])
    entries = [
        {"label": label, "name": names[label] if names and label < len(names) else str(label)}
        | {"images": int(count_C[label]), "iou": float(sum_C[label] / count_C[label])}
        for label in np.flatnonzero(count_C).tolist()
    ]
    return sorted(entries, key=lambda entry: (-entry["iou"], entry["label"]))


def _train_against_val(train: Overlap, val: Overlap) -> Record:
    letters = ascii_uppercase[: len(train.kept_M)]
    record: Record = {"keep_maps": {}, "pairs": {}}
    same_grid = train.grid == val.grid
    for letter, train_N, val_N in zip(letters, train.keep_MN, val.keep_MN, strict=True) if same_grid else ():
        chance = chance_distance((train_N + val_N) / 2, train.images, val.images)
        record["keep_maps"][letter] = {"distance": keep_map_distance(train_N, val_N), "by_chance": chance}
    for pair, (a, b) in enumerate(train.pairs):
        entry = record["pairs"][letters[a] + letters[b]] = {}
        for what, ours_R, theirs_R in (
            ("iou", train.iou_PR[pair], val.iou_PR[pair]),
            ("rank_correlation", train.rank_PR[pair], val.rank_PR[pair]),
        ):
            ours_R, theirs_R = ours_R.astype(np.float64), theirs_R.astype(np.float64)
            error = math.sqrt(sum(part.var() / len(part) for part in (ours_R, theirs_R)))
            entry[what] = {"difference": float(ours_R.mean() - theirs_R.mean()), "standard_error": error}
    return record


def describe(record: Record, maps: bool = False) -> Iterator[str]:
    """The record of `record_of` as lines of text. With `maps`: also how often each manifest keeps each patch."""
    for letter, of in record["manifests"].items():
        by = f"{of['method']}, {of['selector'] or 'unknown'}"
        if uses_selector(of["method"]):
            by += f", {'scores' if of['method'] == GIVEN else 'weights'} {str(of['weights_sha256'] or 'unknown')[:12]}"
        yield f"{letter} {of['root']}: {by}, {of['kept']} of {of['num_patches']} patches"
    letters = list(record["manifests"])
    for split, of in record["splits"].items():
        yield from _describe_split(split, of, letters, maps)
    if "train_against_val" in record:
        yield "train against val:"
        yield from _describe_difference(record["train_against_val"])


def _describe_split(split: str, of: Record, letters: list[str], maps: bool) -> Iterator[str]:
    both = "both" if len(letters) == 2 else "all"
    yield f"{split}: {of['images']:,} images with a ticket in {both}"
    if others := [f"{letter} has {count:,} others" for letter, count in of["other_keys"].items() if count]:
        yield f"  keys       {of['keys_in_all']:,} in {both}; {', '.join(others)}"
    if of["other_labels"]:
        yield f"  labels     {of['other_labels']:,} images have different labels"
    if of["resampled"]:
        ground = f"{of['grid']} x {of['grid']} cells of view {of['view']}"
        yield f"  compared   on {ground}; {', '.join(of['resampled'])} resampled to it, as train would"
    if not of["images"]:
        return
    yield "  pair  IoU    chance  most   ranks   places   5%     median 95%    IoU from 0 to 1"
    for pair, found in of["pairs"].items():
        low, _, median, _, high = found["iou_quantiles"].values()
        overlap = f"{found['iou']:.3f}  {found['chance_iou']:.3f}   {found['most_iou']:.3f}"
        others = f"{found['rank_correlation']:+.3f}  {found['keep_map_distance']:7.2%}"
        histogram = _shaded(found["iou_histogram"])
        yield f"  {pair}    {overlap}  {others}  {low:.3f}  {median:.3f}  {high:.3f}  |{histogram}|"
    yield "  (most: IoU where the smaller ticket is part of the larger; ranks: Spearman's correlation; places: how far"
    yield "  the keep maps differ, 0% where each patch is kept equally often, 100% where none is kept in both)"
    if len(letters) > 2:
        yield from _matrix(of["pairs"], letters)
    if len(of["classes"]) > 1:
        shown = min(CLASSES_SHOWN, len(of["classes"]) // 2)
        yield "  classes    highest mean IoU: " + ", ".join(map(_class, of["classes"][:shown]))
        yield "             lowest mean IoU:  " + ", ".join(map(_class, of["classes"][: -shown - 1 : -1]))
    if maps:
        yield from _draw(of["keep_maps"])


def _class(entry: Record) -> str:
    return f"{entry['name']} {entry['iou']:.3f} ({entry['images']:,} image{'s' if entry['images'] > 1 else ''})"


def _shaded(counts: list[int]) -> str:
    """A histogram with one character per bin, the darkest for the fullest. Only empty bins are blank."""
    top = max(counts)
    return "".join(SHADES[math.ceil(count / top * (len(SHADES) - 1))] for count in counts)


def _matrix(pairs: Record, letters: list[str]) -> Iterator[str]:
    yield "  IoU above the diagonal, Spearman's correlation of the ranks below:"
    yield "     " + "".join(f"{letter:>8}" for letter in letters)
    for row in letters:
        cells = []
        for column in letters:
            if row == column:
                cells.append(f"{'1':>8}")
            elif row < column:
                cells.append(f"{pairs[row + column]['iou']:8.3f}")
            else:
                cells.append(f"{pairs[column + row]['rank_correlation']:+8.3f}")
        yield f"  {row}  " + "".join(cells)


def _draw(keep_maps: Record) -> Iterator[str]:
    """Lines that draw the keep maps, and the difference of each from the first in percentage points."""
    (first, of_first), *others = ((letter, np.array(keep_GG)) for letter, keep_GG in keep_maps.items())
    yield f"  how often each patch is in the ticket of {first} (%):"
    yield from (f"  {line}" for line in draw_map(of_first))
    for letter, keep_GG in others:
        yield f"  how often each patch is in the ticket of {letter} (%):"
        yield from (f"  {line}" for line in draw_map(keep_GG))
        yield f"  {letter} less {first} (points):"
        for row in _drawable(keep_GG - of_first):
            yield "  " + "".join(f"{round(100 * difference):+4d}" for difference in row)


def _drawable(map_GG: np.ndarray) -> np.ndarray:
    """A signed map, resampled if it is too wide for a line of text."""
    if len(map_GG) <= MAX_PERCENT_SIDE:
        return map_GG
    weights = axis_weights(np.ones(1), np.zeros(1), len(map_GG), MAX_PERCENT_SIDE)
    return resample(map_GG[None], weights, weights)[0]


def _describe_difference(of: Record) -> Iterator[str]:
    for letter, found in of["keep_maps"].items():
        distance, chance = f"{found['distance']:.2%}", f"{found['by_chance']:.2%}"
        yield f"  keep maps  {distance} of the tickets' places differ in {letter}, {chance} by chance"
    for pair, entry in of["pairs"].items():
        for what, name in (("overlap  ", "iou"), ("ranks    ", "rank_correlation")):
            found = entry[name]
            yield f"  {what}  {pair} {found['difference']:+.4f} ± {found['standard_error']:.4f} (standard error)"
