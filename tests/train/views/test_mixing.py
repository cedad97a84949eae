"""Who is mixed with whom."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.train.views.mixing import apart


def pairs(image_B, order_B):
    """The images of view i and its partner B - 1 - i, for the pairs of a batch."""
    mixed = image_B[order_B].tolist()
    return [(mixed[i], mixed[-1 - i]) for i in range(len(mixed) // 2)]


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(0, 1000), st.booleans())
def test_no_image_is_mixed_with_itself(views, seed, scattered):
    """However many views each image has, in whatever order, unless one has more than half of them."""
    rng = np.random.default_rng(seed)
    image_B = np.repeat(rng.permutation(10 * len(views))[: len(views)], views)
    if scattered:
        image_B = rng.permutation(image_B)
    order_B = apart(torch.from_numpy(image_B))
    assert sorted(order_B.tolist()) == list(range(len(image_B)))
    if max(views) <= len(image_B) // 2:
        assert all(a != b for a, b in pairs(image_B, order_B))


def test_three_views_of_an_image_meet_three_others():
    for batch in (24, 64, 128, 256):
        image_B = torch.arange(batch) // 3
        found = pairs(image_B, apart(image_B))
        assert len({frozenset(pair) for pair in found}) == batch // 2


def test_an_images_only_view_may_meet_any_other():
    assert sorted(map(sorted, pairs(torch.arange(6), apart(torch.arange(6))))) == [[0, 3], [1, 4], [2, 5]]
