"""How often the report is wrong about other seeds, by simulating runs whose true differences are at the thresholds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.fixtures.simulated import simulated
from vit_tickets.train.report.analysis.bootstrap import contrast
from vit_tickets.train.report.analysis.verdict import judge, null_hypothesis

pytestmark = pytest.mark.process  # seconds of arithmetic
REPETITIONS = 100


def labels(images: int, seeds: int, seed_sd: float) -> Counter:
    """How often each label is given: of tickets half a point below dense, and level with a random subset."""
    found = Counter()
    for repetition in range(REPETITIONS):
        correct = simulated(np.random.default_rng([5, repetition]), images, seeds, seed_sd)
        match = contrast("LT on lt", correct["lt"], "dense on dense", correct["dense"])
        rival = contrast("LT on lt", correct["lt"], "RC on lt", correct["rc"])
        clear = replace(rival, estimate=20.0, lower=19.0, upper=21.0)
        found.update([judge(match, clear, 10, 10).label, null_hypothesis(rival, "", "")[0]])
    return found


@pytest.mark.parametrize("seed_sd", [0.0, 0.3])
def test_one_seed_gives_no_label(seed_sd):
    found = labels(2000, 1, seed_sd)
    assert not found.keys() & {"wins", "loses", "beats", "trails", "ties", "inconclusive"}
    assert sum(found[each] for each in ("ahead", "behind", "level")) == 2 * REPETITIONS


def test_two_seeds_are_wrong_in_no_more_than_one_case_of_twenty_on_either_side():
    """Of a hundred pairs of sides ten may be wrong; up to 19 may be chance (three deviations)."""
    found = labels(2000, 2, 2.0)
    for sides in (("wins", "loses"), ("beats", "trails")):
        assert sum(found[each] for each in sides) <= 19, found
