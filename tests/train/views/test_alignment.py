"""Rank maps resampled through the view's affine, against a slow bilinear sampler."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from vit_tickets.pipeline.geometry.views import View, box_affine, view_to_view
from vit_tickets.train.views.alignment import keep_best, kept_cells, resample, value_map
from vit_tickets.train.views.mixing import Mix

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def random_ranks(seed, grid, count=1):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.permutation(grid * grid) for _ in range(count)]))


def on_border(affine, side):
    """Whether a cell's centre is so near to the border of the map that rounding decides on which side it is."""
    centre = (np.arange(side) + 0.5) / side
    points = np.stack([*np.meshgrid(centre, centre), np.ones((side, side))])
    there = np.tensordot(affine, points, 1)
    return bool((np.minimum(abs(there), abs(there - 1)) < 1e-4).any())


def reference_sample(values, affine, side):
    """Bilinear at each cell's centre, one cell at a time: the nearest place between cell centres, 0 outside the map."""
    grid = len(values)
    out = []
    for row in range(side):
        for column in range(side):
            u, v = (column + 0.5) / side, (row + 0.5) / side
            x, y = (affine[axis][0] * u + affine[axis][1] * v + affine[axis][2] for axis in (0, 1))
            if not (-1e-5 <= x <= 1 + 1e-5 and -1e-5 <= y <= 1 + 1e-5):
                out.append(0.0)
                continue
            x, y = (min(max(at * grid - 0.5, 0), grid - 1) for at in (x, y))
            i, j = math.floor(x), math.floor(y)
            near, far = min(i + 1, grid - 1), min(j + 1, grid - 1)
            upper = values[j][i] * (1 - x + i) + values[j][near] * (x - i)
            lower = values[far][i] * (1 - x + i) + values[far][near] * (x - i)
            out.append(upper * (1 - y + j) + lower * (y - j))
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
    assume(not on_border(affine, side))
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


def roi_align_sample(values_BGG, box, side):
    """torchvision's RoIAlign with one sample per cell, at its centre: the reference of ReLabel and token labeling."""
    x0, y0, x1, y1 = (at * values_BGG.shape[-1] for at in box)
    boxes = torch.tensor([[0.0, x0, y0, x1, y1]])
    return roi_align(values_BGG[None].float(), boxes, side, sampling_ratio=1, aligned=True)[0, 0].flatten()


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    grid=st.integers(1, 9),
    side=st.integers(1, 16),
    corners=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)
def test_a_crop_of_the_image_has_the_values_of_roi_align(seed, grid, side, corners):
    (x0, x1), (y0, y1) = sorted(corners[:2]), sorted(corners[2:])
    assume(x1 - x0 > 0.05 and y1 - y0 > 0.05)
    affine = torch.tensor([[[x1 - x0, 0.0, x0], [0.0, y1 - y0, y0]]])
    values_BGG = value_map(random_ranks(seed, grid))
    expected = roi_align_sample(values_BGG, (x0, y0, x1, y1), side)
    torch.testing.assert_close(resample(values_BGG, affine, side)[0], expected, rtol=0, atol=1e-4)


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    grid=st.integers(1, 8),
    side=st.integers(1, 12),
    turn=st.floats(-180, 180),
    zoom=st.floats(0.1, 3),
)
def test_inside_the_image_no_value_is_below_the_least_of_the_map(seed, grid, side, turn, zoom):
    values_BGG = value_map(random_ranks(seed, grid))
    cos, sin = zoom * math.cos(math.radians(turn)), zoom * math.sin(math.radians(turn))
    linear = np.array([[cos, -sin], [sin, cos]])
    affine = np.column_stack([linear, 0.5 - linear @ [0.5, 0.5]])
    assume(not on_border(affine, side))
    centre = (np.arange(side) + 0.5) / side
    there = np.tensordot(affine, np.stack([*np.meshgrid(centre, centre), np.ones((side, side))]), 1)
    inside = torch.from_numpy(((there >= 0) & (there <= 1)).all(0).ravel())
    found = resample(values_BGG, torch.from_numpy(affine).float()[None], side)[0]
    assert (found[inside] >= values_BGG.min() - 1e-5).all()
    assert (found[~inside] == 0).all()


