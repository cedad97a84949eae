"""Check the rows of one manifest file: columns, permutations, tickets, random counterparts, scores.

Legend: R rows of a file, N patches of an image, k of them kept.
"""

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.manifests import manifest as manifests
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.methods import STAGED
from vit_tickets.pipeline.verification.crops import check_crops
from vit_tickets.pipeline.verification.findings import Rows, Tally, check_keys, check_nulls

LISTS = ("rank", "lt", "rc", "score")


def schema_of(manifest: Manifest, split: str, found: pa.Schema) -> pa.Schema:
    """What the columns of a file of `split` should be; `found` decides where an old ticket.json leaves a choice."""
    predictions = manifest.ticket.predictions
    if predictions is None:
        predictions = "prediction" in found.names
    crops, ranks = manifest.view(split).num_views is not None, manifest.split_record(split).crop_ranks
    return manifests.schema(manifest.num_patches_of(split), predictions, crops, ranks)


def check_rows(tally: Tally, manifest: Manifest, split: str, table: pa.Table, keys: set[str]) -> None:
    """Check the values of every row of a file whose schema is right; `keys` are the split's so far, and grow."""
    view = manifest.view(split)
    rows = Rows(tally, table)
    check_keys(rows, table, keys)
    _check_plain_columns(rows, table)
    N, k = manifest.num_patches_of(split), manifest.kept_of(split)
    if view.num_views:
        check_crops(rows, table, view, N, k)
        return
    lists = {name: rows.matrix(table[name], name, size) for name, size in zip(LISTS, (N, k, k, N), strict=True)}
    rank_RN = _check_rank(rows, *lists["rank"], N)
    _check_ticket(rows, *lists["lt"], rank_RN, k)
    _check_random(rows, *lists["rc"], manifest.mask_seed, N, k)
    one_scale = view.num_crops or manifest.ticket.scored_by != STAGED  # as the scores of stages are not
    counts = [k] if one_scale else manifest.ticket_of(split).counts
    _check_score(rows, *lists["score"], rank_RN, counts)


def _check_plain_columns(rows: Rows, table: pa.Table) -> None:
    check_nulls(rows, table, either=("label", "height", "width"))
    for name, least in (("label", 0), ("height", 1), ("width", 1), ("prediction", 0)):
        if name in table.column_names:
            values_R = np.asarray(table[name].fill_null(least))
            rows.report(name, values_R < least, f"{least} or more", values_R.item)
    if "confidence" in table.column_names:
        values_R = np.asarray(table["confidence"].fill_null(1.0))
        rows.report("confidence", ~((values_R >= 0) & (values_R <= 1)), "a probability", values_R.item)


def _check_rank(rows: Rows, rank_RN: np.ndarray, valid_R: np.ndarray, N: int) -> np.ndarray:
    """Check that ranks are permutations, and return them as (R, N) int64, rows of -1 where they are not."""
    sound_R = (np.sort(rank_RN, axis=1) == np.arange(N)).all(axis=1)
    rows.report("rank", valid_R & ~sound_R, f"a permutation of 0..{N - 1}", lambda row: _not_permutation(rank_RN[row]))
    return np.where((valid_R & sound_R)[:, None], rank_RN.astype(np.int64), -1)


def _check_ticket(rows: Rows, found_Rk: np.ndarray, valid_R: np.ndarray, rank_RN: np.ndarray, k: int) -> None:
    checked = np.flatnonzero(valid_R & (rank_RN[:, 0] >= 0))
    expected_Rk = found_Rk.copy()
    expected_Rk[checked] = np.nonzero(rank_RN[checked] < k)[1].reshape(-1, k)
    _compare(rows, "lt", f"the patches with rank < {k}, ascending", expected_Rk, found_Rk)


def _check_random(rows: Rows, found_Rk: np.ndarray, valid_R: np.ndarray, mask_seed: int, N: int, k: int) -> None:
    expected_Rk = found_Rk.copy()
    for row in np.flatnonzero(valid_R):
        if rows.keys[row] is not None:
            expected_Rk[row] = random_subset(mask_seed, rows.keys[row], N, k)
    _compare(rows, "rc", f"the subset of mask seed {mask_seed}", expected_Rk, found_Rk)


def _compare(rows: Rows, column: str, what: str, expected_Rk: np.ndarray, found_Rk: np.ndarray) -> None:
    def found(row: int) -> str:
        place = np.flatnonzero(expected_Rk[row] != found_Rk[row])[0]
        return f"patch {found_Rk[row, place]} at place {place} instead of {expected_Rk[row, place]}"

    rows.report(column, (expected_Rk != found_Rk).any(axis=1), what, found)


def _check_score(rows: Rows, score_RN: np.ndarray, valid_R: np.ndarray, rank_RN: np.ndarray, counts: list[int]) -> None:
    finite_R = np.isfinite(score_RN).all(axis=1)
    rows.report("score", valid_R & ~finite_R, "finite numbers", lambda row: "others")
    checked = np.flatnonzero(valid_R & finite_R & (rank_RN[:, 0] >= 0))
    rising_R = np.zeros(len(score_RN), dtype=bool)
    rising_R[checked] = _rises(score_RN[checked], rank_RN[checked], counts)
    rows.report("score", rising_R, "no increase along rank among patches of one stage", lambda row: "one")


def _not_permutation(rank_N: np.ndarray) -> str:
    values, counts = np.unique(rank_N, return_counts=True)
    twice = values[counts > 1]
    return f"{twice[0]} twice" if len(twice) else f"{values[-1]}"


def _rises(score_RN: np.ndarray, rank_RN: np.ndarray, counts: list[int]) -> np.ndarray:
    """Rows where the score increases along the rank among the patches that one stage scored, bool (R,).

    A patch keeps the score of the last stage that saw it, so ranks [counts[i], counts[i - 1]) are of stage i, and the
    last stage's also cover the ticket. Rounding to float16 keeps order: it makes ties, never an increase.
    """
    by_rank_RN = np.take_along_axis(score_RN, np.argsort(rank_RN, axis=1), axis=1)
    rises_RN = by_rank_RN[:, 1:] > by_rank_RN[:, :-1]
    borders = [count for count in counts[:-1] if count < rank_RN.shape[1]]
    rises_RN[:, np.array(borders, dtype=int) - 1] = False
    return rises_RN.any(axis=1)
