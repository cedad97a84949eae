"""What arrives in a batch: every sample once, the same crops on every path, the right patches."""

import time
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from tests.fixtures.numbered import TRAIN, VAL, numbers_of
from tests.helpers import augmenting
from vit_tickets.pipeline.datasets.shards import Dataset, read_keys
from vit_tickets.pipeline.geometry.patches import random_rank, random_subset
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system import bars
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data import split as data
from vit_tickets.train.data import stream
from vit_tickets.train.data.split import Holdout, SplitData, check_belongs
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches
from vit_tickets.train.evaluation.stream import EvalStreamConfig, eval_batches
from vit_tickets.train.views.alignment import cell_centres, is_shown, keep_best, kept_cells, resample, value_map
from vit_tickets.train.views.erasing import erased_cells

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def config(numbered_data, numbered_tickets):
    data = SplitData(Dataset.open(numbered_data), "train", Manifest.open(numbered_tickets))
    return TrainStreamConfig(
        data=data,
        path="dense",
        augment=augmenting(24, 0.3),
        batch_size=8,
        epochs=2,
        seed=0,
        grid=6,
        mask_seed=0,
    )


def epochs(config, workers):
    """Numbers of the samples in each epoch, step by step, for all ranks."""
    by_rank = []
    for rank in range(config.num_ranks):
        batches = list(train_batches(replace(config, rank=rank), workers))
        assert all(len(batch.label) == config.batch_of_rank for batch in batches)
        by_rank.append([numbers_of(batch.pixels) for batch in batches])
    steps = [list(chain(*parts)) for parts in zip(*by_rank, strict=True)]
    per_epoch = config.plan.steps
    return [steps[epoch * per_epoch : (epoch + 1) * per_epoch] for epoch in range(config.epochs)]


@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 0), (1, 3), (2, 1), (4, 2)])
def test_every_sample_at_most_once_an_epoch(config, num_ranks, workers):
    first, second = epochs(replace(config, num_ranks=num_ranks), workers)
    for epoch in (first, second):
        seen = list(chain(*epoch))
        assert len(seen) == len(set(seen)) == TRAIN // 8 * 8
    assert first != second


def test_ranks_times_workers_decide_the_batches(config):
    one = epochs(config, workers=2)
    two = epochs(replace(config, num_ranks=2), workers=1)
    assert [[sorted(step) for step in epoch] for epoch in one] == [[sorted(step) for step in epoch] for epoch in two]


def test_the_same_seed_gives_every_path_the_same_order_and_crops(config):
    by_path = {path: list(train_batches(replace(config, path=path), 2)) for path in ("dense", "lt", "rc")}
    for dense, lt, rc in zip(*by_path.values(), strict=True):
        assert torch.equal(dense.pixels, lt.pixels)
        assert torch.equal(dense.pixels, rc.pixels)
        assert torch.equal(dense.label, lt.label)
    other = next(train_batches(replace(config, seed=1), 2))
    assert not torch.equal(other.pixels, by_path["dense"][0].pixels)


def test_labels_belong_to_their_pixels(config):
    for batch in train_batches(config, 1):
        assert [number % 2 for number in numbers_of(batch.pixels)] == batch.label.tolist()


def key_of(number):
    return f"{('even', 'odd')[number % 2]}/{number:03d}"


def test_the_random_subset_is_the_hash_of_the_key(config):
    for batch in train_batches(replace(config, path="rc", mask_seed=7), 0):
        assert batch.affine is None
        kept = keep_best(value_map(batch.rank).flatten(1), 18)
        for number, patches in zip(numbers_of(batch.pixels), kept.tolist(), strict=True):
            assert patches == random_subset(7, key_of(number), 36, 18).tolist()


def test_a_fresh_random_subset_differs_from_view_to_view_and_is_the_seeds(config):
    fresh = replace(config, path="rc", rc="fresh", repeats=2, views_per_decode=2, epochs=2)
    drawn = {}
    for batch in train_batches(fresh, 0):
        for number, rank in zip(numbers_of(batch.pixels), batch.rank.tolist(), strict=True):
            drawn.setdefault(number, []).append(tuple(rank))
    assert all(len(ranks) == len(set(ranks)) for ranks in drawn.values())
    again = [batch.rank for batch in train_batches(fresh, 0)]
    assert all(torch.equal(a, b.rank) for a, b in zip(again, train_batches(fresh, 0), strict=True))


