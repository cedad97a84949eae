"""Random masks: exact counts, and the same wherever they are drawn."""

import pytest
import torch
from torch import nn

from vit_tickets.train.sparsity.allocation import alive_counts
from vit_tickets.train.sparsity.drawing import RandomMasks, random_masks

SHAPES = {"0.weight": (8, 30), "1.weight": (5, 8)}


def network():
    return nn.Sequential(nn.Linear(30, 8), nn.Linear(8, 5))


@pytest.mark.parametrize("allocation", ["erk", "uniform", "global"])
def test_counts_are_exact(allocation):
    masks = RandomMasks("all", 0.4, 1, allocation).of(network())
    counts = alive_counts(allocation, SHAPES, 0.4)
    assert sum(int(mask.sum()) for mask in masks.values()) == sum(counts.values())
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == SHAPES
    assert {mask.dtype for mask in masks.values()} == {torch.bool}
    assert ({name: int(mask.sum()) for name, mask in masks.items()} == counts) == (allocation != "global")


def test_a_mask_depends_on_seed_and_name_alone():
    counts = {"0.weight": 100, "1.weight": 20}
    masks = random_masks(SHAPES, counts, 1)
    torch.manual_seed(9)
    again = random_masks({"1.weight": (5, 8)}, counts, 1)
    assert torch.equal(masks["1.weight"], again["1.weight"])
    assert not torch.equal(masks["1.weight"], random_masks(SHAPES, counts, 2)["1.weight"])
    share = torch.stack([random_masks({"x": (40,)}, {"x": 10}, seed)["x"] for seed in range(400)]).float().mean(0)
    assert share.min() > 0.15
    assert share.max() < 0.35
