"""Token labels: sampled through the view's geometry, mixed with their cells, against slow references."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from tests.train.views.test_alignment import on_border
from vit_tickets.train.views.alignment import keep_best
from vit_tickets.train.views.mixing import Mix, draw_tokens
from vit_tickets.train.views.token_labels import TokenLabels, class_targets, one_hot, token_targets

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
C, P = 12, 5


def random_maps(seed: int, side: int, count: int = 2, affine=None, through=None) -> TokenLabels:
    rng = np.random.default_rng(seed)
    cells = count * side * side
    classes = np.stack([rng.permutation(C)[:P] for _ in range(cells)]).reshape(count, side * side, P)
    logits = -np.sort(-rng.normal(2, 4, (count, side * side, P)))
    if affine is None:
        affine = IDENTITY.expand(count, 2, 3)
    return TokenLabels(torch.from_numpy(classes), torch.from_numpy(logits).float(), affine, through)


def dense_maps(maps: TokenLabels) -> np.ndarray:
    """Logits of all classes, (B, M, M, C): 0 for those that are not stored."""
    B, cells, _ = maps.classes.shape
    side = round(math.sqrt(cells))
    dense = np.zeros((B, cells, C))
    for b in range(B):
        for cell in range(cells):
            for place in range(P):
                dense[b, cell, maps.classes[b, cell, place]] = maps.logits[b, cell, place]
    return dense.reshape(B, side, side, C)


def reference_logits(maps: TokenLabels, grid: int) -> np.ndarray:
    """At each cell's centre, one cell at a time: bilinear at the nearest place between cell centres; 0 outside the
    image and where the view shows fill."""
    dense, (B, side) = dense_maps(maps), dense_maps(maps).shape[:2]
    out = np.zeros((B, grid * grid, C))
    for b in range(B):
        for cell in range(grid * grid):
            point = np.array([(cell % grid + 0.5) / grid, (cell // grid + 0.5) / grid, 1.0])
            there = maps.affine[b].double().numpy() @ point
            passed = [] if maps.through is None else [m.double().numpy() @ point for m in maps.through[b]]
            if not ((there >= 0) & (there <= 1)).all() or any(not (0 <= u < 1 and 0 <= v < 1) for u, v in passed):
                continue
            x, y = np.clip(there * side - 0.5, 0, side - 1)
            for j in (math.floor(y), math.floor(y) + 1):
                for i in (math.floor(x), math.floor(x) + 1):
                    if i < side and j < side:
                        out[b, cell] += dense[b, j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
    return out


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    side=st.integers(1, 6),
    grid=st.integers(1, 6),
    smoothing=st.sampled_from([0.0, 0.1]),
    entries=st.lists(st.floats(-1.2, 1.2), min_size=6, max_size=6),
    turned=st.booleans(),
)
def test_labels_are_sampled_like_the_reference(seed, side, grid, smoothing, entries, turned):
    affine = torch.tensor(entries).view(1, 2, 3).expand(2, 2, 3)
    assume(not on_border(affine[0].double().numpy(), grid))
    through = torch.tensor([[1.0, 0.31, -0.11], [-0.27, 1.0, 0.17]]).expand(2, 1, 2, 3) if turned else None
    maps = random_maps(seed, side, 2, affine, through)
    expected = reference_logits(maps, grid)
    of_tokens = softmax(expected) * (1 - smoothing) + smoothing / C
    assert np.allclose(token_targets(maps, grid, C, smoothing, None), of_tokens, atol=2e-3)
    of_class = softmax(expected.mean(1)) * (1 - smoothing) + smoothing / C
    assert np.allclose(class_targets(maps, grid, C, smoothing), of_class, atol=2e-3)


@pytest.mark.parametrize("side", [7, 18])
def test_labels_up_to_the_rim_are_those_of_roi_align(side):
    """The authors align label maps with RoIAlign; a crop in a corner of the image has cells beyond the last centres."""
    corner = torch.tensor([[[0.3, 0.0, 0.7], [0.0, 0.4, 0.0]]])
    maps, grid = random_maps(8, side, 1, corner), 14
    dense_BCMM = torch.from_numpy(dense_maps(maps)).permute(0, 3, 1, 2)
    box = torch.tensor([[0.0, 0.7 * side, 0.0, side, 0.4 * side]], dtype=torch.float64)
    aligned = roi_align(dense_BCMM, box, grid, sampling_ratio=1, aligned=True)[0].flatten(1).T
    assert np.allclose(token_targets(maps, grid, C, 0.0, None)[0], aligned.softmax(-1), atol=1e-4)
    assert np.allclose(class_targets(maps, grid, C, 0.0)[0], aligned.mean(0).softmax(-1), atol=1e-4)


def test_labels_of_kept_cells_are_those_of_their_cells():
    maps, grid = random_maps(3, 4), 5
    kept_BK = keep_best(torch.rand(2, grid * grid), 7)
    everything = token_targets(maps, grid, C, 0.1, None)
    found = token_targets(maps, grid, C, 0.1, kept_BK)
    for b in range(2):
        assert torch.equal(found[b], everything[b, kept_BK[b]])


def test_the_identity_view_gives_each_cell_its_own_label():
    maps = random_maps(4, 6)
    found = token_targets(maps, 6, C, 0.0, None)
    assert np.allclose(found, softmax(dense_maps(maps).reshape(2, 36, C)), atol=1e-6)


def test_a_mirrored_view_mirrors_the_labels():
    mirrored = torch.tensor([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).expand(2, 2, 3)
    maps = random_maps(5, 6)
    seen = TokenLabels(maps.classes, maps.logits, mirrored)
    plain = token_targets(maps, 6, C, 0.1, None).view(2, 6, 6, C)
    assert torch.allclose(token_targets(seen, 6, C, 0.1, None).view(2, 6, 6, C), plain.flip(2), atol=1e-5)


def test_a_wide_image_is_cropped_along_its_own_axes():
    """The authors' boxes are transposed: a crop of the left half must not give the labels of the upper half."""
    classes = torch.zeros(1, 4, P, dtype=torch.long) + torch.arange(P)
    logits = torch.zeros(1, 4, P)
    logits[0, :, 0], logits[0, 0::2, 1] = 1.0, 9.0  # class 1 in the left column
    left_half = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    found = token_targets(TokenLabels(classes, logits, left_half), 2, C, 0.0, None)
    assert found[0].argmax(-1)[[0, 2]].tolist() == [1, 1]
    assert class_targets(TokenLabels(classes, logits, left_half), 2, C, 0.0).argmax(-1).item() == 1