def test_an_aligned_random_subset_is_the_images_own_and_follows_the_pixels(config):
    lt, rc = (list(train_batches(replace(config, path=path, rc="aligned"), 0)) for path in ("lt", "rc"))
    for a, b in zip(lt, rc, strict=True):
        assert torch.equal(a.affine, b.affine)
        for number, rank in zip(numbers_of(b.pixels), b.rank.tolist(), strict=True):
            assert rank == random_rank(0, key_of(number), 36).tolist()


@pytest.mark.parametrize("rc", ["fixed", "fresh", "aligned"])
def test_random_subsets_see_fill_and_erased_cells_as_tickets_do(config, rc):
    """Both paths keep the same number of cells that show nothing, as both take them last."""
    augment = augmenting(24, 0.3, rand_augment="rand-m9-n2-p1.0", erasing=1.0)
    config = replace(config, augment=augment, epochs=4)
    hidden = {"lt": [], "rc": []}
    for path, found in hidden.items():
        for batch in train_batches(replace(config, path=path, rc=rc if path == "rc" else "fixed"), 0):
            shown = {"through_BL23": batch.through, "erased_B4": batch.erased, "image_size": 24}
            kept_BK = kept_cells(batch.rank, batch.affine, 6, 18, **shown)
            nothing_BN = erased_cells(batch.erased, 24, 6)
            if batch.through is not None:
                nothing_BN |= ~is_shown(cell_centres(6, torch.device("cpu")), batch.through)
            found += nothing_BN.gather(1, kept_BK).sum(1).tolist()
    assert hidden["rc"] == hidden["lt"]


def test_without_alignment_no_path_follows_fill(config):
    augment = augmenting(24, 0.3, rand_augment="rand-m9-n2-p1.0")
    for path in ("lt", "rc"):
        assert next(train_batches(replace(config, path=path, align=False, augment=augment), 0)).through is None


def test_without_alignment_the_stored_mask_is_applied_to_whatever_is_shown(config, numbered_tickets):
    stored = stored_tickets(config, numbered_tickets)
    for batch in train_batches(replace(config, path="lt", align=False), 0):
        kept = keep_best(resample(value_map(batch.rank), batch.affine, 6), 18)
        for number, patches in zip(numbers_of(batch.pixels), kept.tolist(), strict=True):
            assert patches == stored[number]


