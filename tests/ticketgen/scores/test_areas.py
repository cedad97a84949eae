"""Means over cells and the order of ties, against counting pixels and comparing pairs."""

import numpy as np
import pytest

from vit_tickets.pipeline.geometry.views import View
from vit_tickets.ticketgen.scores.areas import Areas, ordered


def counted(values_HW, box, grid, fine):
    """Mean over each cell by `fine` x `fine` points in every cell of an image whose pixels are `values_HW`."""
    x0, y0, x1, y1 = box
    points = (np.arange(grid * fine) + 0.5) / (grid * fine)
    rows, columns = ((low + (high - low) * points).astype(int) for low, high in ((y0, y1), (x0, x1)))
    return values_HW[np.ix_(rows, columns)].reshape(grid, fine, grid, fine).mean(axis=(1, 3))


@pytest.mark.parametrize("box", [(0, 0, 24, 12), (6, 0, 18, 12), (3, 3, 9, 9)])
def test_a_map_of_the_images_own_size_is_counted_pixel_by_pixel(box):
    values_HW = np.random.default_rng(0).random((12, 24))
    areas = Areas.of_map(values_HW, 12, 24)
    expected = counted(values_HW, box, 3, 4 * 6)  # whole points in every pixel
    np.testing.assert_allclose(areas.cell_means(box, 3), expected, rtol=1e-12)


def test_a_coarser_map_covers_the_whole_image():
    values_HW = np.random.default_rng(1).random((2, 3))
    large = np.kron(values_HW, np.ones((7, 10)))  # 14 x 30
    found = Areas.of_map(values_HW, 14, 30).cell_means((5.0, 0.0, 25.0, 14.0), 5)
    np.testing.assert_allclose(found, counted(large, (5, 0, 25, 14), 5, 140), rtol=1e-12)


def test_the_grids_own_values_stay_what_they_are():
    values_HW = np.random.default_rng(2).random((6, 6))
    np.testing.assert_allclose(Areas.of_map(values_HW, 99, 33).cell_means((0, 0, 33, 99), 6), values_HW, rtol=1e-12)


def test_boxes_that_overlap_count_once():
    boxes_B4 = np.array([[1, 2, 7, 9], [5, 4, 11, 6], [5, 4, 11, 6], [-3, 10, 4, 30]], dtype=float)
    covered = np.zeros((12, 16))
    for x0, y0, x1, y1 in boxes_B4.astype(int):
        covered[y0 : min(y1, 12), max(x0, 0) : x1] = 1
    found = Areas.of_boxes(boxes_B4, 12, 16).cell_means((0, 0, 16, 12), 4)
    np.testing.assert_allclose(found, counted(covered, (0, 0, 16, 12), 4, 12), rtol=1e-12)


def test_a_box_by_hand():
    found = Areas.of_boxes(np.array([[2.5, 0.0, 10.0, 5.0]]), 20, 10).cell_means((0, 0, 10, 20), 2)
    np.testing.assert_allclose(found, [[2.5 * 5 / 50, 5 * 5 / 50], [0, 0]])


def test_the_centre_crop_sees_its_part():
    box = View("center", 8, crop_pct=1.0).box(16, 32)
    found = Areas.of_boxes(np.array([[8.0, 0.0, 16.0, 16.0]]), 16, 32).cell_means(box, 2)
    np.testing.assert_allclose(found, [[1, 0], [1, 0]])


def slow_order(score_GG):
    """The rules one after the other, cell by cell."""
    G = len(score_GG)
    share = np.round(score_GG / score_GG.max(), 9) if score_GG.max() > 0 else score_GG * 0

    def place(p):
        y, x = divmod(p, G)
        weights = np.array(
            [[np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * (G / 4) ** 2)) for j in range(G)] for i in range(G)]
        )
        around = round(float((weights * share).sum()), 12)
        return -share[y, x], -around, (2 * y + 1 - G) ** 2 + (2 * x + 1 - G) ** 2, p

    return sorted(range(G * G), key=place)


@pytest.mark.parametrize("seed", range(4))
def test_ties_go_to_the_middle_of_a_mask_and_then_to_what_is_next_to_it(seed):
    generator = np.random.default_rng(seed)
    score_GG = (generator.random((7, 7)) < 0.3).astype(float) if seed else np.zeros((7, 7))
    rank_N, score_N = ordered(score_GG)
    assert np.argsort(rank_N).tolist() == slow_order(score_GG)
    np.testing.assert_array_equal(score_N.reshape(7, 7), score_GG)


def test_a_mask_smaller_than_the_ticket_grows_and_a_larger_one_shrinks():
    mask = np.zeros((9, 9))
    mask[1:4, 1:4] = 1
    order_N = np.argsort(ordered(mask)[0])
    assert set(order_N[:9]) == {9 * y + x for y in (1, 2, 3) for x in (1, 2, 3)}
    assert order_N[0] == 9 * 2 + 2, "its middle"
    beside = [divmod(p, 9) for p in order_N[9:25]]
    assert all(max(abs(y - 2), abs(x - 2)) <= 3 for y, x in beside)
    assert np.argsort(ordered(np.ones((5, 5)))[0])[0] == 12, "without any difference, the centre of the view"


def test_scores_of_any_scale_are_compared():
    small = np.random.default_rng(3).random((5, 5))
    np.testing.assert_array_equal(ordered(small * 1e-8)[0], ordered(small)[0])
    np.testing.assert_array_equal(ordered(small * 1e4)[0], ordered(small)[0])
