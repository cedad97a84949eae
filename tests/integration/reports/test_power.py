"""The number of images or seeds that an open verdict names, by simulating repeats with that many."""

import math

import numpy as np
import pytest

from tests.train.report.analysis.test_verdict import simulate
from vit_tickets.train.report.analysis.bootstrap import Contrast, contrast
from vit_tickets.train.report.analysis.verdict import needed

pytestmark = pytest.mark.process

LT_ALONE, RC_ALONE, BOTH = 0.08, 0.06, 0.7  # of all images, who classifies them right


def repeat(rng, images):
    """One run of each on new images, with the true difference of 2 points."""
    drawn = rng.choice(4, size=images, p=(BOTH, LT_ALONE, RC_ALONE, 1 - BOTH - LT_ALONE - RC_ALONE))
    return contrast("LT", (drawn <= 1)[None], "RC", ((drawn == 0) | (drawn == 2))[None])


@pytest.mark.slow
@pytest.mark.parametrize(("times", "at_least", "at_most"), [(0.5, 0.2, 0.42), (1, 0.42, 0.58), (2.3, 0.73, 0.87)])
def test_the_named_images_decide_at_even_odds_and_2_3_times_as_many_in_four_of_five(times, at_least, at_most):
    error = 100 * math.sqrt((LT_ALONE + RC_ALONE - (LT_ALONE - RC_ALONE) ** 2) / 400)
    alike = Contrast("LT", "RC", 2.0, -9.0, 9.0, error, 0.0, 400, (5, 5), -9.0, 9.0)  # seeds all alike
    images = needed(alike, 0.0).images
    rng = np.random.default_rng(12)
    decided = [repeat(rng, math.ceil(times * images)).lower > 0 for _ in range(300)]
    assert at_least <= np.mean(decided) <= at_most


@pytest.mark.slow
def test_the_named_seeds_decide_at_about_even_odds():
    """Few of them: the bounds err on the wide side, and so does the number."""
    rng = np.random.default_rng(13)

    def repeat(seeds):
        correct = simulate(rng, {"lt": 0.80, "rc": 0.74}, seeds, 400, seed_sd=0.25)
        return contrast("LT", correct["lt"], "RC", correct["rc"])

    pilots = [repeat(3) for _ in range(60)]
    estimate = np.mean([pilot.estimate for pilot in pilots])
    error, seed_error = (
        math.sqrt(np.mean([getattr(pilot, name) ** 2 for pilot in pilots])) for name in ("standard_error", "seed_error")
    )
    wanted = needed(Contrast("LT", "RC", estimate, -9.0, 9.0, error, seed_error, 400, (3, 3), -9.0, 9.0), 0.0)
    assert wanted.images is None
    decided = [repeat(wanted.seeds).lower > 0 for _ in range(100)]
    assert 0.35 <= np.mean(decided) <= 0.75
