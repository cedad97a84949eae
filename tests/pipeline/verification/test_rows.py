"""Findings about the rows of a manifest: each spoils one aspect of a true one (N = 36, k = 18, mask seed 3)."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fixtures.findings import rewrite, set_value, swapped, the_only
from vit_tickets.pipeline.verification.manifests import verify_manifest


# Each spoils one aspect of row 2 of train/000000.parquet, which is sound; its counterpart with an error is below.
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", None, "label: expected a value where there is no error, found null"),
        ("label", -1, "label: expected 0 or more, found -1"),
        ("height", None, "height: expected a value where there is no error, found null"),
        ("width", 0, "width: expected 1 or more, found 0"),
        ("prediction", None, "prediction: expected a value where there is no error, found null"),
        ("prediction", -3, "prediction: expected 0 or more, found -3"),
        ("confidence", 1.5, "confidence: expected a probability, found 1.5"),
        ("confidence", float("nan"), "confidence: expected a probability, found nan"),
        ("rank", lambda v: v[:-1], "rank: expected a list of 36, found one of 35"),
        ("lt", lambda v: v[:-1], "lt: expected a list of 18, found one of 17"),
        ("rc", lambda v: [*v, 0], "rc: expected a list of 18, found one of 19"),
        ("score", [], "score: expected a list of 36, found one of 0"),
        ("rank", lambda v: [None, *v[1:]], "rank: expected no null inside a list"),
        ("rank", None, "rank: expected a value where there is no error, found null"),
        ("rank", lambda v: [v[1], *v[1:]], "rank: expected a permutation of 0..35, found"),
        ("lt", None, "lt: expected a value where there is no error, found null"),
        ("lt", swapped, "lt: expected the patches with rank < 18, ascending, found patch"),
        ("rc", swapped, "rc: expected the subset of mask seed 3, found patch"),
        ("rc", lambda v: [p for p in range(36) if p not in v], "rc: expected the subset of mask seed 3, found patch"),
        ("score", lambda v: [float("nan"), *v[1:]], "score: expected finite numbers, found others"),
        ("score", lambda v: [1 - x for x in v], "score: expected no increase along rank among patches of one stage"),
    ],
)
def test_a_wrong_value(manifest, column, value, message):
    rewrite(manifest, set_value(column, 2, value))
    key = pq.read_table(manifest / "train/000000.parquet")["key"][2].as_py()
    the_only(verify_manifest(str(manifest)), f"train/000000.parquet row 2 ({key}): {message}")


def row_with_error(manifest: Path) -> tuple[str, int]:
    for path in sorted((manifest / "train").iterdir()):
        errors = pq.read_table(path)["error"].to_pylist()
        if any(errors):
            return f"train/{path.name}", next(row for row, error in enumerate(errors) if error)
    raise AssertionError


@pytest.mark.parametrize(
    ("column", "value"), [("lt", list(range(18))), ("score", [0.0] * 36), ("prediction", 0), ("confidence", 0.5)]
)
def test_an_error_with_a_value(manifest, column, value):
    name, row = row_with_error(manifest)
    rewrite(manifest, set_value(column, row, value), name)
    findings = list(verify_manifest(str(manifest)))
    assert f"{column}: expected null where there is an error, found a value" in findings[0]


def test_an_error_more_than_counted(manifest):
    def change(columns):
        columns["error"][2] = "broken"
        for column in ("rank", "lt", "rc", "score", "prediction", "confidence", "height", "width"):
            columns[column][2] = None

    rewrite(manifest, change)
    findings = list(verify_manifest(str(manifest)))
    assert findings[-1].startswith("ticket.json: train: errors: expected ")


def test_keys(manifest):
    other = pq.read_table(manifest / "train/000001.parquet")["key"][0].as_py()
    rewrite(manifest, set_value("key", 2, None))
    the_only(verify_manifest(str(manifest)), "row 2 (None): key: expected a key, found null")
    rewrite(manifest, set_value("key", 2, other))
    findings = list(verify_manifest(str(manifest)))
    assert f"train/000000.parquet row 2 ({other}): rc: expected the subset of mask seed 3" in findings[0]
    assert f"train/000001.parquet row 0 ({other}): key: expected a key once in the split" in findings[1]


def test_the_ties_of_rounded_scores_are_no_finding(manifest):
    rewrite(manifest, set_value("score", 2, [0.5] * 36))
    assert list(verify_manifest(str(manifest))) == []


@pytest.mark.parametrize(("first", "last", "sound"), [(26, 36, True), (18, 26, False), (30, 36, False), (0, 18, True)])
def test_stages_have_scales_of_their_own(manifest, first, last, sound):
    """The stages keep 26 and 18 of 36: ranks 0..25 have the second stage's scores, 26..35 the first's."""

    def change(columns):
        raised = [first <= rank < last for rank in columns["rank"][2]]
        columns["score"][2] = [x + 10 * up for x, up in zip(columns["score"][2], raised, strict=True)]

    rewrite(manifest, change)
    findings = list(verify_manifest(str(manifest)))
    assert [("score: expected no increase" in finding) for finding in findings] == ([] if sound else [True])
