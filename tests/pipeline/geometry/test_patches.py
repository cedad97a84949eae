import hashlib
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.geometry.patches import (
    Budget,
    ceil_count,
    grid_side,
    parse_budgets,
    random_rank,
    random_subset,
    rank_by_value,
    rank_dtype,
    scaled_count,
    small_grid_side,
    ticket_of,
)
from vit_tickets.pipeline.system.errors import UserError

ranks = st.integers(1, 20).flatmap(lambda side: st.permutations(range(side * side)))


@pytest.mark.parametrize(("x", "count"), [(0.9 * 0.9 * 100, 81), (4.0, 4), (4.000001, 5), (4.0000000001, 4), (0.1, 1)])
def test_ceil_count(x, count):
    assert ceil_count(x) == count


# 14 x 14 patches, three stages: worked out by hand; the keep rates' counts are what the authors' programs print
@pytest.mark.parametrize(
    ("budget", "counts"),
    [
        (Budget(sparsity=0.27), (177, 159, 144)),
        (Budget(sparsity=0.488), (157, 126, 101)),
        (Budget(keep_rate=0.95), (187, 178, 170)),
        (Budget(keep_rate=0.9), (177, 160, 144)),
        (Budget(keep_rate=0.85), (167, 142, 121)),
        (Budget(keep_rate=0.8), (157, 126, 101)),
        (Budget(keep_rate=0.75), (147, 111, 84)),
        (Budget(sparsity=0.0), (196, 196, 196)),
        (Budget(tokens=144), (177, 160, 144)),
        (Budget(tokens=101), (158, 126, 101)),
        (Budget(tokens=196), (196, 196, 196)),
        (Budget(tokens=1), (34, 6, 1)),
    ],
)
def test_stage_counts_of_the_papers(budget, counts):
    assert budget.stage_counts(196, 3) == counts


@given(st.floats(0, 0.99), st.integers(1, 30), st.integers(1, 5))
def test_sparsity_counts_descend_to_k(sparsity, side, stages):
    N = side * side
    counts = Budget(sparsity=sparsity).stage_counts(N, stages)
    assert len(counts) == stages
    assert list(counts) == sorted(counts, reverse=True)
    assert 1 <= counts[-1] <= counts[0] <= N
    assert counts[-1] == Budget(sparsity=sparsity).stage_counts(N, 1)[0], "k does not depend on the stages"
    assert abs(counts[-1] - (1 - sparsity) * N) < 1 + 1e-6


@given(st.integers(1, 40).flatmap(lambda side: st.tuples(st.just(side * side), st.integers(1, side * side))), st.data())
def test_tokens_are_exact_and_the_stages_those_of_the_same_sparsity(sizes, data):
    N, kept = sizes
    stages = data.draw(st.integers(1, 5))
    counts = Budget(tokens=kept).stage_counts(N, stages)
    assert counts[-1] == kept
    assert list(counts) == sorted(counts, reverse=True)
    assert counts[0] <= N
    for stage, count in enumerate(counts, start=1):
        exact = (kept / N) ** (stage / stages) * N
        assert exact - 1e-6 <= count < exact + 1 + 1e-6


def test_more_tokens_than_patches_are_refused_with_the_grid():
    with pytest.raises(UserError, match="expected at most 196 tokens, the patches of a 14 x 14 grid, found 197"):
        Budget(tokens=197).stage_counts(196, 3)


@given(st.floats(0.01, 1), st.integers(1, 30))
def test_keep_rate_applies_to_what_is_left(rate, side):
    left = side * side
    for count in Budget(keep_rate=rate).stage_counts(left, 3):
        assert count == math.ceil(round(rate * left, 9))
        left = count


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"sparsity": 0.1, "keep_rate": 0.9},
        {"sparsity": 1.0},
        {"sparsity": -0.1},
        {"keep_rate": 0.0},
        {"keep_rate": 1.1},
        {"sparsity": math.nan},
        {"tokens": 0},
        {"tokens": 101, "sparsity": 0.1},
    ],
)
def test_impossible_budgets(values):
    with pytest.raises(UserError, match="expected"):
        Budget(**values)


def test_labels():
    assert Budget(sparsity=0.270).label == "s0.27"
    assert Budget(keep_rate=0.9).label == "r0.9"
    assert Budget(tokens=101).label == "k101"
    assert [str(budget) for budget in parse_budgets(None, None, "101,144")] == ["101 tokens", "144 tokens"]


@pytest.mark.parametrize("budget", [Budget(sparsity=0.0), Budget(keep_rate=1.0), Budget(tokens=1)])
def test_a_record_gives_its_budget_back(budget):
    assert Budget.of(budget.record()) == Budget.of(budget.in_full()) == budget
    assert budget.record() == {budget.kind: budget.value}


