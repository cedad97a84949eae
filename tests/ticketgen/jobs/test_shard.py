"""One shard in, its rows out: order, errors, batching, and independence of threads."""

import io
from dataclasses import replace

import numpy as np
import pytest
import webdataset as wds

from vit_tickets.pipeline.datasets.shards import Dataset, Sample, read_shard
from vit_tickets.pipeline.geometry.patches import Budget, random_subset
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.rows import Layout
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.work import Settings
from vit_tickets.ticketgen.jobs import driver
from vit_tickets.ticketgen.jobs.driver import count_errors
from vit_tickets.ticketgen.jobs.ranking import Selection, rank_samples
from vit_tickets.ticketgen.jobs.shard import Output, ShardTask
from vit_tickets.ticketgen.selection.selector import Selector, open_selector

PLANS = [Budget(sparsity=0.5).stage_counts(36, 1), Budget(sparsity=0.75).stage_counts(36, 1)]


@pytest.fixture(scope="module")
def selector(selector_run):
    return Selector(open_selector(selector_run))


@pytest.fixture(scope="module")
def samples(packed):
    dataset = Dataset.open(packed)
    return [sample for shard in dataset.shards("train") for sample in read_shard(dataset.path_of(shard))]


def ranked(selector, samples, settings, **options):
    seen = []
    selection = Selection(selector.spec.view("full"), **options)
    return rank_samples(selector, samples, selection, PLANS, settings, lambda *done: seen.append(done)), seen


def same(a, b):
    return all(
        np.array_equal(x.rank_N, y.rank_N) and np.array_equal(x.score_N, y.score_N) and x.key == y.key
        for x, y in zip(a, b, strict=True)
    )


def test_rows_keep_the_order_of_the_shard_and_errors_keep_their_place(selector, samples):
    (rows, _), seen = ranked(selector, samples, Settings(batch_size=4, threads=2))
    assert [row.key for row in rows] == [sample.key for sample in samples]
    broken = [row for row in rows if row.error]
    assert [row.key for row in broken] == ["dog/broken"]
    assert broken[0].rank_N is None
    assert broken[0].ticket_k is None
    assert broken[0].label == 1
    assert sum(images for images, _ in seen) == len(samples)
    assert sum(errors for _, errors in seen) == 1


def test_a_row_holds_the_ticket_and_its_random_counterpart(selector, samples):
    for plan, rows in zip(PLANS, ranked(selector, samples, Settings(batch_size=4), mask_seed=5)[0], strict=True):
        row = rows[0]
        assert sorted(row.rank_N) == list(range(36))
        assert row.ticket_k.tolist() == [p for p in range(36) if row.rank_N[p] < plan[-1]]
        assert row.random_k.tolist() == random_subset(5, row.key, 36, plan[-1]).tolist()
        assert (row.height, row.width) == (24, 24)


def test_threads_do_not_change_a_bit(selector, samples):
    settings = Settings(batch_size=4)
    one, _ = ranked(selector, samples, settings)
    three, _ = ranked(selector, samples, replace(settings, threads=3))
    assert all(same(a, b) for a, b in zip(one, three, strict=True))


def test_predictions_do_not_change_the_tickets(selector, samples):
    (plain, _), _ = ranked(selector, samples, Settings(batch_size=4))
    (predicted, _), _ = ranked(selector, samples, Settings(batch_size=4), predictions=True)
    assert same(plain, predicted)
    whole = [row for row in predicted if row.error is None]
    assert {row.prediction for row in whole} <= {0, 1}
    assert all(0.5 <= row.confidence <= 1 for row in whole)


def test_a_shard_of_nothing_but_errors_still_has_its_rows(selector):
    samples = [Sample(f"{i}", 0, b"no image") for i in range(5)] + [Sample("none", 0, None)]
    (rows, _), _ = ranked(selector, samples, Settings(batch_size=2))
    assert [row.error is not None for row in rows] == [True] * 6
    assert rows[-1].error == "no image member"


def test_a_decompression_bomb_is_an_error_of_its_row(selector, samples):
    (rows, _), _ = ranked(selector, samples[:3], Settings(batch_size=2), max_pixels=100)
    assert all("over the limit of 100 pixels" in row.error for row in rows if row.key != "dog/broken")


def task_for(packed, tmp_path, **changes):
    dataset = Dataset.open(packed)
    shard = dataset.shards("train")[0]
    view = View("full", 48, interpolation="bicubic")
    metadata = {"num_patches": 36, "format_version": 1, "view": view.kind, "preprocessing": view.preprocessing()}
    output = Output(str(tmp_path / "000000.parquet"), PLANS[0], Layout(36, 18), metadata, str(tmp_path / "000000.tar"))
    return ShardTask("train", dataset.path_of(shard), changes.pop("samples", shard.samples), None, (output,))


def test_the_ticket_shard_holds_images_and_masks_without_errors(selector, packed, tmp_path):
    task = replace(task_for(packed, tmp_path), selection=Selection(selector.spec.view("full")))
    task.process(selector, Settings(batch_size=4), lambda *_: None)
    table, _ = read_table(task.outputs[0].path)
    rows = {row["key"]: row for row in table.to_pylist() if row["error"] is None}
    stored = list(wds.WebDataset(task.outputs[0].webdataset, shardshuffle=False))
    assert [sample["__key__"] for sample in stored] == list(rows)
    original = {sample.key: sample for sample in read_shard(task.path)}
    for sample in stored:
        row = rows[sample["__key__"]]
        assert np.load(io.BytesIO(sample["lt.npy"]), allow_pickle=False).tolist() == row["lt"]
        assert np.load(io.BytesIO(sample["rc.npy"]), allow_pickle=False).tolist() == row["rc"]
        assert int(sample["cls"]) == row["label"]
        assert sample["png"] == original[sample["__key__"]].data


def test_a_shard_with_other_samples_than_the_index_says_fails_and_writes_nothing(selector, packed, tmp_path):
    task = replace(task_for(packed, tmp_path, samples=99), selection=Selection(selector.spec.view("full")))
    with pytest.raises(UserError, match=r"expected 99 samples as in dataset\.json, found 8"):
        task.process(selector, Settings(batch_size=4), lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_errors_are_counted_without_reading_the_ranks(tickets, monkeypatch):
    read = []
    monkeypatch.setattr(driver, "read_table", lambda *arguments: read.append(arguments[1]) or read_table(*arguments))
    counted = [count_errors(f"{tickets}/train/{stem:06d}.parquet") for stem in range(3)]
    assert [sum(column) for column in zip(*counted, strict=True)] == [23, 1]
    assert read == [["error"]] * 3
