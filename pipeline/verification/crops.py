"""Check the rows of a file of view crops:V: boxes and flips against the draw, masks against the budget and the ranks.

Legend: R rows of a file, V crops of an image, N patches of a crop, k of them kept.
"""

import math

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.geometry.crops import stored_crops
from vit_tickets.pipeline.geometry.patches import pack_mask
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.columns import unpack_masks
from vit_tickets.pipeline.verification.findings import Rows

LISTS = ("box", "flip", "lt", "rank")


CHANCE = 1e-9  # least probability of masks that are taken for what a selector found
FEW = 1_000_000  # of fewer choices of patches, one may be usual


def check_crops(rows: Rows, table: pa.Table, view: View, N: int, k: int, by_selector: bool = True) -> None:
    """Check the lists of every row, each of V; `by_selector`: whether a selector's scores chose the masks."""
    V = view.num_views
    names = [name for name in LISTS if name in table.column_names]
    whole_R = np.ones(table.num_rows, dtype=bool)
    for name in names:
        lists = table[name].combine_chunks()
        lengths_R = np.asarray(lists.value_lengths().fill_null(V))
        rows.report(name, lengths_R != V, f"a list of {V}", lengths_R.item)
        gaps_R = np.zeros(len(lists), dtype=bool)
        inner = lists.flatten()
        nested = inner.flatten() if pa.types.is_list(inner.type) else inner
        if inner.null_count or nested.null_count:
            gaps_R = np.array([_has_null(values) for values in lists.to_pylist()])
            rows.report(name, gaps_R, "no null inside a list", lambda row: "one")
        whole_R &= (lengths_R == V) & ~gaps_R & np.asarray(lists.is_valid())
    _check_draw(rows, table, view, whole_R)
    _check_masks(rows, table, whole_R, N, k)
    if by_selector:
        _check_chosen(rows, table, whole_R, N, k)


def _has_null(values: list | None) -> bool:
    flat = [part for value in values or () for part in (value if isinstance(value, list) else [value])]
    return None in flat


def _check_draw(rows: Rows, table: pa.Table, view: View, whole_R: np.ndarray) -> None:
    found: dict[str, dict[int, str]] = {"box": {}, "flip": {}}
    columns = {name: table[name].to_pylist() for name in ("height", "width", "box", "flip")}
    for row in np.flatnonzero(whole_R).tolist():
        key, height, width, boxes, flips = rows.keys[row], *(columns[name][row] for name in columns)
        if key is None or not height or not width or height < 1 or width < 1:
            continue
        for number, crop in enumerate(stored_crops(view, key, height, width)):
            if list(crop.box) != boxes[number]:
                expected = tuple(int(edge) for edge in crop.box)
                found["box"].setdefault(row, f"{tuple(boxes[number])} instead of {expected} at place {number}")
            if crop.flip != flips[number]:
                found["flip"].setdefault(row, f"{flips[number]} at place {number}")
    for name, texts in found.items():
        bad_R = np.isin(np.arange(len(whole_R)), list(texts))
        rows.report(name, bad_R, f"the draw of crop seed {view.crop_seed}", texts.__getitem__)


def _check_chosen(rows: Rows, table: pa.Table, whole_R: np.ndarray, N: int, k: int) -> None:
    """Report rows of nothing but the first k patches, unless chance may give these: so are scores ordered that are not
    finite, or all equal."""
    first = pack_mask(np.arange(N) < k)
    masks, choices = table["lt"].to_pylist(), math.comb(N, k)
    rows_of_first = [row for row in np.flatnonzero(whole_R).tolist() if set(masks[row]) == {first}]
    if rows_of_first and choices >= FEW and table.num_rows / choices ** len(masks[rows_of_first[0]]) < CHANCE:
        bad_R = np.isin(np.arange(len(whole_R)), rows_of_first)
        expected = "patches that the scores of a selector choose"
        rows.report(
            "lt", bad_R, expected, lambda row: f"the first {k} in every mask, as scores that are not finite give"
        )


def _check_masks(rows: Rows, table: pa.Table, whole_R: np.ndarray, N: int, k: int) -> None:
    """Masks: of ceil(N / 8) bytes, k bits set among the first N, none beyond; where ranks are there, those below k."""
    size = -(-N // 8)
    lengths, counts, differ, ranked = {}, {}, {}, {}
    for row in np.flatnonzero(whole_R).tolist():
        masks = table["lt"][row].as_py()
        wrong = [len(mask) for mask in masks if len(mask) != size]
        if wrong:
            lengths[row] = f"one of {wrong[0]}"
            continue
        mask_VN = unpack_masks(masks, 8 * size)
        kept_V = mask_VN[:, :N].sum(axis=1)
        if mask_VN[:, N:].any():
            counts[row] = f"a bit beyond patch {N - 1}"
        elif (kept_V != k).any():
            place = int(np.flatnonzero(kept_V != k)[0])
            counts[row] = f"{kept_V[place]} at place {place}"
        if "rank" not in table.column_names:
            continue
        ranks = table["rank"][row].as_py()
        odd = next((place for place, rank in enumerate(ranks) if sorted(rank) != list(range(N))), None)
        if odd is not None:
            ranked[row] = f"another list at place {odd}"
            continue
        wrong_V = ((np.array(ranks) < k) != mask_VN[:, :N]).any(axis=1)
        if wrong_V.any():
            differ[row] = f"others at place {np.flatnonzero(wrong_V)[0]}"
    for name, expected, texts in (
        ("lt", f"masks of {size} bytes", lengths),
        ("lt", f"{k} of {N} bits set in every mask", counts),
        ("rank", f"permutations of 0..{N - 1}", ranked),
        ("lt", f"the patches with rank < {k}", differ),
    ):
        rows.report(name, np.isin(np.arange(len(whole_R)), list(texts)), expected, texts.__getitem__)
