"""Whether losses add, on planted predictions, and the bounds beside a slow oracle."""

import numpy as np
import pytest

from vit_tickets.train.report.analysis.bootstrap import contrast
from vit_tickets.train.report.analysis.joint.sums import interaction


def runs(*wrong, n=10_000):
    """Correctness of runs that are wrong on a share of the images from a place on: (start, share) each, bool (S, n)."""
    found = np.ones((len(wrong), n), bool)
    for row, places in zip(found, wrong, strict=True):
        for start, share in places:
            row[round(start * n) : round((start + share) * n)] = False
    return found


DENSE = [[(0, 0.1)]] * 3
WEIGHTS, PATCHES = [[(0, 0.1), (0.2, 0.03)]] * 3, [[(0, 0.1), (0.4, 0.05)]] * 3


@pytest.mark.parametrize(
    ("both", "estimate", "label"),
    [
        ([[(0, 0.1), (0.2, 0.03), (0.4, 0.05)]] * 3, 0.0, "add"),  # what either loses, each image by itself
        ([[(0, 0.1), (0.4, 0.05)]] * 3, 3.0, "less"),  # weights lose nothing that patches do not
        ([[(0, 0.1), (0.2, 0.2)]] * 3, -12.0, "more"),
    ],
)
def test_planted_losses_add_or_do_not(both, estimate, label):
    found = interaction(*(runs(*wrong) for wrong in (both, WEIGHTS, PATCHES, DENSE)))
    assert found.estimate == pytest.approx(estimate)
    assert found.label == label
    assert found.low <= found.lower <= found.estimate <= found.upper <= found.high


def test_seeds_that_differ_leave_it_open():
    both = [[(0, share), (0.4, 0.05)] for share in (0.08, 0.1, 0.16)]
    found = interaction(*(runs(*wrong) for wrong in (both, WEIGHTS, PATCHES, DENSE)))
    assert found.label == "open"
    assert found.lower < 0 < found.upper


@pytest.mark.parametrize("single", range(4))
def test_one_seed_of_any_cell_tells_nothing(single):
    cells = [runs(*(wrong[:1] if place == single else wrong)) for place, wrong in enumerate((PATCHES, WEIGHTS) * 2)]
    found = interaction(*cells)
    assert (found.label, found.unbounded) == ("none", "one seed")


def test_few_images_tell_nothing():
    found = interaction(*(runs(*wrong, n=20) for wrong in (DENSE, WEIGHTS, PATCHES, DENSE)))
    assert (found.label, found.unbounded) == ("none", "fewer than 30 images")


def test_without_a_loss_of_patches_it_is_the_difference_of_two():
    rng = np.random.default_rng(0)
    first, second = (rng.random((3, 4_000)) < share for share in (0.8, 0.78))
    none = np.ones((3, 4_000), bool)
    found, expected = interaction(first, second, none, none), contrast("a", first, "b", second)
    for name in ("estimate", "lower", "upper", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=0.1), name


def test_bounds_are_those_of_a_slow_bootstrap_where_seeds_are_many():
    rng = np.random.default_rng(1)
    cells = [rng.random((8, 1_500)) < share for share in (0.7, 0.75, 0.8, 0.85)]
    found, slow = interaction(*cells), np.random.default_rng(2)
    drawn = []
    for _ in range(2_000):
        images = slow.integers(0, 1_500, 1_500)
        means = [of[slow.integers(0, 8, 7)][:, images].mean() for of in cells]
        drawn.append(100 * (means[0] - means[1] - means[2] + means[3]))
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert found.lower == pytest.approx(low, abs=0.4)
    assert found.upper == pytest.approx(high, abs=0.4)
