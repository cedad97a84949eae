"""Training: reproducible, resumable, the same on one rank and on two."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.command import run, words
from tests.fixtures.numbered import PLAIN
from tests.forks import on_ranks, vit_tickets
from tests.training import SMALL, equal, metrics, trainer, weights
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.folds import fold_of
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.data.split import Holdout, SplitData
from vit_tickets.train.loop import checkpoint
from vit_tickets.train.recipes.schedule import learning_rate
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve

pytestmark = pytest.mark.process


def samples_of(split):
    for number, count in enumerate(split.counts):
        yield from (sample for _, sample, _ in split.read(number, np.arange(count)))


@pytest.mark.parametrize("path", ["lt", "rc", "dense", "small"])
def test_every_path_trains_and_leaves_its_files(numbered_data, numbered_tickets, tmp_path, path):
    trainer(numbered_data, tmp_path, path, numbered_tickets).fit()
    log = metrics(tmp_path)
    assert [line["epoch"] for line in log] == [1, 2, 3]
    assert [line["step"] for line in log] == [7, 14, 21]
    assert all(math.isfinite(line["loss"]) and line["images_per_s"] > 0 for line in log)
    for line in log:
        assert line["step_ms"] == pytest.approx(1000 * SMALL.batch_size / line["images_per_s"])
        assert 7 * line["step_ms"] < 1000 * line["seconds"]
        assert 0 < line["data_wait"] < 1
        assert line["peak_memory_mib"] > 50
    assert 0 <= log[-1]["val_top1"] <= 100
    assert (tmp_path / "last.pt").exists()
    side = 4 if path == "small" else 6  # 18 of 36 patches: 16 = 4 x 4 is the nearest square
    assert weights(tmp_path)["pos_embed"].shape == (1, 1 + side * side, 96)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_the_loss_falls(numbered_data, numbered_tickets, tmp_path):
    trainer(numbered_data, tmp_path, "lt", numbered_tickets, recipe=SMALL.override(epochs=6)).fit()
    log = metrics(tmp_path)
    assert log[-1]["loss"] < log[0]["loss"] - 0.1
    assert log[-1]["val_top1"] > 90


def test_the_same_seed_gives_the_same_weights(numbered_data, numbered_tickets, tmp_path):
    with_drop_path = SMALL.override(drop_path=0.3, epochs=2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer(numbered_data, tmp_path / name, "rc", numbered_tickets, recipe=with_drop_path, seed=seed).fit()
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_all_paths_of_a_seed_start_from_the_same_weights(numbered_data, numbered_tickets, tmp_path):
    states = [
        trainer(numbered_data, tmp_path / path, path, numbered_tickets).learner.model.network.state_dict()
        for path in ("lt", "rc", "dense")
    ]
    assert equal(states[0], states[1])
    assert equal(states[0], states[2])


def test_a_checkpoint_is_tensors_and_plain_values(numbered_data, numbered_tickets, tmp_path):
    recipe = SMALL.override(epochs=1)
    trainer(numbered_data, tmp_path, "lt", numbered_tickets, recipe=recipe).fit()
    assert checkpoint.load(str(tmp_path / "last.pt"))["position"] == {"epoch": 1, "segments": ()}
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be resumed from"):
        checkpoint.load(str(tmp_path / "last.pt"))


def test_a_loss_that_is_not_finite_stops_before_the_optimizer(numbered_data, numbered_tickets, tmp_path):
    run = trainer(numbered_data, tmp_path, "lt", numbered_tickets)
    with torch.no_grad():
        run.learner.model.network.head.bias.fill_(math.nan)
    before = {name: value.clone() for name, value in run.learner.model.network.state_dict().items()}
    with pytest.raises(WorkFailed, match="the loss is nan in epoch 1, step 1 of 7"):
        run.fit()
    after = run.learner.model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "head.bias")


def test_a_holdout_yields_best(numbered_data, tmp_path):
    trainer(numbered_data, tmp_path, "dense", holdout=0.3).fit()
    log = metrics(tmp_path)
    assert all("holdout_top1" in line for line in log)
    assert (tmp_path / "best.safetensors").exists()


def test_a_fold_is_left_out(numbered_data, numbered_tickets, tmp_path):
    for tickets in (None, numbered_tickets):  # keys from the tars, and from the manifest
        manifest = None if tickets is None else Manifest.open(tickets)
        whole = {sample.key for sample in samples_of(SplitData(Dataset.open(numbered_data), "train", manifest))}
        for number in (1, 2):
            run = trainer(numbered_data, tmp_path / "run", "dense", tickets, without_fold=f"{number}/2")
            kept = {sample.key for sample in samples_of(run.stream.data)}
            assert kept == {key for key in whole if fold_of(key, 2) != number} != whole
    default = resolve(Dataset.open(numbered_data), SMALL, Request(model="deit_micro", path="dense", without_fold="2/3"))
    assert default.root == "runs/data-deit_micro-dense-without-fold-2of3-seed0"


def test_a_fold_alone(numbered_data, numbered_tickets, tmp_path):
    """The folds share no image and are the whole together, whatever the seed; what is held out is in none."""
    data = Dataset.open(numbered_data)
    for tickets in (None, numbered_tickets):
        manifest = None if tickets is None else Manifest.open(tickets)
        whole = {sample.key for sample in samples_of(SplitData(data, "train", manifest))}
        for more in ({}, {"holdout": 0.3}):
            parts = []
            for number in (1, 2, 3):
                request = Request(
                    model="deit_micro", path="dense", tickets=tickets, only_fold=f"{number}/3", seed=number, **more
                )
                run = resolve(data, SMALL, request)
                parts.append({sample.key for sample in samples_of(run.data)})
                assert all(fold_of(key, 3) == number for key in parts[-1])
                assert run.config.record()["only_fold"] == f"{number}/3"
            held_out = {key for key in whole if more and key in Holdout(0.3)}
            assert sum(map(len, parts)) == len(set().union(*parts))
            assert set().union(*parts) == whole - held_out
    plain = resolve(data, SMALL, Request(model="deit_micro", path="dense"))
    assert "only_fold" not in plain.config.record()
    assert "only_fold" not in plain.config.settings
    assert run.config.difference(plain.config, {}) is not None
    named = replace(request, tickets=None, holdout=0.0)
    assert resolve(data, SMALL, named).root == "runs/data-deit_micro-dense-fold-3of3-seed3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without_fold": "3/2"}, "found '3/2'"),
        ({"without_fold": "1/2", "holdout": 0.1}, "--holdout or --without-fold"),
        ({"only_fold": "0/2"}, "found '0/2'"),
        ({"only_fold": "1/2", "without_fold": "1/3"}, "--only-fold or --without-fold"),
    ],
)
def test_folds_that_are_refused(numbered_data, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        trainer(numbered_data, tmp_path, "dense", **options)


@pytest.mark.parametrize("schedule", ["step", "epoch"])
def test_every_step_runs_at_the_schedules_rate(numbered_data, tmp_path, schedule):
    recipe = SMALL.override(epochs=4, warmup_epochs=2.0, schedule=schedule, opt="sgd")
    run = trainer(numbered_data, tmp_path, "dense", recipe=recipe)
    rates, update = [], run.learner.update

    def update_and_note(loss, step):
        rates.append({group["lr"] for group in run.learner.optimizer.param_groups})
        update(loss, step)

    run.learner.update = update_and_note
    run.fit()
    assert rates == [{learning_rate(recipe, step, run.steps)} for step in range(4 * run.steps)]
    assert [line["lr"] for line in metrics(tmp_path)] == [rates[run.steps * epoch - 1].pop() for epoch in (1, 2, 3, 4)]


def test_two_ranks_train_as_one_with_the_same_global_batch(numbered_data, numbered_tickets, tmp_path):
    recipe = words("--epochs 2 --batch-size 8 --lr 0.01 --drop-path 0 --warmup-epochs 0.5", *PLAIN)
    given = words("--model deit_micro --path lt --device cpu --tickets", numbered_tickets)
    options = (numbered_data, *given, *recipe)
    command = ("train", *options, *words("--workers 1 --grad-accum 3 --out", tmp_path / "two"))
    on_ranks(2, tmp_path, vit_tickets, *map(str, command))
    run("train", *options, "--workers", 2, "--out", tmp_path / "one")
    two, one = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    assert [line["step"] for line in two] == [7, 14]
    for a, b in zip(two, one, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["val_top1"] == b["val_top1"]
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-2, atol=1e-4)
