"""Essential sparsity, against a bootstrap that draws every image, and bounds by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.lotus.essential import Paired, essential, paired


def drawn(masked, dense, resamples, rng):
    """Differences of resampled means, points: n images, and S - 1 of the S pairs, each drawn by itself."""
    seeds, images = len(masked), len(masked[0])
    found = []
    for _ in range(resamples):
        of_images = [rng.integers(images) for _ in range(images)]
        of_seeds = [rng.integers(seeds) for _ in range(max(1, seeds - 1))]
        total = 0
        for seed in of_seeds:
            for image in of_images:
                total += int(masked[seed][image]) - int(dense[seed][image])
        found.append(100 * total / (len(of_seeds) * images))
    return sorted(found)


def networks(seeds, images, lost, gained, rng, spread=0.1):
    """Pairs of networks; the masked one loses and gains this share of the images."""
    dense = np.stack([rng.random(images) < 0.7 + rng.uniform(-spread, spread) for _ in range(seeds)])
    change = rng.random((seeds, images))
    return np.where(dense, change >= lost, change < gained), dense


@pytest.mark.parametrize(("seeds", "lost", "gained"), [(1, 0.05, 0.02), (3, 0.04, 0.04)])
def test_bounds_are_those_of_a_bootstrap_that_draws_every_image(seeds, lost, gained):
    rng = np.random.default_rng(seeds)
    masked, dense = networks(seeds, 60, lost, gained, rng)
    found, slow = paired(masked, dense), drawn(masked, dense, 1500, rng)
    assert found.estimate == pytest.approx(100 * (masked.mean() - dense.mean()))
    near = 0.45  # points: resampling itself moves quantiles by about a third of this
    if seeds == 1:
        assert found.lower == pytest.approx(slow[75], abs=near)
        assert found.low == pytest.approx(slow[37], abs=2 * near)
    else:  # the wider of this and Student's t
        assert found.lower <= slow[75] + near
        per_seed = [100 * (one.mean() - other.mean()) for one, other in zip(masked, dense, strict=True)]
        at_least = 2.92 * np.std(per_seed, ddof=1) / math.sqrt(seeds)  # t with 2 degrees of freedom is the widest
        assert found.lower >= found.estimate - at_least - 3 * (found.estimate - slow[75])


def test_networks_are_paired_whatever_their_seeds_are_worth():
    """Dense runs 20 points apart do not widen the bounds of what masks take from each."""
    rng = np.random.default_rng(0)
    dense = np.stack([rng.random(400) < share for share in (0.6, 0.8)])
    masked = dense.copy()
    masked[0, np.flatnonzero(dense[0])[:2]] = False
    masked[1, np.flatnonzero(dense[1])[-2:]] = False
    found = paired(masked, dense)
    assert found.estimate == pytest.approx(-0.5)
    assert -1.5 < found.lower < -0.5
    same = paired(dense, dense)
    assert (same.estimate, same.lower, same.low, same.high) == (0, 0, 0, 0)


@given(
    lower=st.lists(st.floats(-5, 1), min_size=1, max_size=11),
    margin=st.floats(0.1, 3),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_the_rule(lower, margin, order):
    """By its words: the largest share at which, and at all smaller ones, the bound is above -margin."""
    shares = [(1 + place) / 20 for place in range(len(lower))]
    levels = [(share, Paired(0.0, bound, 0.0, 0.0)) for share, bound in zip(shares, lower, strict=True)]
    fitting = [
        share
        for share in shares
        if all(bound > -margin for other, bound in zip(shares, lower, strict=True) if other <= share)
    ]
    order.shuffle(levels)
    assert essential(levels, margin) == max(fitting, default=None)


def test_planted_losses_are_found():
    rng = np.random.default_rng(1)
    levels = []
    for share, lost in ((0.1, 0.0), (0.2, 0.002), (0.3, 0.1), (0.4, 0.0)):
        masked, dense = networks(1, 2000, lost, 0.0, rng)
        levels.append((share, paired(masked, dense)))
    assert essential(levels) == 0.2


def test_pairs_of_other_images_are_refused():
    with pytest.raises(ValueError, match="expected pairs of networks on the same images"):
        paired(np.ones((1, 3), dtype=bool), np.ones((1, 4), dtype=bool))
