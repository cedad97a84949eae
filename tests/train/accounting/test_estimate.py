"""How long runs will take: arithmetic on a speed that is given, and one measured run."""

import itertools
import statistics
import time

import pytest

from tests.training import SMALL, metrics, trainer
from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.train.accounting import estimate
from vit_tickets.train.accounting.estimate import Estimate, Speed
from vit_tickets.train.models.sparse import build_model

FAST = Speed(macs_per_s=1e6, update_s=0.5, image_s=0.25, on_cpu=False, workers=0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 3.0 + 0.5 + 8 * 0.25),  # the process that trains reads, too
        ({"workers": 1}, max(3.5, 2.0)),
        ({"workers": 1, "image_s": 1.0}, 8.0),
        ({"workers": 4, "image_s": 1.0}, 3.5),
    ],
)
def test_reading_and_computing_take_turns_or_overlap(changes, expected):
    assert Speed(**{**vars(FAST), **changes}).step(3e6, 8) == expected


def test_on_a_cpu_both_take_their_time(monkeypatch):
    monkeypatch.setattr(estimate, "_cores", lambda: 2)
    assert Speed(1e6, 0.5, 0.25, on_cpu=True, workers=4).step(3e6, 8) == 3.5 + 8 * 0.25 / 2


@pytest.fixture(scope="module")
def made():
    recipe = SMALL.override(epochs=4, finish_dense=1)
    found = Estimate("deit_micro", 10, recipe, 99, seconds=0.2)  # the recipe's 24 pixels
    found.speed = Speed(1.0, 0.0, 0.0, on_cpu=True, workers=0)  # a second is a multiply-add
    return found


def test_a_run_takes_the_sum_of_its_steps(made):
    model = build_model("deit_micro", 10, 24, 4, None)
    macs = made._macs_at(24)
    dense, kept = (macs.count([8], number) for number in (36, 9))
    steps = 5  # of 8, of 44 images
    assert made.num_patches == model.grid**2 == 36
    assert made.training(PATHS["dense"], 9, 44) == 4 * steps * dense
    assert made.training(PATHS["lt"], 9, 44) == steps * (3 * kept + dense)
    assert made.training(PATHS["small"], 9, 44) == 4 * steps * made._macs_at(12).count([8], 9)
    cut = round((3 * kept + dense) / dense)
    assert made.training(PATHS["short"], 9, 44) == cut * steps * dense
    scored = made.evaluation(10)
    assert made.training(PATHS["dense"], 9, 44, 10) == 4 * (steps * dense + scored)
    assert made.evaluation(10, 9) < scored < 10 * dense / 8


def test_an_estimate_is_near_what_a_run_takes(numbered_data, tmp_path):
    """Within a factor of four on a machine that does other things; measured for less than two seconds."""
    dataset, recipe = Dataset.open(numbered_data), SMALL.override(epochs=2, limit=48, image_size=48)
    shard = dataset.path_of(dataset.shards("train")[0])
    samples = [sample.data or b"" for sample in itertools.islice(read_shard(shard), 8)]
    began = time.monotonic()
    found = Estimate("deit_micro", 2, recipe, 48, samples, seconds=1.0)
    assert found.speed.image_s > 0
    assert time.monotonic() - began < 20
    expected = found.training(PATHS["dense"], 36, 48)
    trainer(numbered_data, tmp_path, recipe=recipe).fit()
    spent = [line["step_ms"] / 1000 * 6 for line in metrics(tmp_path)]
    assert expected / 4 < sum(spent) < expected * 4, (expected, statistics.mean(spent))


def test_images_that_cannot_be_read_are_not_counted():
    assert estimate._reading(SMALL, 24, [b"", b"no image"], 0.1) == 0
