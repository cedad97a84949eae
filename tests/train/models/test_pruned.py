"""A network that prunes while it trains, against the selector that it becomes."""

import pytest
import torch

from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.train.models.pruned import PrunedViT

STAGES = (2, 4)


def test_pruning_in_training_is_the_pruning_of_selection():
    """The logits of the network in the making are those of a selector that is asked for its predictions."""
    torch.manual_seed(0)
    network = registry.create_model("deit_micro", num_classes=3, img_size=24, patch_size=4).eval()
    images = torch.randn(5, 3, 24, 24)
    (ranking,) = vit.identify_tokens(network, images, STAGES, [(27, 18)], predictions=True)
    pruned = PrunedViT(network, STAGES, (27, 18))
    torch.testing.assert_close(pruned(images), ranking.logits_BC, rtol=1e-4, atol=1e-5)
    pruned(images).sum().backward()
    assert all(value.grad is not None for value in network.parameters())
    with pytest.raises(ValueError, match="chooses its patches itself"):
        pruned(images, torch.zeros(5, 2).long())
