"""A selector in every step, against the definition on the very batch."""

import pytest
import torch

from tests.reference import reference_ranking
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.models.online import OnlineSelector


@pytest.mark.parametrize("mode", ["full", "truncated"])
def test_an_online_selector_keeps_what_the_reference_ranks_first_on_the_batch_itself(selector_run, mode):
    selector = OnlineSelector(selector_run, None, mode, Budget(0.5), image_size=24)
    images = torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    kept = selector.choose(images, selector.mean, selector.std, grid=6, kept=18)
    for image, patches in zip(images, kept.tolist(), strict=True):
        rank = reference_ranking(selector.network, image, selector.stages, selector.counts)[0]
        assert patches == sorted(p for p in range(36) if rank[p] < 18)


def test_it_sees_its_own_normalisation(selector_run):
    selector = OnlineSelector(selector_run, None, "truncated", Budget(0.5), image_size=24)
    pixels = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    own = (pixels - selector.mean) / selector.std
    mean, std = torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25)
    expected = selector.choose(own, selector.mean, selector.std, 6, 18)
    assert torch.equal(selector.choose((pixels - mean) / std, mean, std, 6, 18), expected)


def test_a_selector_of_another_image_size_is_refused(selector_run):
    with pytest.raises(UserError, match="expected a selector of 48-pixel images, as the run's, found one of 24"):
        OnlineSelector(selector_run, None, "full", Budget(0.5), image_size=48)