def test_a_constant_map_stays_constant_up_to_the_rim():
    upper_left = torch.tensor([[[0.25, 0.0, 0.0], [0.0, 0.25, 0.0]]])
    torch.testing.assert_close(resample(torch.full((1, 7, 7), 0.5), upper_left, 14), torch.full((1, 196), 0.5))


def test_outside_the_map_comes_last():
    rank_BN = random_ranks(2, 4)
    # the training view reaches as far again to the right of the manifest's
    wide = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    kept = kept_cells(rank_BN, wide, 4, 8)[0]
    assert all(p % 4 < 2 for p in kept.tolist())


BOXES = st.tuples(st.integers(0, 23), st.integers(0, 23), st.integers(0, 12), st.integers(0, 12))


def levels(turn, erased, grid, side):
    """Per cell 0 where the view shows the image, 1 where its centre is fill, 2 where it was erased."""
    top, left, height, width = erased
    found = []
    for cell in range(grid * grid):
        u, v = (cell % grid + 0.5) / grid, (cell // grid + 0.5) / grid
        x, y = turn @ [u, v, 1]
        covered = top <= v * side < top + height and left <= u * side < left + width
        found.append(2 if covered else int(not (0 <= x < 1 and 0 <= y < 1)))
    return found


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    grid=st.sampled_from([4, 6, 8]),
    share=st.floats(0.05, 1),
    angles=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
    erased=st.tuples(BOXES, BOXES),
    cut=st.booleans(),
)
def test_a_random_subset_takes_fill_and_then_erased_cells_last(seed, grid, share, angles, erased, cut):
    side, rank_BN, kept = 24, random_ranks(seed, grid, 2), max(1, int(share * grid * grid))
    turns = []
    for angle in angles:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        linear = np.array([[cos, -sin], [sin, cos]])
        turns.append(np.column_stack([linear, 0.5 - linear @ [0.5, 0.5]]))
        assume(not on_border(turns[-1], grid))
    mix = Mix(0.5, (3, 17, 5, 23)) if cut else None
    shown = {
        "through_BL23": torch.from_numpy(np.stack(turns)[:, None]).float(),
        "erased_B4": torch.tensor(erased),
        "mix": mix,
        "image_size": side,
    }
    level = [levels(turn, box, grid, side) for turn, box in zip(turns, erased, strict=True)]
    own = [True] * (grid * grid) if mix is None else mix.own_share(grid, side).bool().tolist()
    for image, found_K in enumerate(kept_cells(rank_BN, None, grid, kept, **shown).tolist()):
        last = [level[image if own[cell] else 1 - image][cell] for cell in range(grid * grid)]
        order = sorted(range(grid * grid), key=lambda cell: (last[cell], int(rank_BN[image, cell])))
        assert found_K == sorted(order[:kept])


def test_a_random_subset_takes_what_a_blended_pair_hides_least():
    rank_BN, nothing = random_ranks(0, 4, 2), [0, 0, 0, 0]
    erased = torch.tensor([[0, 0, 16, 8], nothing])
    shown = {"erased_B4": erased, "image_size": 16}
    for lam, hidden in ((0.9, True), (0.1, False)):  # 0.9: image 0 is mostly what was erased, 0.1: its partner's cells
        kept_BK = kept_cells(rank_BN, None, 4, 8, mix=Mix(lam), **shown)
        assert (sum(cell % 4 < 2 for cell in kept_BK[0].tolist()) == 0) == hidden


def test_a_random_subset_of_an_untouched_view_is_the_stored_one():
    rank_BN, untouched = random_ranks(1, 6, 3), torch.zeros(3, 4, dtype=torch.int32)
    through = torch.eye(3)[:2].expand(3, 2, 2, 3)
    found = kept_cells(rank_BN, None, 6, 18, through_BL23=through, erased_B4=untouched, image_size=24)
    assert torch.equal(found, keep_best(-rank_BN.float(), 18))


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
