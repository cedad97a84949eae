"""A selector on a device: rankings by every method, on grids of any size."""

import numpy as np
import pytest
import torch

from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.manifests.methods import METHODS, STAGED, Method
from vit_tickets.ticketgen.selection.selector import Selector, open_selector

OTHERS = [name for name, declared in METHODS.items() if name != STAGED and not declared.reads_pool]


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "fp32") for name in OTHERS), ("rollout", "bf16"), ("gradient-input", "bf16")]
)
def test_a_selector_ranks_by_any_method(selector_run, name, precision):
    selector = Selector(open_selector(selector_run, method=Method(name)), precision=precision)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 24, 24)).astype(np.uint8)
    plans = [Budget(0.5).stage_counts(36, 1), Budget(0.75).stage_counts(36, 1)]
    rankings = selector.rank(pixels, plans, True, [("a", 0), ("b", 0), ("c", 0)])
    for ranking in rankings:
        assert ranking.rank_BN.sort(dim=1).values.tolist() == [list(range(36))] * 3
        assert ranking.score_BN.dtype == torch.float32
        assert ranking.score_BN.isfinite().all()
        assert torch.equal(ranking.rank_BN, rankings[0].rank_BN), "every prefix of one rank is a ticket"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = selector.network(selector.normalise(torch.from_numpy(pixels))).float()
    torch.testing.assert_close(rankings[0].logits_BC, expected)
    alone = selector.rank(pixels[1:2], plans[:1], False, [("b", 0)])[0]
    if precision == "fp32":
        torch.testing.assert_close(alone.score_BN[0], rankings[0].score_BN[1], rtol=1e-4, atol=1e-6)
    assert alone.logits_BC is None
    finer = selector.rank(np.tile(pixels, (1, 1, 2, 2)), [(72,)], False, [("a", 0), ("b", 0), ("c", 0)])[0]
    assert finer.rank_BN.shape == (3, 144)


@pytest.mark.parametrize("name", [name for name in OTHERS if METHODS[name].looks_at != "selector"])
def test_pixels_alone_pass_no_network(selector_run, name, monkeypatch):
    selector = Selector(open_selector(selector_run, method=Method(name)))
    monkeypatch.setattr(type(selector.network), "forward", lambda *_: pytest.fail("passed"))
    monkeypatch.setattr(type(selector.network.patch_embed), "forward", lambda *_: pytest.fail("passed"))
    selector.rank(np.zeros((1, 3, 24, 24), dtype=np.uint8), [(18,)], False, [("a", 0)])
