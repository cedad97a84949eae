"""Runs with masked weights that are killed at random moments, and resumed: the same weights and masks in the end."""

import pytest

from tests.soak import kills
from tests.soak.data import write_dataset
from vit_tickets.pipeline.weights import ticket

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]
OPTIONS = {
    "gmp": ("--weight-sparsity", "0.8"),
    "svite": ("--weight-sparsity", "0.5", "--update-every", "5"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed") / "data"
    write_dataset(root, [500, 300, 407], val=64)
    return root


@pytest.mark.parametrize("method", OPTIONS)
def test_ten_kills_change_nothing(data, tmp_path, method):
    options = ("--limit", "240", "--checkpoint-minutes", "0", "--weight-method", method, *OPTIONS[method])
    outcome = kills.trial(data, tmp_path, 1, 10, epochs=9, seed=3, spread_s=0.1, options=options, most_saves=6)
    assert len(outcome.kills) == 10
    assert len(set(outcome.kills)) > 3, outcome.kills
    assert not outcome.unequal
    whole, broken = (ticket.read(str(tmp_path / f"{name}-1" / "masks")) for name in ("whole", "broken"))
    assert whole.masks_sha256 == broken.masks_sha256
