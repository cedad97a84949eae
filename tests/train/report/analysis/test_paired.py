"""McNemar's exact test against scipy's binomial test and against counting every outcome."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.report.analysis.paired import mcnemar, paired


@pytest.fixture(scope="module")
def stats():
    return pytest.importorskip("scipy.stats", reason="scipy, which comes with scikit-learn, is not installed")


def by_enumeration(only_first, only_second):
    """Share of all ways to give each discordant image to a run that are at least as lopsided as the one found."""
    discordant = only_first + only_second
    wins = [sum(way) for way in product((0, 1), repeat=discordant)]
    return np.mean([abs(won - (discordant - won)) >= abs(only_first - only_second) for won in wins])


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (0, 5), (3, 3), (2, 7), (7, 2), (5, 6)])
def test_every_outcome_counted(only_first, only_second):
    assert mcnemar(only_first, only_second) == pytest.approx(by_enumeration(only_first, only_second), rel=1e-12)


@settings(max_examples=50)
@given(only_first=st.integers(0, 300), only_second=st.integers(0, 300))
def test_agrees_with_scipy(stats, only_first, only_second):
    if only_first + only_second:
        expected = stats.binomtest(only_first, only_first + only_second).pvalue
        assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first) <= 1


def test_large_counts_neither_overflow_nor_round(stats):
    assert mcnemar(2400, 2600) == pytest.approx(stats.binomtest(2400, 5000).pvalue, rel=1e-9)
    assert mcnemar(0, 1074) == 2.0**-1073
    assert mcnemar(0, 5000) == 0


def test_discordant_images_are_counted():
    first = np.array([1, 1, 1, 0, 0, 1], bool)
    second = np.array([1, 0, 0, 1, 0, 0], bool)
    found = paired("LT on lt", first, "RC on lt", second, seed=3)
    assert (found.first, found.second, found.seed, found.images) == ("LT on lt", "RC on lt", 3, 6)
    assert (found.only_first, found.only_second, found.p) == (3, 1, 0.625)
    with pytest.raises(ValueError, match="expected as many images of both runs, found 6 and 5"):
        paired("LT", first, "RC", second[1:], seed=0)


def test_runs_of_equal_accuracy_are_told_apart_in_at_most_5_percent():
    """The exact test never errs more often than it says."""
    rng = np.random.default_rng(0)
    found = [mcnemar(wins, 60 - wins) <= 0.05 for wins in rng.binomial(60, 0.5, 2000).tolist()]
    assert np.mean(found) <= 0.05
