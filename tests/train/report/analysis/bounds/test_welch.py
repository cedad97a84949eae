"""Student's t and the Welch-Satterthwaite bounds against SciPy's."""

import math

import numpy as np
import pytest

from vit_tickets.train.report.analysis.bounds.welch import TWO_SIDED, t_quantile, welch_half_width


@pytest.mark.parametrize("df", [1, 1.05, 1.5, 2, 2.7, 4, 8, 30, 200, 999, 1e6])
def test_the_quantile_is_students(df):
    stats = pytest.importorskip("scipy.stats")
    assert t_quantile(df) == pytest.approx(stats.t.ppf(0.95, df), rel=1e-3)
    assert t_quantile(df, TWO_SIDED) == pytest.approx(stats.t.ppf(0.975, df), rel=2e-3)


def test_where_images_say_nothing_it_is_welchs_interval():
    """Images that differ in nothing but which runs are right: only the spread between runs is left of n = 2,000,000."""
    stats = pytest.importorskip("scipy.stats")
    accuracies = ([70.0, 71.0, 73.5], [65.0, 60.0])
    runs = [np.stack([np.arange(200_000) % 1000 < 10 * accuracy for accuracy in of]) for of in accuracies]
    expected = stats.ttest_ind(*accuracies, equal_var=False).confidence_interval(0.9)
    half_width = (expected.high - expected.low) / 2
    assert welch_half_width(*runs) == pytest.approx(half_width, rel=0.01)
    two_sided = stats.ttest_ind(*accuracies, equal_var=False).confidence_interval(0.95)
    assert welch_half_width(*runs, TWO_SIDED) == pytest.approx((two_sided.high - two_sided.low) / 2, rel=0.01)


def test_where_runs_are_alike_the_images_are_left():
    rng = np.random.default_rng(0)
    first, second = (np.repeat(rng.random((1, 5000)) < share, 2, axis=0) for share in (0.8, 0.7))
    difference = 100 * (first[0].astype(float) - second[0])
    expected = 1.6449 * difference.std(ddof=1) / math.sqrt(5000)
    assert welch_half_width(first, second) == pytest.approx(expected, rel=1e-3)
    assert welch_half_width(first, first) == 0
    assert welch_half_width(first[:, :1], first[:, :1]) == 0
