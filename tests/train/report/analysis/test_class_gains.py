"""Gains by class against a slow definition, and what has to hold of any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.report.analysis.class_gains import class_gains, ends


def slow(first_Sn, second_Sn, labels_n):
    """By class: (images, first, second, margin), one image and one run at a time."""
    found = {}
    for label in set(labels_n.tolist()):
        rows = []
        for image in range(len(labels_n)):
            if labels_n[image] == label:
                rows.append([sum(run[image] for run in runs) / len(runs) for runs in (first_Sn, second_Sn)])
        n = len(rows)
        first, second = (100 * sum(column) / n for column in zip(*rows, strict=True))
        margin = None
        if n > 1:
            differences = [100 * (a - b) for a, b in rows]
            mean = sum(differences) / n
            variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
            margin = 1.959963985 * (variance / n) ** 0.5
        found[label] = n, first, second, margin
    return found


@settings(max_examples=25)
@given(st.data())
def test_gains_are_those_of_the_definition_and_add_up_to_the_whole(data):
    n = data.draw(st.integers(1, 12))
    labels_n = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    draw = st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=3)
    first_Sn, second_Sn = (np.array(data.draw(draw)) for _ in range(2))
    gains = class_gains(first_Sn, second_Sn, labels_n)
    expected = slow(first_Sn, second_Sn, labels_n)
    assert {gain.label for gain in gains} == set(expected)
    for gain in gains:
        images, first, second, margin = expected[gain.label]
        assert gain.images == images
        assert (gain.first, gain.second, gain.gain) == pytest.approx((first, second, first - second))
        assert gain.margin == (None if margin is None else pytest.approx(margin, abs=1e-6))
    assert [gain.gain for gain in gains] == sorted((gain.gain for gain in gains), reverse=True)
    whole = 100 * (first_Sn.mean() - second_Sn.mean())
    assert sum(gain.gain * gain.images for gain in gains) / n == pytest.approx(whole, abs=1e-7)


def test_the_ends_are_the_best_and_the_worst():
    assert ends(list(range(10)), 3) == [0, 1, 2, 7, 8, 9]
    assert ends(list(range(6)), 3) == list(range(6))
