"""Labels of a chart stand on nothing else where there is room, near their points; equal points side by side."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.report.rendering.placing import Box, Label, along, distance, place, side_by_side, stairs

WITHIN = Box(0, 0, 800, 400)
POINTS = st.lists(st.tuples(st.integers(20, 780), st.integers(20, 380)), min_size=1, max_size=14, unique=True)


@settings(max_examples=30, deadline=None)
@given(POINTS)
def test_labels_cover_neither_each_other_nor_marks(points):
    marks = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    placed = place([Label([point], 60, 14) for point in points], marks, WITHIN)
    boxes = [found.box for found in placed]
    for box in boxes:
        assert (box.right - box.left, box.bottom - box.top) == pytest.approx((60, 14))
        assert WITHIN.left <= box.left
        assert box.right <= WITHIN.right
        assert WITHIN.top <= box.top
        assert box.bottom <= WITHIN.bottom
        assert all(box.overlap(mark) == 0 for mark in marks)
    assert all(one.overlap(other) == 0 for one, other in itertools.combinations(boxes, 2))
    for found, point in zip(placed, points, strict=True):
        assert found.anchor == point
        assert found.leads == (distance(found.box, *point) > 16)


def test_a_label_alone_stands_right_of_its_point_and_beside_one_at_the_edge():
    (inside,), (edge,) = (place([Label([(x, 200)], 60, 14)], [Box(x - 5, 195, x + 5, 205)], WITHIN) for x in (400, 790))
    assert inside.box.left == pytest.approx(407)
    assert edge.box.overlap(Box(785, 195, 795, 205)) == 0
    assert not inside.leads


def test_a_label_takes_the_point_of_its_row_that_has_room():
    crowd = [Box(x, y, x + 8, y + 8) for x, y in itertools.product(range(20, 180, 9), range(120, 280, 9))]
    (found,) = place([Label([(100, 200), (600, 200)], 60, 14)], crowd, WITHIN)
    assert found.anchor == (600, 200)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 700).map(lambda x: round(x, 2)), min_size=1, max_size=20))
def test_points_of_equal_place_are_set_side_by_side_and_others_stay(places):
    found = side_by_side(places, 11, 4, 790)
    for number, place_of in enumerate(places):
        near = [other for n, other in enumerate(places) if n != number and abs(other - place_of) < 4]
        if not near:
            assert found[number] == place_of
    ordered = sorted(range(len(places)), key=lambda n: places[n])
    for one, other in itertools.pairwise(ordered):
        if places[other] - places[one] < 4:
            assert abs(found[one] - found[other]) > 10
    assert max(found) <= 790


def test_equal_points_keep_their_mean_and_their_order():
    found = side_by_side([300, 100, 300, 300], 10, 4, 790)
    assert found == [290, 100, 300, 310]
    assert side_by_side([790, 790], 10, 4, 790) == [780, 790]


def test_stairs_are_what_is_reached_for_at_most_each_cost():
    points = [(10.0, 60.0), (30.0, 40.0), (50.0, 20.0)]
    corners = stairs(points, 80.0)
    for x in np.linspace(10, 79, 40):
        reached = min(y for at, y in points if at <= x)
        on_line = next(y0 for (x0, y0), (x1, y1) in itertools.pairwise(corners) if y0 == y1 and x0 <= x <= x1)
        assert on_line in (reached, min(y for at, y in points if at < x + 1e-9))
    assert stairs([], 80.0) == []


def test_boxes_along_a_line_leave_no_gap():
    boxes = along([(0, 0), (90, 40), (100, 100)], 6)
    for t in np.linspace(0, 1, 200):
        x, y = 90 * t, 40 * t
        assert any(box.left <= x <= box.right and box.top <= y <= box.bottom for box in boxes)
    assert math.isclose(boxes[-1].left, 97)
