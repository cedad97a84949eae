"""Rank maps resampled through the view's affine, against a slow bilinear sampler."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.pipeline.geometry.views import View, box_affine, view_to_view
from vit_tickets.train.views.alignment import keep_best, kept_cells, resample, value_map

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def random_ranks(seed, grid, count=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.permutation(grid * grid) for _ in range(count)]))


def reference_sample(values, affine, side):
    """Bilinear at each cell's centre, cell centres at +0.5, 0 outside; one cell at a time."""
    grid = len(values)
    out = []
    for row in range(side):
        for column in range(side):
            u, v = (column + 0.5) / side, (row + 0.5) / side
            x = (affine[0][0] * u + affine[0][1] * v + affine[0][2]) * grid - 0.5
            y = (affine[1][0] * u + affine[1][1] * v + affine[1][2]) * grid - 0.5
            total = 0.0
            for j in (math.floor(y), math.floor(y) + 1):
                for i in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < grid and 0 <= j < grid:
                        total += values[j][i] * (1 - abs(x - i)) * (1 - abs(y - j))
            out.append(total)
    return out


@given(seed=st.integers(0, 10_000), grid=st.integers(1, 28), share=st.floats(0.01, 1))
def test_the_identity_view_returns_the_ticket_exactly(seed, grid, share):
    rank_BN = random_ranks(seed, grid, 3)
    kept = max(1, int(share * grid * grid))
    ticket_BK = kept_cells(rank_BN, IDENTITY.expand(3, 2, 3), grid, kept)
    for rank_N, ticket_K in zip(rank_BN, ticket_BK, strict=True):
        assert ticket_K.tolist() == [p for p in range(grid * grid) if rank_N[p] < kept]


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    grid=st.integers(2, 8),
    side=st.integers(1, 9),
    entries=st.lists(st.floats(-1.5, 1.5), min_size=6, max_size=6),
)
def test_resampling_is_bilinear_at_cell_centres(seed, grid, side, entries):
    values_BGG = value_map(random_ranks(seed, grid))
    affine = np.array(entries).reshape(2, 3)
    found = resample(values_BGG, torch.from_numpy(affine.astype(np.float32))[None], side)[0]
    expected = reference_sample(values_BGG[0].tolist(), affine.astype(np.float32).tolist(), side)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=2e-5)


def test_a_flip_mirrors_the_ticket():
    rank_BN = random_ranks(0, 6)
    mirror = torch.from_numpy(view_to_view(box_affine((0, 0, 1, 1), flip=True), box_affine((0, 0, 1, 1))))
    ticket = kept_cells(rank_BN, mirror.float()[None], 6, 10)[0]
    expected = kept_cells(rank_BN.view(1, 6, 6).flip(2).reshape(1, 36), IDENTITY[None], 6, 10)[0]
    assert ticket.tolist() == expected.tolist()


def test_a_quarter_of_the_image_sees_that_quarter_of_the_map():
    rank_BN = random_ranks(1, 4)
    stored = View("full", 32).box(40, 60)
    crop = (30.0, 20.0, 60.0, 40.0)  # the lower right quarter
    affine = torch.from_numpy(view_to_view(box_affine(crop), box_affine(stored))).float()[None]
    quarter = value_map(rank_BN)[:, 2:, 2:].reshape(1, 4)
    torch.testing.assert_close(resample(value_map(rank_BN), affine, 2), quarter)


def test_outside_the_map_comes_last():
    rank_BN = random_ranks(2, 4)
    # the training view reaches as far again to the right of the manifest's
    wide = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    kept = kept_cells(rank_BN, wide, 4, 8)[0]
    assert all(p % 4 < 2 for p in kept.tolist())


def test_ties_go_to_the_lower_index():
    values = torch.tensor([[0.5, 0.7, 0.5, 0.5, 0.7]])
    assert keep_best(values, 3).tolist() == [[0, 1, 4]]
    assert keep_best(torch.zeros(1, 300), 5).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("grid", [6, 14, 28])
def test_values_fall_from_one_with_the_rank(grid):
    rank_BN = random_ranks(3, grid).to(torch.uint8 if grid < 16 else torch.int16)
    values = value_map(rank_BN).view(-1)
    assert values.max() == 1.0
    torch.testing.assert_close(values, 1 - rank_BN.view(-1).float() / grid**2)
