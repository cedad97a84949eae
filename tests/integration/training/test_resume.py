"""Going on within an epoch: with the very next batch, with the same weights at the end, on any ranks and workers."""

import json
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests import training
from tests.fixtures.numbered import numbers_of
from tests.meddling import Meddling
from tests.soak import kills
from tests.soak.data import write_dataset
from tests.training import SMALL, Unplugged, equal, in_pieces, unplug_after, weights, without_clocks
from vit_tickets.pipeline.geometry import images
from vit_tickets.train.data import stream
from vit_tickets.train.data.plan import Position, Segment
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.loop import trainer as loop
from vit_tickets.train.runtime import log

pytestmark = pytest.mark.process
RECIPE = SMALL.override(epochs=2, warmup_epochs=0.5, drop_path=0.3, clip_grad=1.0, ema=0.9)
trainer = partial(training.trainer, recipe=RECIPE, passed={"checkpoint_minutes": 0})


@pytest.mark.parametrize(
    ("hooks", "precision", "parts"),
    [
        pytest.param((), "fp32", 1, id="recipe"),
        pytest.param((Meddling,), "fp16", 3, id="meddling-fp16-parts"),
        pytest.param((), "fp16", 3, id="recipe-fp16-parts", marks=pytest.mark.slow),
        pytest.param((Meddling,), "fp32", 1, id="meddling", marks=pytest.mark.slow),
    ],
)
def test_unplugged_after_every_step_it_ends_with_the_same_weights(
    numbered_data, numbered_tickets, tmp_path, hooks, precision, parts
):
    passed = {"checkpoint_minutes": 0, "grad_accum": parts}
    recipe = RECIPE.override(keep_warmup=(0.0, 1.5))

    def make(out):
        settings = {"passed": passed, "recipe": recipe, "precision": precision, "hooks": [hook() for hook in hooks]}
        return trainer(numbered_data, tmp_path / out, "lt", numbered_tickets, **settings)

    whole = make("whole")
    whole.fit()
    starts = in_pieces(lambda _: make("broken"))
    assert starts == 2 * (7 + 1) + 1  # after each step and after each epoch
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "broken")
    states = [checkpoint.load(str(tmp_path / name / "last.pt")) for name in ("whole", "broken")]
    assert kills.same(states[0], states[1])
    assert bool(states[0]["scaler"]) == (precision == "fp16")
    stateful = {"keep_warmup"} ^ {hook.name for hook in whole.learner.hooks}
    assert states[0]["hooks"].keys() == stateful == {"moving_average", *(hook.name for hook in hooks)}


def test_with_a_worker_it_goes_on_after_an_epoch_with_the_same_weights(numbered_data, numbered_tickets, tmp_path):
    def make(out):
        passed = {"checkpoint_minutes": 0, "workers": 1}
        return trainer(numbered_data, tmp_path / out, "lt", numbered_tickets, passed=passed)

    make("whole").fit()
    assert in_pieces(lambda _: make("broken"), saves=7 + 1) == 3
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert without_clocks(tmp_path / "whole") == without_clocks(tmp_path / "broken")


def test_the_time_of_all_pieces_is_counted(numbered_data, tmp_path, monkeypatch):
    """Also after a checkpoint of before the waiting was counted: then that of the later pieces."""

    def late(*arguments, **options):
        for batch in train_batches(*arguments, **options):
            time.sleep(0.05)
            yield batch

    train_batches = loop.train_batches
    monkeypatch.setattr(loop, "train_batches", late)
    for out, forgotten in (("new", ()), ("old", ("waited", "peak_memory_mib"))):
        first = trainer(numbered_data, tmp_path / out)
        unplug_after(first, 4)
        with pytest.raises(Unplugged):
            first.fit()
        state = checkpoint.load(first.run.place("last.pt"))
        for name in forgotten:
            del state["sums"][name]
        checkpoint.save(first.run.place("last.pt"), state)
        second = trainer(numbered_data, tmp_path / out)
        second.restore()
        unplug_after(second, 4)  # the the last three steps, and the epoch
        with pytest.raises(Unplugged):
            second.fit()
        line = json.loads((tmp_path / out / "metrics.jsonl").read_text())
        assert line["step_ms"] > 50
        waited_s = line["data_wait"] * line["step_ms"] * 7 / 1000
        assert waited_s > 0.05 * (3 if forgotten else 7)


