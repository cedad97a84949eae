"""Sampled tickets: the distribution by enumeration, its two ends, and what shows nothing."""

import itertools

import numpy as np
import pytest
import torch

from tests.train.views.test_alignment import IDENTITY, random_ranks
from vit_tickets.train.views.alignment import kept_cells
from vit_tickets.train.views.mixing import Mix
from vit_tickets.train.views.sampling import Sampling

SIDE = 48


def noise(seed, count, cells):
    return torch.from_numpy(np.random.default_rng(seed).gumbel(size=(count, cells)).astype(np.float32))


def sampled(rank_BN, kept, temperature, seed=0, **shown):
    count, cells = rank_BN.shape
    grid = round(cells**0.5)
    sampling = Sampling(temperature, noise(seed, count, cells))
    return kept_cells(rank_BN, IDENTITY.expand(count, 2, 3), grid, kept, sampling=sampling, image_size=SIDE, **shown)


def inclusion(rank_N, kept, temperature):
    """Probability that each patch is drawn: all orders in which k patches can be drawn one after the other."""
    cells = len(rank_N)
    weight_N = np.exp((1 - np.array(rank_N) / cells) / temperature)
    found_N = np.zeros(cells)
    for order in itertools.permutations(range(cells), kept):
        left, probability = weight_N.sum(), 1.0
        for cell in order:
            probability *= weight_N[cell] / left
            left -= weight_N[cell]
        found_N[list(order)] += probability
    return found_N


@pytest.mark.parametrize(("kept", "temperature"), [(1, 0.3), (3, 0.3), (4, 1.0), (5, 0.1)])
def test_patches_are_drawn_with_the_probabilities_of_drawing_one_after_the_other(kept, temperature):
    draws = 40_000
    rank_N = random_ranks(3, 3)[0]
    found = sampled(rank_N.expand(draws, 9), kept, temperature)
    share_N = torch.bincount(found.flatten(), minlength=9).numpy() / draws
    expected_N = inclusion(rank_N.tolist(), kept, temperature)
    assert expected_N.sum() == pytest.approx(kept)
    assert abs(share_N - expected_N).max() < 4.5 * 0.5 / draws**0.5


def test_a_sample_has_every_patch_once_and_in_ascending_order():
    found = sampled(random_ranks(0, 6, 50), 18, 0.3)
    assert (found.diff(dim=1) > 0).all()


MIXES = {"plain": None, "mixup": Mix(0.7), "cutmix": Mix(0.75, (0, 24, 12, 36))}


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_cold_it_is_the_ticket_whatever_was_done_to_the_view(mix):
    rank_BN = random_ranks(1, 6, 8)
    turned = torch.tensor([[0.8, -0.6, 0.3], [0.6, 0.8, -0.2]])  # leaves the square: some places show fill
    erased = torch.tensor([[0, 0, 20, 30], [0, 0, 0, 0]] * 4)
    shown = {"through_BL23": turned.expand(8, 1, 2, 3), "erased_B4": erased, "mix": mix, "image_size": SIDE}
    affine = turned.expand(8, 2, 3)
    for kept in (9, 18, 33):
        ticket = kept_cells(rank_BN, affine, 6, kept, **shown)
        cold = kept_cells(rank_BN, affine, 6, kept, **shown, sampling=Sampling(1e-9, noise(2, 8, 36)))
        assert torch.equal(cold, ticket)


def test_hot_every_patch_is_as_likely_as_any_other():
    draws = 20_000
    found = sampled(random_ranks(5, 6)[0].expand(draws, 36), 18, 1e3)
    share_N = torch.bincount(found.flatten(), minlength=36).numpy() / draws
    assert abs(share_N - 0.5).max() < 4.5 * 0.5 / draws**0.5


@pytest.mark.parametrize("temperature", [0.3, 1e6])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_what_shows_nothing_comes_last_at_any_temperature(temperature, mix):
    erased = torch.tensor([[0, 0, SIDE, 24]]).expand(40, 4)  # the left half of every view, so of every mix of two
    found = sampled(random_ranks(2, 6, 40), 18, temperature, erased_B4=erased, mix=mix)
    assert (found % 6 >= 3).all()


def test_the_noise_is_that_of_the_mixed_view():
    """A pasted box has its partner's values and the view's own noise."""
    rank_BN, mix = random_ranks(4, 6, 2), MIXES["cutmix"]
    found = sampled(rank_BN, 18, 0.3, mix=mix)
    box_N = mix.own_share(6, SIDE) == 0
    for own, (view, noise_N) in enumerate(zip(found.tolist(), noise(0, 2, 36).tolist(), strict=True)):
        ranks = torch.where(box_N, rank_BN[1 - own], rank_BN[own]).tolist()
        best = sorted(range(36), key=lambda cell: ranks[cell] / 36 - 0.3 * noise_N[cell])[:18]
        assert view == sorted(best)