def test_parse_budgets():
    assert parse_budgets(None, None) == [Budget(sparsity=0.27)]
    assert parse_budgets("0.27,0.488,0.27", None) == [Budget(sparsity=0.27), Budget(sparsity=0.488)]
    assert parse_budgets(None, "0.9") == [Budget(keep_rate=0.9)]
    assert parse_budgets(None, None, "101,144,101") == [Budget(tokens=101), Budget(tokens=144)]
    for options in (
        ("0.2", "0.9"),
        ("a", None),
        ("0.2,", None),
        ("1.5", None),
        (None, None, "9.5"),
        (None, "0.9", "9"),
    ):
        with pytest.raises(UserError, match="expected"):
            parse_budgets(*options)


def test_a_percentage_is_told_as_a_share_with_its_option():
    said = r"^--sparsity: expected a sparsity in \[0, 1\), found 48.8; 48.8% is 0.488$"
    for give in (lambda: parse_budgets("48.8", None), lambda: Budget.chosen(48.8, None, None)):
        with pytest.raises(UserError, match=said):
            give()
    with pytest.raises(UserError, match=r"^--tokens: expected 1 token or more, found 0$"):
        parse_budgets(None, None, "0")


# of 196 patches, 0.27 keeps 144 = 12 x 12 = 192 px; 0.488 keeps 101, and 160 px has 100
@pytest.mark.parametrize(("kept", "side"), [(144, 12), (101, 10), (84, 9), (121, 11), (170, 13), (196, 14), (1, 1)])
def test_small_grid_side(kept, side):
    assert small_grid_side(196, kept) == side


@given(st.integers(1, 40).flatmap(lambda side: st.tuples(st.just(side), st.integers(1, side * side))))
def test_small_grid_side_is_the_nearest_square(side_and_kept):
    side, kept = side_and_kept
    distance = abs(small_grid_side(side * side, kept) ** 2 - kept)
    assert distance == min(abs(g * g - kept) for g in range(1, side + 1))


def test_grid_side_and_scaled_count():
    assert grid_side(196) == 14
    with pytest.raises(UserError, match="square grid"):
        grid_side(197)
    assert scaled_count(144, 196, 196) == 144
    assert scaled_count(9, 36, 144) == 36
    assert rank_dtype(256) is np.uint8
    assert rank_dtype(257) is np.uint16


@given(ranks, st.data())
def test_ticket_of(rank, data):
    kept = data.draw(st.integers(1, len(rank)))
    rank_N = np.array(rank, dtype=rank_dtype(len(rank)))
    ticket = ticket_of(rank_N, kept)
    assert ticket.tolist() == [patch for patch in range(len(rank)) if rank[patch] < kept]
    assert ticket.dtype == rank_N.dtype


def slow_random_order(text: str, num_patches: int) -> list[int]:
    """The order as `random_rank` documents it, word by word."""
    digest = hashlib.shake_128(text.encode()).digest(8 * num_patches)
    words = [struct.unpack("<Q", digest[8 * p : 8 * p + 8])[0] for p in range(num_patches)]
    return sorted(range(num_patches), key=lambda patch: (words[patch], patch))


@given(st.integers(0, 5), st.text(max_size=20).filter(lambda key: key.isprintable()), st.integers(1, 300), st.data())
def test_random_functions_follow_the_hash(seed, key, num_patches, data):
    kept, view = data.draw(st.integers(1, num_patches)), data.draw(st.integers(0, 3))
    order = slow_random_order(f"{seed}:{key}:{view}" if view else f"{seed}:{key}", num_patches)
    subset = random_subset(seed, key, num_patches, kept, view)
    assert subset.tolist() == sorted(order[:kept])
    assert subset.dtype == rank_dtype(num_patches)
    rank = random_rank(seed, key, num_patches, view)
    assert rank.tolist() == [order.index(patch) for patch in range(num_patches)]
    assert np.array_equal(ticket_of(rank, kept), subset)


def test_random_subset_is_pinned():
    """Published manifests hold these values: they may never change."""
    assert random_subset(0, "n01440764/n01440764_10026", 16, 4).tolist() == [1, 3, 4, 8]
    assert random_subset(0, "n01440764/n01440764_10026", 16, 4, view=1).tolist() == [1, 9, 13, 15]


def test_random_subsets_are_uniform():
    counts = np.zeros(36)
    for image in range(4000):
        counts[random_subset(0, f"{image:05d}", 36, 9)] += 1
    # standard deviation of a share: sqrt(.25 * .75 / 4000) = 0.0068
    assert np.abs(counts / 4000 - 0.25).max() < 5 * 0.0068


def test_rank_by_value_gives_ties_to_the_lower_index():
    assert rank_by_value(np.array([0.5, 0.75, 0.5, 0.25, 0.75])).tolist() == [2, 0, 3, 4, 1]
