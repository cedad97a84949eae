"""Ranks on another grid and in another view, against the trainer's resampling."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.pipeline.geometry.regrid import axis_weights, rerank, resample, view_affines
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.train.views.alignment import kept_cells
from vit_tickets.train.views.alignment import resample as trainer_resample


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(6, 3), (6, 4), (3, 6), (5, 5)]))
def test_ranks_go_to_other_views_as_the_trainer_sends_them(seed, sides):
    """`resample` of the trainer is torch's grid_sample; both views and sizes as drawn."""
    source_side, target_side = sides
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 60, (2, 4, 2))
    views = [View("center", 24, 0.875), View("full", 24)]
    target, source = (views[i] for i in rng.permutation(2))
    affine_R23 = view_affines(target, sizes[0], source, sizes[1])
    rank_RN = np.array([rng.permutation(source_side**2) for _ in range(4)])
    weights = [axis_weights(affine_R23[:, i, i], affine_R23[:, i, 2], source_side, target_side) for i in (1, 0)]
    values = 1 - rank_RN.reshape(4, source_side, source_side) / source_side**2
    expected = trainer_resample(*(torch.from_numpy(array).float() for array in (values, affine_R23)), target_side)
    assert np.allclose(resample(values, *weights).reshape(4, -1), expected.numpy(), atol=1e-5)
    order = np.argsort(-np.round(resample(values, *weights).reshape(4, -1), 9), axis=1, kind="stable")
    assert (np.argsort(rerank(rank_RN, *weights), axis=1) == order).all()
    if source_side == target_side:
        identity = axis_weights(np.ones(4), np.zeros(4), source_side, target_side)
        assert (rerank(rank_RN, identity, identity) == rank_RN).all()


def exact_values(rank_N, source_side, target_side) -> list[Fraction]:
    """Values of the cells of another grid over the same square, in whole fractions, one cell at a time."""
    last = Fraction(source_side - 1)

    def between(cell):
        """The two source cells around the centre of `cell` along an axis, and the share of the second."""
        place = min(max(Fraction(2 * cell + 1, 2 * target_side) * source_side - Fraction(1, 2), Fraction(0)), last)
        return int(place), min(int(place) + 1, source_side - 1), place - int(place)

    def value(row, column):
        return 1 - Fraction(int(rank_N[row * source_side + column]), source_side**2)

    values = []
    for upper, lower, down in map(between, range(target_side)):
        for left, right, across in map(between, range(target_side)):
            above = value(upper, left) * (1 - across) + value(upper, right) * across
            below = value(lower, left) * (1 - across) + value(lower, right) * across
            values.append(above * (1 - down) + below * down)
    return values


# 224 px carried to 288, 352 and 336 px, the same tokens; and 6 x 6 to 9 x 9
@pytest.mark.parametrize(("source", "target", "kept"), [(14, 18, 196), (14, 22, 196), (14, 21, 196), (6, 9, 36)])
def test_a_finer_grid_keeps_the_best_of_its_cells(source, target, kept):
    rng = np.random.default_rng(source * target)
    identity, square = axis_weights(np.ones(1), np.zeros(1), source, target), torch.eye(3)[None, :2]
    for _ in range(5):
        rank_N = rng.permutation(source**2)
        values = exact_values(rank_N, source, target)
        order = sorted(range(target**2), key=lambda cell: (-values[cell], cell))
        assert np.argsort(rerank(rank_N[None], identity, identity)[0]).tolist() == order
        found = kept_cells(torch.from_numpy(rank_N)[None], square, target, kept)[0].tolist()
        assert len(set(found)) == kept
        # float32 does not tell cells of exactly equal value apart
        assert sorted(values[cell] for cell in found) == sorted(values[cell] for cell in order[:kept])
