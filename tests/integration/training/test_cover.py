"""Quick versions of the long trials of `make soak`."""

from dataclasses import replace

import pytest

from tests.soak import memory
from tests.soak.cover import Link, Trial, covers, faults, stream
from tests.soak.data import write_dataset

pytestmark = pytest.mark.process
TWO_RANKS = [Trial((Link(2, 1),)), Trial((Link(2, 1, 3), Link(1, 2)))]
MORE = [Trial((Link(3, 2),)), Trial((Link(4, 3),)), Trial((Link(2, 2, 3), Link(4, 1, 4), Link(3, 1)))]


@pytest.mark.parametrize(
    "trials", [TWO_RANKS, pytest.param(MORE, marks=pytest.mark.slow)], ids=["two ranks", "up to four"]
)
def test_real_ranks_and_workers_cover_each_epoch_exactly(trials):
    for cover in covers(trials):
        assert not faults(cover), cover.trial


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    data = write_dataset(tmp_path / "data", [500] * 6)
    config = replace(stream(data.root, rank=0, ranks=1), batch_size=50, epochs=5)
    found = memory.measure(config, workers=1, samples=12_000, points=20)
    assert len(found) == 20
    assert memory.growth(found) < 0.03 * found[-1][1]
