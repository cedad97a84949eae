"""Axes and shapes of the page's charts."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.page_charts import (
    COLOURS,
    Axis,
    Interval,
    Line,
    around,
    colours,
    interval_chart,
    line_chart,
    ticks,
)

NUMBERS = st.floats(-1e4, 1e4).map(lambda value: round(value, 3))


@settings(max_examples=25, deadline=None)
@given(st.tuples(NUMBERS, NUMBERS).filter(lambda ends: ends[1] - ends[0] > 0.01), st.integers(3, 8))
def test_ticks_are_few_round_and_between_the_ends(ends, most):
    found = ticks(*ends, most)
    assert 1 <= len(found) <= most
    assert all(ends[0] - 1e-6 <= tick <= ends[1] + 1e-6 for tick in found)
    steps = [b - a for a, b in pairwise(found)]
    assert steps == pytest.approx(steps[:1] * len(steps))
    for step in steps[:1]:
        assert f"{step:.0e}"[0] in "125"
        assert f"{step:.6e}"[1:8] == ".000000"


@settings(max_examples=25, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_an_axis_shows_all_values_and_never_what_cannot_be(values):
    low, high = around(values)
    assert low < min(values)
    assert max(values) < high
    percent = [abs(value) % 100 for value in values]
    low, high = around(percent, (0, 100))
    assert 0 <= low <= min(percent)
    assert max(percent) <= high <= 100
    axis = Axis("x", low, high, 52, 426)
    assert axis(low) == 52
    assert axis(high) == 426


def test_colours_stay_with_their_path():
    found = colours(["dense", "lt", "lt:centre", "rc", "rc:fresh", "lt"])
    assert found.items() >= {(name, COLOURS[name]) for name in ("dense", "lt", "rc")}
    assert len(set(found.values())) == 5


def points(path: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path.rstrip("Z"))[1:]]


def test_a_line_goes_through_its_points_within_its_band():
    at, band = [(27, 60.0), (50, 50.0), (75, 40.0)], [(58, 61), (49, 52), (37, 41)]
    line = Line("lt & co", "c-lt", at, band, ["a", "b", "<c>"])
    flat = Line("dense", "c-dense", [(27, 45.0)], [(44, 46)], dash="dashed", mark=None)
    chart = line_chart([line, flat], "x", "y", 'a "picture"')
    assert 'aria-label="a &quot;picture&quot;"' in chart
    assert "lt &amp; co" in chart
    assert "<title>&lt;c&gt;</title>" in chart
    drawn = points(re.search(r'd="(M[^"]*)" class="line solid"', chart)[1])
    band = points(re.search(r'd="(M[^"]*Z)" class="c-lt band"', chart)[1])
    assert len(drawn) == 3
    for (x, y), upper, lower in zip(drawn, band[:3], reversed(band[3:]), strict=True):
        assert x == upper[0] == lower[0]
        assert upper[1] < y < lower[1], "pixels count from the top"
    (x0, y0), (x1, y1), (x2, y2) = drawn
    assert (x1 - x0) / (x2 - x0) == pytest.approx((50 - 27) / (75 - 27), abs=0.01)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.02)
    assert chart.count('class="mark"') == 3 + 1 + 1, "one per point, one in the legend, and a lone point is seen"


def test_an_interval_reaches_from_low_to_high_and_its_threshold_stands_where_it_is():
    rows = [Interval("a" * 40, 1.0, -1.0, 2.0, "one"), Interval("b", 4.0, 3.0, 5.0, "two")]
    chart = interval_chart(rows, "points", "said", (0.5, "above 0.5"))
    (low, high), (low_b, high_b) = (
        tuple(map(float, pair)) for pair in re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)M', chart)
    )
    at = float(re.search(r'<line x1="([\d.]+)"[^>]*class="reference"', chart)[1])
    assert (at - low) / (high - low) == pytest.approx(0.5, abs=0.01)
    assert (high_b - low_b) / (high - low) == pytest.approx(2 / 3, abs=0.01)
    assert "a" * 40 not in re.sub("<title>.*?</title>", "", chart), "long names are cut"
