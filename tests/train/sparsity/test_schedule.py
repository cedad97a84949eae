"""When masks change: the numbers of the papers, and runs too short for them."""

import math
from itertools import pairwise

import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity.schedule import Growth, Pruning, updates_of


@pytest.mark.parametrize(
    ("model", "steps", "interval"),
    [("deit_tiny", 1_500_000, 20_000), ("deit_s", 1_500_000, 15_000), ("deit_b", 750_000, 7_009)],
)
def test_masks_grow_as_often_as_in_svite(model, steps, interval):
    """Chen et al. 2021: every 20,000, 15,000 and 7,000 steps."""
    growth = Growth(600, updates_of(model))
    due = [number for number in range(0, steps, interval) if growth.due(number, steps)]
    assert growth.interval(steps) == interval
    assert Growth(600, every=9).interval(steps) == 9
    assert len(due) == math.ceil(0.8 * steps / interval) - 1
    assert not any(growth.due(number + 1, steps) for number in due)


def test_a_short_run_has_twenty_steps_between_changes_and_none_in_its_last_fifth():
    growth = Growth(1)
    assert [number for number in range(101) if growth.due(number, 100)] == [20, 40, 60]
    assert [number for number in range(101) if Growth(1, every=30).due(number, 100)] == [30, 60]


def test_the_share_falls_along_a_cosine():
    growth = Growth(1)
    assert growth.share_at(0, 100) == 0.5
    assert growth.share_at(40, 100) == pytest.approx(0.25)
    assert growth.share_at(20, 100) == pytest.approx(0.25 * (1 + math.cos(math.pi / 4)))
    assert growth.share_at(79, 100) < 0.001
    assert growth.share_at(80, 100) == growth.share_at(99, 100) == 0.0


def test_a_run_in_which_masks_would_never_change_is_refused():
    Growth(1).check(26)
    assert any(Growth(1).due(number, 26) for number in range(26))
    assert not any(Growth(1).due(number, 25) for number in range(25))
    with pytest.raises(UserError, match=r"expected 26 steps or more for masks that change every 20 .* found 25"):
        Growth(1).check(25)


@pytest.mark.parametrize("steps", [26, 100, 101, 125, 126])
def test_a_run_that_begins_after_the_last_change_is_refused(steps):
    growth = Growth(1)
    last = max(number for number in range(steps) if growth.due(number, steps))
    growth.check(steps, last)
    with pytest.raises(UserError, match=f"expected a start before step {last + 1}, .* one after {last + 1} steps"):
        growth.check(steps, last + 1)


def test_the_twenty_prunings():
    pruning = Pruning(300, 0.5)
    found = [pruning.sparsity_after(number) for number in range(21)]
    expected, left = [0.0], 1.0
    for _ in range(20):
        left -= 0.05
        expected.append(0.5 - 0.5 * left * left * left)
    assert found == pytest.approx(expected)
    assert found[0] == 0
    assert found[20] == 0.5
    steps = [pruning.step_of(number, 1200) for number in range(1, 21)]
    assert (steps[0], steps[-1]) == (200, 600)
    gaps = [after - before for before, after in pairwise(steps)]
    assert max(gaps) - min(gaps) <= 1


def test_prunings_that_fall_together_are_made_together():
    pruning = Pruning(1, 0.5)
    made = [pruning.made_by(number, 12) for number in range(12)]
    assert (made[1], made[2] > 0, made[5] < 20, made[6:]) == (0, True, True, [20] * 6)
    assert made == sorted(made)
    assert Pruning(1, 0.5).made_by(0, 1) == 20
    assert Pruning(1, 0.5, times=1).sparsity_after(1) == 0.5