def test_what_is_kept_is_the_moving_average(numbered_data, tmp_path):
    run = trainer(numbered_data, tmp_path)
    run.fit()
    assert equal(weights(tmp_path), run.learner.scored.network.state_dict())
    assert not equal(weights(tmp_path), run.learner.model.network.state_dict())
    plain = trainer(numbered_data, tmp_path / "plain", recipe=RECIPE.override(ema=0.0))
    plain.fit()
    assert equal(weights(tmp_path / "plain"), plain.learner.model.network.state_dict())


def test_with_other_workers_each_remaining_sample_comes_once(numbered_data, tmp_path):
    seen = []

    def make(number):
        piece = trainer(numbered_data, tmp_path, passed={"checkpoint_minutes": 0, "workers": number % 4})
        batch_loss = piece.batch_loss

        def noted(batch, step):
            seen.extend(numbers_of(batch.pixels))
            return batch_loss(batch, step)

        piece.batch_loss = noted
        return piece

    starts = in_pieces(make, saves=2)
    assert starts > 6
    for epoch in (seen[:56], seen[56:]):
        assert set(Counter(epoch).values()) == {1}
    assert len(seen) == 112


def test_skipping_ahead_decodes_and_opens_nothing_that_is_skipped(numbered_data, tmp_path, monkeypatch):
    first = trainer(numbered_data, tmp_path)
    unplug_after(first, 5)
    with pytest.raises(Unplugged):
        first.fit()

    decoded, opened = [], []
    decode, read = images.decode, stream.SplitData.read
    monkeypatch.setattr(stream.images, "decode", lambda data, limit: decoded.append(1) or decode(data, limit))
    monkeypatch.setattr(
        stream.SplitData, "read", lambda self, n, m, c: opened.append((n, len(m))) or read(self, n, m, c)
    )
    second = trainer(numbered_data, tmp_path, recipe=RECIPE)
    second.restore()
    assert second.position == Position(0, (Segment(1, 1, 5),))
    second.validation.sets = {}
    unplug_after(second, 3)
    with pytest.raises(Unplugged):
        second.fit()
    assert len(decoded) == 2 * 8
    assert sum(count for _, count in opened) == 2 * 8
    assert len(opened) < len(second.stream.data.shards)


def test_the_curves_go_on_where_the_checkpoint_is(numbered_data, tmp_path, monkeypatch):
    """What was logged after the checkpoint and lost is not shown twice."""
    monkeypatch.setattr(log, "EVERY", 1)
    first = trainer(numbered_data, tmp_path)
    first.options = replace(first.options, checkpoint_minutes=60)
    update = first.learner.update

    def save_after_three_and_end_after_five(loss, step):
        if first.step == 3:
            first.save()
        if first.step == 5:
            raise Unplugged
        update(loss, step)

    first.learner.update = save_after_three_and_end_after_five
    with pytest.raises(Unplugged):
        first.fit()
    second = trainer(numbered_data, tmp_path)
    second.restore()
    assert second.step == 3
    second.fit()
    curves = EventAccumulator(str(tmp_path)).Reload()
    assert [point.step for point in curves.Scalars("step/loss")] == list(range(1, 15))
    assert [point.step for point in curves.Scalars("val_top1")] == [7, 14]


def test_a_crash_while_writing_leaves_the_last_good_checkpoint(numbered_data, tmp_path, monkeypatch):
    run = trainer(numbered_data, tmp_path)
    run.save()
    save = torch.save

    def torn(state, file):
        save(state, file)
        file.truncate(1000)
        raise OSError(28, "No space left on device")

    run.position = Position(1)
    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="No space left"):
        run.save()
    assert checkpoint.load(str(tmp_path / "last.pt"))["position"]["epoch"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.slow  # unplugging after every step, in this process, is the quick way to the same
@pytest.mark.parametrize(("ranks", "times"), [(1, 1), (2, 1)])
def test_killed_for_good_it_ends_with_the_same_weights(tmp_path, ranks, times):
    write_dataset(tmp_path / "data", [100, 60, 33], val=16)
    outcome = kills.trial(tmp_path / "data", tmp_path, ranks, kills=times, epochs=4, seed=0, spread_s=0.5)
    assert len(outcome.kills) == times
    assert not outcome.unequal
