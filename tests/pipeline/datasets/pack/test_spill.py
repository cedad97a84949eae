import os

import numpy as np
import pytest

from vit_tickets.pipeline.datasets.pack import spill
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.system.errors import UserError


class Stream:
    """A split that can only be read from first to last."""

    def __init__(self, samples: list[Sample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, order):
        assert list(order) == list(range(len(self)))
        return iter(self.samples)


SAMPLES = [Sample(f"é/{i}", i % 3, bytes([i]) * (i * 7), "png" if i % 2 else "jpg") for i in range(23)]


@pytest.mark.parametrize("most", [0, 300, 1 << 20])
@pytest.mark.parametrize("shard_size", [1, 4, 23, 100])
def test_samples_come_in_the_order_that_was_drawn(most, shard_size, tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "SPILL_BYTES", most)
    order = np.random.default_rng(0).permutation(len(SAMPLES))
    shards = dict(spill.spilled(Stream(SAMPLES), order, shard_size, str(tmp_path)))
    assert [sample for shard in shards.values() for sample in shard] == [SAMPLES[number] for number in order]
    assert list(tmp_path.iterdir()) == []


def test_files_are_in_the_root_while_it_runs_and_leftovers_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "SPILL_BYTES", 0)
    left = tmp_path / f"{spill.SPILL}left"
    left.mkdir()
    samples = spill.spilled(Stream(SAMPLES), np.arange(len(SAMPLES)), 4, str(tmp_path))
    next(samples)
    (folder,) = tmp_path.iterdir()
    assert folder != left
    assert len(os.listdir(folder)) == 6
    samples.close()
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        next(spill.spilled(Stream(SAMPLES), np.arange(len(SAMPLES)), 4, str(tmp_path / "file" / "data")))
