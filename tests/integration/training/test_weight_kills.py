"""Runs with masked weights that are killed at random moments, and resumed: the same weights and masks in the end."""

import pytest
from safetensors.torch import load_file

from tests.soak import kills
from tests.soak.data import write_dataset
from tests.training import equal
from vit_tickets.pipeline.weights import ticket

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(1800)]
UNITS = ("--weight-method", "s2vite", "--head-sparsity", "0.3", "--neuron-sparsity", "0.4", "--update-every", "5")
LEARNED = ("--path", "learned", "--sparsity", "0.5", "--scorer", "mlp")
OPTIONS = {
    "gmp": ("--weight-method", "gmp", "--weight-sparsity", "0.8"),
    "svite": ("--weight-method", "svite", "--weight-sparsity", "0.5", "--update-every", "5"),
    "s2vite": UNITS,
    "learned": LEARNED,
    "learned, s2vite": (*LEARNED, *UNITS),
}
BESIDE = ("shrunk.safetensors", "scorer.safetensors")  # files that some of them leave


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed") / "data"
    write_dataset(root, [500, 300, 407], val=64)
    return root


@pytest.mark.parametrize("method", OPTIONS)
def test_ten_kills_change_nothing(data, tmp_path, method):
    options = ("--limit", "240", "--checkpoint-minutes", "0", *OPTIONS[method])
    outcome = kills.trial(data, tmp_path, 1, 10, epochs=9, seed=3, spread_s=0.1, options=options, most_saves=6)
    assert len(outcome.kills) == 10
    assert len(set(outcome.kills)) > 3, outcome.kills
    assert not outcome.unequal
    whole, broken = (tmp_path / f"{name}-1" for name in ("whole", "broken"))
    for name in BESIDE:
        assert (whole / name).exists() == (broken / name).exists() == (name.split(".")[0] in made(method))
        if (whole / name).exists():
            assert equal(load_file(whole / name), load_file(broken / name))
    if method != "learned":
        assert ticket.read(str(whole / "masks")).masks_sha256 == ticket.read(str(broken / "masks")).masks_sha256


def made(method: str) -> list[str]:
    return [name for name, of in (("shrunk", "s2vite"), ("scorer", "learned")) if of in method]