@pytest.mark.parametrize(("views_per_decode", "workers"), [(3, 0), (3, 2), (1, 2)])
@pytest.mark.parametrize("mixing", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mix_token": 1.0}])
def test_no_image_is_mixed_with_itself(config, views_per_decode, workers, mixing):
    """Mixing pairs view i of a rank's batch with view B - 1 - i; of 24 views, 8 images have 3 each."""
    repeated = replace(config, batch_size=24, repeats=3, views_per_decode=views_per_decode, epochs=6)
    for batch in train_batches(replace(repeated, augment=augmenting(24, 0.3, **mixing)), workers):
        numbers = numbers_of(batch.pixels)
        pairs = [frozenset(pair) for pair in zip(numbers[:12], numbers[:11:-1], strict=True)]
        assert all(len(pair) == 2 for pair in pairs)
        assert len(set(pairs)) == 12


def test_the_views_of_a_decode_are_different_views_of_one_image(config, monkeypatch):
    decoded = []
    decode = stream.images.decode
    monkeypatch.setattr(stream.images, "decode", lambda data, limit: decoded.append(1) or decode(data, limit))
    batches = list(train_batches(replace(config, repeats=4, views_per_decode=4, epochs=4), 0))
    seen = [number for batch in batches for number in numbers_of(batch.pixels)]
    assert len(decoded) == len(seen) // 4 == 4 * 14
    for batch in batches:
        assert [n for _, n in Counter(numbers_of(batch.pixels)).items()] == [4, 4]
        assert len({tuple(view.flatten().tolist()) for view in batch.pixels}) >= 6


def test_the_ticket_follows_the_pixels(config):
    """Tickets of this manifest are the brightest patches, and so are those of any crop of it."""
    overlap, chance = [], []
    for batch in train_batches(replace(config, path="lt", epochs=3, augment=augmenting(24, 0.5)), 0):
        kept = kept_cells(batch.rank, batch.affine, 6, 18)
        # what a selector of bright patches would choose on the crop itself
        brightness = batch.pixels.float().mean(1).view(-1, 6, 4, 6, 4).mean((2, 4)).flatten(1)
        own = brightness.argsort(1, descending=True)[:, :18]
        for a, b in zip(kept.tolist(), own.tolist(), strict=True):
            overlap.append(len(set(a) & set(b)) / 18)
            chance.append(0.5)
    assert np.mean(overlap) > 0.75 > np.mean(chance) + 0.2


def stored_tickets(config, tickets):
    """The stored tickets by the numbers of their pictures."""
    manifest = Manifest.open(tickets)
    rows = [row for shard in config.data.shards for row in manifest.read("train", shard).to_pylist()]
    return {int(row["key"].split("/")[1]): row["lt"] for row in rows}


def test_without_cropping_the_ticket_is_the_stored_one(config, numbered_tickets):
    stored = stored_tickets(config, numbered_tickets)
    uncropped = EvalStreamConfig(config.data, View("full", 24), batch_size=8, grid=6, kept=18)
    for batch in eval_batches(uncropped, 0):
        kept = kept_cells(batch.rank, batch.affine, 6, 18)
        for number, patches in zip(numbers_of(batch.pixels), kept.tolist(), strict=True):
            assert patches == stored[number]


@pytest.mark.parametrize(("num_ranks", "workers"), [(1, 0), (1, 2), (3, 2)])
def test_evaluation_sees_every_sample_once(config, num_ranks, workers):
    data = replace(config.data, split="val")
    keys = []
    for rank in range(num_ranks):
        part = EvalStreamConfig(data, View("center", 24), batch_size=4, grid=6, kept=18, rank=rank, num_ranks=num_ranks)
        keys += [key for batch in eval_batches(part, workers) for key in batch.key]
    assert len(keys) == len(set(keys)) == VAL


def test_the_stored_random_counterpart_is_what_evaluation_uses(config, numbered_tickets):
    data = replace(config.data, split="val")
    table = Manifest.open(numbered_tickets).read("val", data.shards[0]).to_pylist()
    stored = {row["key"]: row["rc"] for row in table}
    for batch in eval_batches(EvalStreamConfig(data, View("center", 24), batch_size=4, grid=6, kept=18), 0):
        for key, kept in zip(batch.key, batch.random.tolist(), strict=True):
            assert kept == stored.get(key, kept)


def test_holdout_and_limit_decide_who_takes_part(config):
    plain = replace(config.data, manifest=None)
    kept, held = replace(plain, holdout=(Holdout(0.3), False)), replace(plain, holdout=(Holdout(0.3), True))
    assert sum(kept.counts) + sum(held.counts) == TRAIN
    assert 0.1 * TRAIN < sum(held.counts) < 0.5 * TRAIN
    names = [
        sample.key for number, count in enumerate(held.counts) for _, sample, _ in held.read(number, np.arange(count))
    ]
    assert all(key in Holdout(0.3) for key in names)
    assert sum(replace(plain, limit=25).counts) == 25
    assert sum(replace(config.data, limit=25, holdout=(Holdout(0.3), False)).counts) < 25


def test_both_parts_of_a_holdout_read_each_tar_once(numbered_data, monkeypatch):
    plain, read = SplitData(Dataset.open(numbered_data), "train"), []
    monkeypatch.setattr(data, "read_keys", lambda path: read.append(path) or read_keys(path))
    for wanted in (False, True):
        replace(plain, holdout=(Holdout(0.21), wanted)).counts  # noqa: B018 (counted when asked for)
    assert len(read) == len(plain.shards)
    monkeypatch.setattr(data, "read_keys", lambda path: ["only one"])
    with pytest.raises(UserError, match=r"000000\.tar: expected 10 samples as in dataset\.json, found 1"):
        replace(plain, holdout=(Holdout(0.22), True)).counts  # noqa: B018


def test_reading_keys_shows_how_far_it_is_when_it_takes_long(numbered_data, monkeypatch, capfd):
    shards = Dataset.open(numbered_data).shards("train")
    monkeypatch.setattr(bars, "IN_A_FILE_S", 0.1)
    for pause, shown in ((0.0, False), (1.5 / len(shards), True)):
        monkeypatch.setattr(data, "read_keys", lambda path, pause=pause: time.sleep(pause) or read_keys(path))
        replace(SplitData(Dataset.open(numbered_data), "train"), holdout=(Holdout(0.23 + pause), True)).counts  # noqa: B018
        assert ("images of train" in capfd.readouterr().err) == shown


def test_whether_a_manifest_belongs_is_told_without_its_ranks(config, monkeypatch):
    read, real = [], Manifest.read
    monkeypatch.setattr(Manifest, "read", lambda *arguments: read.append(arguments[3]) or real(*arguments))
    check_belongs(config.data.manifest, config.data.dataset, ["train"])
    assert read == [["key"]]


def broken_stream(packed, tickets, **changes):
    manifest = Manifest.open(tickets) if tickets else None
    data = SplitData(Dataset.open(packed), "train", manifest)
    return TrainStreamConfig(
        data=data,
        path="dense",
        augment=augmenting(24, 1.0, hflip=0.0),
        batch_size=4,
        epochs=1,
        seed=0,
        grid=6,
        mask_seed=0,
        **changes,
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_fails_in_training_stops_the_run(packed, workers):
    with pytest.raises(UserError, match=r"image dog/broken cannot be decoded: .*; pass --skip-errors"):
        list(train_batches(replace(broken_stream(packed, None), batch_size=23), workers))


def test_or_is_left_out_and_counted(packed):
    batches = list(train_batches(replace(broken_stream(packed, None, skip_errors=True), batch_size=23), 1))
    assert [batch.skipped for batch in batches] == [1]
    assert len(batches[0].label) == 22


def test_a_manifest_leaves_images_with_errors_out(packed, tickets):
    stream = broken_stream(packed, tickets)
    assert sum(stream.data.counts) == 22
    assert stream.data.left_out == 1
    assert len(list(train_batches(stream, 1))) == 5


def test_tickets_of_another_dataset_are_refused(packed, numbered_data, numbered_tickets):
    with pytest.raises(UserError, match="expected dataset 'small', found 'data'"):
        check_belongs(Manifest.open(numbered_tickets), Dataset.open(packed), ["train"])


def test_tickets_of_other_shards_are_refused(numbered_data, numbered_tickets):
    dataset = Dataset.open(numbered_data)
    shards = [replace(shard, sha256="0" * 64) for shard in dataset.shards("train")]
    changed = replace(dataset, splits={"train": shards})
    with pytest.raises(UserError, match="was made from another shard"):
        check_belongs(Manifest.open(numbered_tickets), changed, ["train"])


def noise_of(config, workers=0):
    """Noise of every view by number of its picture, in the order of epochs."""
    found = {}
    for rank in range(config.num_ranks):
        for batch in train_batches(replace(config, rank=rank), workers):
            for number, noise_N in zip(numbers_of(batch.pixels), batch.noise.tolist(), strict=True):
                found.setdefault(number, []).append(tuple(noise_N))
    return found


def test_the_noise_of_sampled_tickets_is_the_views_own_whoever_reads_it(config):
    sampled = replace(config, path="lt", sampled=True, repeats=2, views_per_decode=2, batch_size=12, epochs=4)
    one = noise_of(sampled)
    assert all(len(set(views)) == len(views) for views in one.values())  # anew in every view of every epoch
    assert len({view for views in one.values() for view in views}) == sum(map(len, one.values()))
    other = noise_of(replace(sampled, num_ranks=2), workers=2)
    assert one.keys() == other.keys()
    assert all(set(one[number]) == set(other[number]) for number in one)
    assert noise_of(replace(sampled, mask_seed=1))[0] != one[0]
    assert next(train_batches(replace(config, path="lt"), 0)).noise is None
