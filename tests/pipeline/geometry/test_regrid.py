"""Ranks on another grid and in another view, against the trainer's resampling."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.pipeline.geometry.regrid import axis_weights, rerank, resample, view_affines
from vit_tickets.pipeline.geometry.views import View
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
