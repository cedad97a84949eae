"""Barriers against loops over images, and against bounds of planted errors."""

import random

import numpy as np
import pytest

from vit_tickets.train.stability.barrier import Barrier


def planted(errors, images=1000, seed=0):
    """bool (P, n): at each point so many of the images are wrong, which ones by chance."""
    rng = np.random.default_rng(seed)
    correct = np.ones((len(errors), images), dtype=bool)
    for row, error in zip(correct, errors, strict=True):
        row[rng.permutation(images)[: round(error / 100 * images)]] = False
    return correct


def slow_bounds(correct, resamples=600):
    """One-sided 95% bounds of the height, image by image."""
    draws, (points, images) = random.Random(1), correct.shape
    heights = []
    for _ in range(resamples):
        chosen = [draws.randrange(images) for _ in range(images)]
        errors = [100 * sum(not correct[point][image] for image in chosen) / images for point in range(points)]
        heights.append(max(errors) - (errors[0] + errors[-1]) / 2)
    heights.sort()
    return heights[resamples // 20], heights[-resamples // 20]


def test_the_height_is_the_largest_error_less_the_mean_of_both_ends():
    barrier = Barrier.of(planted([3.0, 9.5, 4.0, 5.0]))
    assert barrier.errors == pytest.approx((3.0, 9.5, 4.0, 5.0))
    assert barrier.height == pytest.approx(9.5 - 4.0)
    assert Barrier.of(planted([3.0, 1.0, 5.0])).height == pytest.approx(1.0), "an end is on the line, too"


def test_bounds_are_those_of_resampled_images():
    correct = planted([10, 14, 12, 11], images=120)
    low, high = slow_bounds(correct)
    barrier = Barrier.of(correct)
    assert barrier.low == pytest.approx(low, abs=0.8)
    assert barrier.high == pytest.approx(high, abs=0.8)


@pytest.mark.parametrize(
    ("errors", "images", "verdict"),
    [
        ([3, 3, 3, 3], 10_000, "stable"),
        ([3, 8, 9, 3], 10_000, "not stable"),
        ([3, 5, 3], 10_000, "not decided"),
        ([10, 11, 10], 100, "not decided"),
        ([0, 0, 0], 29, "not decided"),  # too few for bounds
        ([0, 0, 0], 30, "stable"),
    ],
)
def test_a_verdict_needs_its_bound_on_one_side_of_two_points(errors, images, verdict):
    assert Barrier.of(planted(errors, images)).verdict == verdict


def test_one_image_decides_alike_at_all_points():
    """The same images are wrong everywhere: no resample of them has a barrier."""
    correct = np.tile(planted([20], images=200), (5, 1))
    assert (Barrier.of(correct).low, Barrier.of(correct).high) == (0, 0)


def test_between_networks_that_answer_by_chance_nothing_is_decided():
    assert Barrier.of(planted([90, 90, 90]), 10).verdict == "not decided"
    assert Barrier.of(planted([88, 88, 30]), 10).at_chance  # 90 of 100 wrong by chance, give or take 3 x 0.95
    assert not Barrier.of(planted([85, 85, 85]), 10).at_chance
    assert not Barrier.of(planted([90, 90, 90])).at_chance