def test_every_label_sums_to_one():
    """The authors' smoothing sums to 1 + s / C."""
    maps = random_maps(6, 3)
    assert torch.allclose(token_targets(maps, 4, C, 0.1, None).sum(-1), torch.ones(2, 16))
    assert torch.allclose(one_hot(torch.tensor([3, 1]), C, 0.1).sum(-1), torch.ones(2))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), grid=st.sampled_from([6, 14]))
def test_mixtokens_box_is_made_of_whole_cells(seed, grid):
    mix = draw_tokens(np.random.default_rng(seed), 1.0, grid, 8)
    assert all(side % 8 == 0 for side in mix.box)
    own_N = mix.own_share(grid, 8 * grid)
    assert set(own_N.tolist()) <= {0.0, 1.0}
    assert own_N.mean().item() == pytest.approx(mix.lam)
    images = torch.randn(2, 3, 8 * grid, 8 * grid)
    own = own_N.view(grid, grid).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(mix.images(images), torch.where(own > 0, images, images.flip(0)))


def test_a_blend_gives_every_cell_the_same_share():
    assert torch.equal(Mix(0.3).own_share(4, 32), torch.full((16,), 0.3))


def test_one_hot_labels_are_smoothed_as_cross_entropy_does():
    label, logits = torch.tensor([2, 0]), torch.randn(2, C)
    ours = F.cross_entropy(logits, one_hot(label, C, 0.1))
    assert ours.item() == pytest.approx(F.cross_entropy(logits, label, label_smoothing=0.1).item(), rel=1e-5)
