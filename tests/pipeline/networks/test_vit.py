"""Token identification against a slow, obvious implementation of its definition; our models."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import reference_ranking
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.system.errors import UserError


def small_vit(seed: int = 0, depth: int = 4, grid: int = 5, **kwargs):
    torch.manual_seed(seed)
    network = registry.create_model("deit_micro", img_size=4 * grid, patch_size=4, depth=depth, **kwargs).eval()
    for parameter in network.parameters():  # far from initialisation, so that attention differs between patches
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    return network


@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    stages=st.sampled_from([(4,), (2, 4), (1, 2, 3), (2, 3, 4)]),
    budget=st.one_of(
        st.floats(0, 0.95).map(lambda s: Budget(sparsity=s)), st.floats(0.3, 1).map(lambda r: Budget(keep_rate=r))
    ),
)
def test_identification_is_its_definition(seed, stages, budget):
    network = small_vit(seed)
    images = torch.randn(2, 3, 20, 20)
    counts = budget.stage_counts(25, len(stages))
    ranking = vit.identify_tokens(network, images, stages, [counts])[0]
    for b, image in enumerate(images):
        rank, score = reference_ranking(network, image, stages, counts)
        torch.testing.assert_close(ranking.score_BN[b], torch.tensor(score), rtol=1e-4, atol=1e-6)
        assert ranking.rank_BN[b].tolist() == rank


@pytest.mark.parametrize("kwargs", [{"reg_tokens": 2}, {"qk_norm": True}, {"init_values": 0.1}, {"qkv_bias": False}])
def test_variants_of_timm_vits_agree_with_their_own_forward(kwargs):
    network = small_vit(1, **kwargs)
    images = torch.randn(3, 3, 20, 20)
    everything = [(25, 25)]
    with torch.no_grad():
        logits = network(images)
    ranking = vit.identify_tokens(network, images, (2, 4), everything, predictions=True)[0]
    torch.testing.assert_close(ranking.logits_BC, logits, rtol=1e-4, atol=1e-5)


def test_several_plans_at_once_equal_each_alone_bit_for_bit():
    network, images = small_vit(2), torch.randn(4, 3, 20, 20)
    plans = [Budget(sparsity=s).stage_counts(25, 3) for s in (0.27, 0.488, 0.75)]
    together = vit.identify_tokens(network, images, (1, 2, 4), plans)
    for plan, shared in zip(plans, together, strict=True):
        alone = vit.identify_tokens(network, images, (1, 2, 4), [plan])[0]
        assert torch.equal(alone.rank_BN, shared.rank_BN)
        assert torch.equal(alone.score_BN, shared.score_BN)


def test_predictions_do_not_change_the_ticket():
    network, images = small_vit(3), torch.randn(4, 3, 20, 20)
    plan = Budget(sparsity=0.5).stage_counts(25, 2)
    without = vit.identify_tokens(network, images, (2, 3), [plan])[0]
    with_them = vit.identify_tokens(network, images, (2, 3), [plan], predictions=True)[0]
    assert torch.equal(without.rank_BN, with_them.rank_BN)
    assert torch.equal(without.score_BN, with_them.score_BN)


def test_ties_go_to_the_lower_patch_index():
    network = small_vit(4)
    for block in network.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight)  # every query attends to every key alike
    ranking = vit.identify_tokens(network, torch.randn(1, 3, 20, 20), (2, 4), [(10, 5)])[0]
    assert ranking.rank_BN[0].tolist() == list(range(25))


def test_stages_follow_the_depth():
    assert vit.default_stages("deit_small", 12) == (4, 7, 10)  # the paper's 4th, 7th and 10th layer
    assert vit.default_stages("deit_micro", 4) == (4,)
    assert vit.default_stages("vit_large_patch16_224", 24) == (7, 13, 19)


@pytest.mark.parametrize("model", ["resnet18", "vit_medium_patch16_gap_240"])
def test_a_selector_needs_a_cls_token(model):
    with pytest.raises(UserError, match="CLS token"):
        vit.check_selector(registry.create_model(model), (1,))


@pytest.mark.parametrize("stages", [(0,), (5,), (3, 2), (2, 2), ()])
def test_stages_must_be_blocks_in_order(stages):
    with pytest.raises(UserError, match="ascending stages between 1 and 4"):
        vit.check_selector(small_vit(), stages)
