"""Axes and shapes of the page's charts."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.report.page.charts import (
    Axis,
    Interval,
    Line,
    around,
    heights,
    interval_chart,
    line_chart,
    ticks,
)
from vit_tickets.train.report.page.marks import looks, mark, side

LOOK = looks(["dense", "lt"])
NUMBERS = st.floats(-1e4, 1e4).map(lambda value: round(value, 3))


@settings(max_examples=25)
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


@settings(max_examples=25)
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


def test_colour_and_shape_say_what_was_trained_on_filling_and_line_what_it_was_tested_on():
    rows, ways = ["dense", "lt", "lt:centre", "rc", "rc:fresh", "small"], ["dense", "lt", "rc", "own"]
    look = looks(rows)
    for way in ways:
        assert len({look(row, way)[:2] for row in rows}) == len(rows)
        assert len({look(row, way)[2:] for row in rows}) == 1
    for row in rows:
        assert len({look(row, way)[:2] for way in ways}) == 1
        assert len({look(row, way).fill for way in ways}) == len({look(row, way).line for way in ways}) == 4
    assert looks(["rc", "lt"])("lt", "rc") == look("lt", "rc"), "a path has one look in every chart"


def points(path: str) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path.rstrip("Z"))[1:]]


def test_a_line_goes_through_its_points_within_its_band():
    at, band = [(27, 60.0), (50, 50.0), (75, 40.0)], [(58, 61), (49, 52), (37, 41)]
    line = Line("lt & co", LOOK("lt", "dense"), at, band, ["a", "b", "<c>"])
    flat = Line("dense", LOOK("dense", "lt"), [(27, 45.0)], [(44, 46)])
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
    assert chart.count('class="mark') == 3 + 1 + 2, "one per point and one per line in the legend"


def test_a_long_line_has_a_dozen_marks_at_most_and_says_every_point():
    for count in (11, 12, 13, 40, 300):
        line = Line(
            "lt", LOOK("lt", "dense"), [(x, x % 7) for x in range(count)], titles=[f"at {x}" for x in range(count)]
        )
        chart = line_chart([line], "x", "y", "said")
        assert 6 <= chart.count('class="mark"') - 1 <= 12
        assert chart.count("<title>at ") == count


def test_an_interval_reaches_from_low_to_high_and_its_threshold_stands_where_it_is():
    rows = [Interval("a" * 40, 1.0, (-1.0, 2.0), "one"), Interval("b", 4.0, (3.0, 5.0), "two")]
    chart = interval_chart(rows, "points", "said", (0.5, "above 0.5"))
    (low, high), (low_b, high_b) = (
        tuple(map(float, pair)) for pair in re.findall(r'd="M([\d.]+) [\d.]+H([\d.]+)M', chart)
    )
    at = float(re.search(r'<line x1="([\d.]+)"[^>]*class="reference"', chart)[1])
    assert (at - low) / (high - low) == pytest.approx(0.5, abs=0.01)
    assert (high_b - low_b) / (high - low) == pytest.approx(2 / 3, abs=0.01)
    assert "a" * 40 not in re.sub("<title>.*?</title>", "", chart), "long names are cut"
    assert "a" * 40 in re.sub("<title>.*?</title>", "", interval_chart(rows, "points", "said", above=True))


def test_a_name_above_its_bar_stands_on_a_plate_that_hides_the_lines_behind_it():
    rows = [Interval(name, 0.0, None, "said") for name in ("minus dense on dense: +0.00", "long " * 40)]
    chart = interval_chart(rows, "points", "said", (0.0, "to be above 0"), above=True)
    parts = re.findall(r'<line[^>]*class="(grid|reference)"|<rect([^>]*)class="plate"|<text x="14"', chart)
    assert [bool(plate) for _, plate in parts][-4:] == [True, False, True, False], "each just before its name"
    for plate, row in zip((plate for _, plate in parts if plate), rows, strict=True):
        x, width = (float(re.search(rf'{name}="([\d.]+)"', plate)[1]) for name in ("x", "width"))
        assert x <= 14 - 4
        assert x + width >= min(14 + 7 * len(row.name), 400)


def test_rows_of_one_name_are_named_once_each_with_its_part():
    rows = [Interval(name, 1.0, (0.0, 2.0), "said", part=on) for name in ("lt", "rc") for on in ("dense", "lt")]
    texts = re.findall("<text[^>]*>([^<]+)<", interval_chart(rows, "points", "said"))
    assert [text for text in texts if text.isalpha()] == ["points", "lt", "dense", "lt", "rc", "dense", "lt"]


def test_few_values_of_x_have_a_tick_each():
    def labels(at):
        chart = line_chart([Line("a", LOOK("lt", "dense"), [(x, 50.0) for x in at])], "x", "y", "said")
        return re.findall(r'y="261" text-anchor="middle">([^<]+)<', chart)

    assert labels([25, 48.4375, 75]) == ["25", "48.44", "75"]
    assert "48.44" not in labels([25, 48.4375, 49, 75]), "too close to each other"


def test_charts_side_by_side_have_one_axis():
    low, high = (Line("a", LOOK("lt", "dense"), [(0, y), (1, y + 1)], [(y, y), (y, y + 2)]) for y in (10.0, 80.0))
    assert sorted(heights([low])) == [10, 10, 10, 10, 11, 12]
    ends = [
        re.findall(r'text-anchor="end">(\d+)<', line_chart([line], "x", "y", "said", y_also=heights([low, high])))
        for line in (low, high)
    ]
    assert ends[0] == ends[1]
    assert len(ends[0]) > 2


@pytest.mark.parametrize(
    ("low", "high", "colour"), [(0.1, 2, "c-above"), (-2, -0.1, "c-below"), (-1, 1, "c-ink"), (0, 1, "c-ink")]
)
def test_a_difference_has_the_colour_of_its_side_where_all_of_its_interval_is_there(low, high, colour):
    assert side(low, high).colour == colour
    assert side(low - 0.5, high - 0.5, -0.5).colour == colour


@pytest.mark.parametrize("row", ["dense", "lt", "rc", "small", "lt:centre", "lt:mean", "lt:swapped"])
def test_what_it_was_tested_on_fills_a_mark_or_a_half_of_it(row):
    look = looks(["dense", "lt", "rc", "small", "lt:centre", "lt:mean", "lt:swapped"])

    def filled(on):
        """Corners of what is filled, around the middle."""
        drawn = mark(look(row, on), 0.0, 0.0)
        if not isinstance(drawn, list):
            return []
        assert 'class="mark hollow"' in drawn[0]
        assert 'class="mark half"' in drawn[1]
        return points(re.search(r'd="([^"]+)"', drawn[1])[1])

    assert filled("dense") == filled("lt") == []
    left, below = filled("rc"), filled("own")
    assert max(x for x, _ in left) == pytest.approx(0, abs=0.01)
    assert min(x for x, _ in left) < -2
    assert min(y for _, y in below) == pytest.approx(0, abs=0.01)
    assert max(y for _, y in below) > 2
