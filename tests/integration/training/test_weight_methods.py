"""`train --weight-method`: what masks a run ends with, what it says of them, and that it resumes to the bit."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.meddling import RECIPE
from tests.training import equal, in_pieces, metrics, run_of, trainer, weights, without_clocks
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.weights import ticket

pytestmark = pytest.mark.process
SMALL = RECIPE.override(epochs=3, limit=16, ema=0.9)  # 6 steps
EVERY = {"svite": {"update_every": 2}}


@pytest.mark.parametrize("method", [pytest.param("static", marks=pytest.mark.slow), "gmp", "svite"])
def test_a_run_ends_with_as_many_weights_as_asked_for_and_resumes_to_the_bit(numbered_data, tmp_path, method):
    settings = {"recipe": SMALL, "weight_method": method, "weight_sparsity": 0.6, **EVERY.get(method, {})}
    whole = trainer(numbered_data, tmp_path / "whole", **settings)
    record = whole.run.config.weights
    whole.fit()
    now = {"checkpoint_minutes": 0.0}
    assert in_pieces(lambda _: trainer(numbered_data, tmp_path / "pieces", **settings, passed=now), saves=4) > 1
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "pieces"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "pieces")

    last = ticket.read(str(tmp_path / "whole" / "masks"))
    assert (last.alive, last.size, last.parameters) == (record.alive, record.size, record.parameters)
    assert last.alive == round(0.4 * last.size)
    assert (last.criterion, last.scope, last.allocation) == (method, "blocks", record.allocation)
    kept, raw = weights(tmp_path / "whole"), whole.learner.model.network.state_dict()
    for name, alive in last.masks().items():
        dead = torch.from_numpy(~alive)
        assert not kept[name][dead].any()  # the moving average
        assert not raw[name][dead].any()
        assert raw[name][~dead].any()
    lines = metrics(tmp_path / "whole")
    assert lines[-1]["weight_sparsity"] == pytest.approx(0.6, abs=1e-5)
    sparsities = [line["weight_sparsity"] for line in lines]
    assert all(b > a if method == "gmp" and b < 0.59 else b >= a for a, b in pairwise(sparsities))
    assert sum(line.get("weights_changed", 0) for line in lines) > 0 or method == "static"
    masks = [ticket.read(str(tmp_path / name / "masks")).masks_sha256 for name in ("whole", "pieces")]
    assert len(set(masks)) == 1


def test_static_masks_follow_the_seed_alone(numbered_data, tmp_path):
    settings = {"recipe": SMALL, "weight_method": "static", "weight_sparsity": 0.5}
    found = [
        trainer(numbered_data, tmp_path / name, **settings, **more).learner.hooks[0].masks.alive
        for name, more in {"a": {}, "b": {}, "other": {"seed": 1}}.items()
    ]
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])
    assert np.mean([float(mask.float().mean()) for mask in found[0].values()]) == pytest.approx(0.5, abs=0.1)


def test_names_scopes_and_what_does_not_go_together(numbered_data, tmp_path):
    def root(**settings):
        return run_of(numbered_data, "", recipe=SMALL, weight_method="svite", weight_sparsity=0.5, **settings)

    assert root().root == "runs/data-deit_micro-dense-w0.5-svite-seed0"
    assert root(prune_scope="all", allocation="uniform").root.endswith("-w0.5-svite-all-uniform-seed0")
    assert root().config.weights.size < root(prune_scope="all").config.weights.size
    for settings, said in {
        ("allocation", "global"): "--allocation: expected erk or uniform with --weight-method svite, found global",
        (
            "weight_method",
            "gmp",
            "update_every",
            5,
        ): "--update-every: expected --weight-method svite or s2vite, found gmp",
        (
            "recipe",
            SMALL.override(frozen=True),
            "init",
            "x",
        ): "expected a recipe that trains all weights, found --frozen",
        ("model", "resnet20", "prune_scope", "mlp"): "expected weights in scope mlp",
    }.items():
        given = {"recipe": SMALL, "weight_method": "svite", "weight_sparsity": 0.5}
        given |= dict(zip(settings[::2], settings[1::2], strict=True))
        with pytest.raises(UserError) as error:
            run_of(numbered_data, tmp_path, **given)
        assert said in str(error.value)
    with pytest.raises(UserError, match="masks that change every 20 in the first 80% of a run"):
        trainer(numbered_data, tmp_path, recipe=SMALL, weight_method="svite", weight_sparsity=0.5)
