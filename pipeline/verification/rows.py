"""Check the rows of one manifest file: columns, tickets against ranks, random subsets, scores.

Legend: R rows of a file, N patches of an image, k of them kept.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.manifests.contract import columns_of
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import uses_selector
from vit_tickets.pipeline.manifests.rows import Layout
from vit_tickets.pipeline.verification.crops import check_crops
from vit_tickets.pipeline.verification.findings import Rows, Tally, check_columns, check_keys

LISTS = ("rank", "lt", "rc")
JOINED = "joined"


def layout_of(manifest: Manifest, split: str, found: pa.Schema) -> Layout:
    """What the columns of a file of `split` depend on; `found` decides where an old ticket.json leaves a choice."""
    layout = manifest.layout(split)
    if manifest.ticket.predictions is None and not layout.num_views:
        return replace(layout, predictions="prediction" in found.names)
    return layout


def check_rows(tally: Tally, manifest: Manifest, split: str, table: pa.Table, keys: set[str | None]) -> None:
    """Check the values of every row of a file whose schema is right; `keys` are the split's so far, and grow."""
    view, layout = manifest.view(split), manifest.layout(split)
    N, k = layout.num_patches, layout.kept
    rows = Rows(tally, table)
    check_keys(rows, table, keys)
    checked = check_columns(rows, table, layout, columns_of(layout.row))
    if view.num_views:
        check_crops(rows, table, view, N, k, uses_selector(manifest.ticket.method_name))
        return
    (rank_RN, ranked_R), (lt_Rk, ticket_R), (rc_Rk, random_R) = (checked[name] for name in LISTS)
    rank_RN = rank_RN.astype(np.int64)
    _check_ticket(rows, lt_Rk, rank_RN, ticket_R & ranked_R, k)
    _check_random(rows, rc_Rk, random_R, manifest.mask_seed, N, k)
    if not layout.scores:
        return
    score_RN, scored_R = checked["score"]
    counts = manifest.stage_counts_of(split)  # the scores of stages are not on one scale
    _check_score(rows, score_RN, rank_RN, scored_R & ranked_R, counts)
    if view.num_crops or JOINED in manifest.record:  # values of 1 - rank / N
        odd_RN = (score_RN < 0) | (score_RN > 1)
        odd_R = scored_R & odd_RN.any(axis=1)
        rows.report("score", odd_R, "scores in 0..1", lambda row: f"{score_RN[row][odd_RN[row]][0]:g}")


def _check_ticket(rows: Rows, found_Rk: np.ndarray, rank_RN: np.ndarray, sound_R: np.ndarray, k: int) -> None:
    expected_Rk = found_Rk.copy()
    expected_Rk[sound_R] = np.nonzero(rank_RN[sound_R] < k)[1].reshape(-1, k)
    _compare(rows, "lt", f"the patches with rank < {k}, ascending", expected_Rk, found_Rk)


def _check_random(rows: Rows, found_Rk: np.ndarray, valid_R: np.ndarray, mask_seed: int, N: int, k: int) -> None:
    expected_Rk = found_Rk.copy()
    for row in np.flatnonzero(valid_R):
        if (key := rows.keys[row]) is not None:
            expected_Rk[row] = random_subset(mask_seed, key, N, k)
    _compare(rows, "rc", f"the subset of mask seed {mask_seed}", expected_Rk, found_Rk)


def _compare(rows: Rows, column: str, what: str, expected_Rk: np.ndarray, found_Rk: np.ndarray) -> None:
    def found(row: int) -> str:
        place = np.flatnonzero(expected_Rk[row] != found_Rk[row])[0]
        return f"patch {found_Rk[row, place]} at place {place} instead of {expected_Rk[row, place]}"

    rows.report(column, (expected_Rk != found_Rk).any(axis=1), what, found)


def _check_score(
    rows: Rows, score_RN: np.ndarray, rank_RN: np.ndarray, sound_R: np.ndarray, counts: Sequence[int]
) -> None:
    rising_R = np.zeros(len(score_RN), dtype=bool)
    rising_R[sound_R] = _rises(score_RN[sound_R], rank_RN[sound_R], counts)
    rows.report("score", rising_R, "no increase along rank among patches of one stage", lambda row: "one")


def _rises(score_RN: np.ndarray, rank_RN: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Rows where the score increases along the rank among the patches that one stage scored, bool (R,).

    A patch keeps the score of the last stage that saw it, so ranks [counts[i], counts[i - 1]) are of stage i, and the
    last stage's also cover the ticket. Rounding to float16 keeps order: it makes ties, never an increase.
    """
    by_rank_RN = np.take_along_axis(score_RN, np.argsort(rank_RN, axis=1), axis=1)
    rises_RN = by_rank_RN[:, 1:] > by_rank_RN[:, :-1]
    borders = [count for count in counts[:-1] if count < rank_RN.shape[1]]
    rises_RN[:, np.array(borders, dtype=int) - 1] = False
    return rises_RN.any(axis=1)
