"""Tickets in place of an image's own: the mean keep map, and a derangement that depends on seed and keys alone."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.fixtures.numbered import TRAIN, VAL, numbers_of
from tests.helpers import augmenting
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.folds import hash_word
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.provenance import TicketProvenance
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.split import Holdout, SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches
from vit_tickets.train.data.substitutes import FixedMask, Swap, derangement, mean_rank, packed, substitute_of
from vit_tickets.train.evaluation.stream import EvalStreamConfig, eval_batches


@pytest.fixture(scope="module")
def data(numbered_data, numbered_tickets):
    return SplitData(Dataset.open(numbered_data), "train", Manifest.open(numbered_tickets))


@pytest.fixture(scope="module")
def stored(data):
    """The rows of the manifest by the numbers of their pictures, as Python has them."""
    tables = {split: [data.manifest.read(split, s) for s in data.dataset.shards(split)] for split in ("train", "val")}
    rows = [row for of_split in tables.values() for table in of_split for row in table.to_pylist()]
    return {int(row["key"].split("/")[1]): row for row in rows}


def stream(data, **changes):
    config = TrainStreamConfig(
        data=data, path="lt", augment=augmenting(24, 0.3), batch_size=8, epochs=2, seed=0, grid=6, mask_seed=0
    )
    return replace(config, **changes)


def donors_by_hand(rows, seed):
    """Who gets whose ticket, by number: in the order of their hashes, each that of the next."""
    order = sorted(rows, key=lambda row: hash_word(f"swap:{seed}:{row['key']}"))
    number = [int(row["key"].split("/")[1]) for row in order]
    return dict(zip(number, number[1:] + number[:1], strict=True))


def given_to(data, stored, numbers):
    """Numbers of the pictures whose tickets the images of `numbers` get."""
    by_rank = {tuple(row["rank"]): number for number, row in stored.items()}
    found = np.concatenate([data.given.of_shard(number) for number in range(len(data.shards))])
    return {number: by_rank[tuple(rank)] for number, rank in zip(numbers, found.tolist(), strict=True)}


def in_order(data):
    """Numbers of the pictures in the order of the dataset."""
    keys = [key for shard in data.shards for key in data.manifest.read(data.split, shard, ["key"])["key"].to_pylist()]
    return [int(key.split("/")[1]) for key in keys]


@pytest.mark.parametrize("labels", [None, [0, 0, 0, 1, 1, 2, 2, 2, 2, 2]])
def test_a_derangement_leaves_nobody_his_own(labels):
    label_n = None if labels is None else np.array(labels)
    for seed in range(50):
        donor_n = derangement(np.random.default_rng(seed).integers(0, 2**63, 10).astype(np.uint64), label_n)
        assert sorted(donor_n) == list(range(10))
        assert (donor_n != np.arange(10)).all()
        assert label_n is None or (label_n[donor_n] == label_n).all()


def test_who_is_alone_in_his_class_gets_a_ticket_of_another():
    label_n = np.array([0, 1, 1, 2])
    for seed in range(20):
        donor_n = derangement(np.random.default_rng(seed).integers(0, 2**63, 4).astype(np.uint64), label_n)
        assert (donor_n != np.arange(4)).all()
        assert donor_n[[1, 2]].tolist() == [2, 1]


@pytest.mark.parametrize("seed", [0, 7])
def test_swapped_tickets_are_those_of_the_next_by_hash_of_seed_and_key(data, stored, seed):
    swapped = replace(data, substitute=Swap(seed))
    expected = donors_by_hand([stored[number] for number in range(TRAIN)], seed)
    assert given_to(swapped, stored, in_order(swapped)) == expected


def test_within_the_class_the_donor_has_the_label(data, stored):
    swapped = replace(data, substitute=Swap(3, within_class=True))
    found = given_to(swapped, stored, in_order(swapped))
    for label in (0, 1):
        rows = [row for number, row in stored.items() if number < TRAIN and row["label"] == label]
        assert donors_by_hand(rows, 3).items() <= found.items()


def test_only_images_that_take_part_give_and_receive(data, stored):
    """Those that are held out, beyond the limit or without a ticket do neither."""
    swapped = replace(data, substitute=Swap(0), holdout=(Holdout(0.3), False), limit=50)
    numbers = [n for n in in_order(swapped)[:50] if stored[n]["key"] not in Holdout(0.3)]
    assert 20 < len(numbers) < 45
    found = given_to(swapped, stored, in_order(swapped))
    expected = donors_by_hand([stored[number] for number in numbers], 0)
    assert {number: found[number] for number in numbers} == expected
    assert swapped.given.rank_MN.shape == (len(numbers), 36)


@pytest.mark.process
@pytest.mark.parametrize("align", [True, False])
def test_views_have_the_donors_ranks_and_their_own_geometry_whoever_reads_them(data, stored, align):
    own = {}
    for batch in train_batches(stream(data, align=align), 0):
        for number, affine in zip(numbers_of(batch.pixels), batch.affine.tolist(), strict=True):
            own.setdefault(number, []).append(affine)
    expected = donors_by_hand([stored[number] for number in range(TRAIN)], 5)
    for num_ranks, workers in ((1, 0), (2, 2)):
        seen = {}
        swapped = stream(replace(data, substitute=Swap(5)), align=align, num_ranks=num_ranks)
        for rank in range(num_ranks):
            for batch in train_batches(replace(swapped, rank=rank), workers):
                for number, ranks, affine in zip(
                    numbers_of(batch.pixels), batch.rank.tolist(), batch.affine.tolist(), strict=True
                ):
                    assert ranks == stored[expected[number]]["rank"]
                    seen.setdefault(number, []).append(affine)
        assert {number: sorted(views) for number, views in seen.items()} == {n: sorted(v) for n, v in own.items()}


@pytest.mark.parametrize("kept", [9, 18, 30])
def test_the_mean_mask_holds_the_cells_that_most_tickets_hold(data, stored, kept):
    held = Counter()
    for number in range(TRAIN):
        held.update(patch for patch, rank in enumerate(stored[number]["rank"]) if rank < kept)
    order = sorted(range(36), key=lambda patch: (-held[patch], patch))
    assert mean_rank(data.images, kept).tolist() == [order.index(patch) for patch in range(36)]
    few = in_order(data)[:7]
    held = Counter(p for number in few for p, rank in enumerate(stored[number]["rank"]) if rank < kept)
    order = sorted(range(36), key=lambda patch: (-held[patch], patch))
    assert mean_rank(replace(data, limit=7).images, kept).tolist() == [order.index(patch) for patch in range(36)]


def test_every_image_gets_the_mean_mask(data):
    rank_N = mean_rank(data.images, 18)
    for batch in train_batches(stream(replace(data, substitute=FixedMask(rank_N, data.stored_view))), 0):
        assert (batch.rank.numpy() == rank_N).all()


def test_test_images_get_another_test_images_ticket_or_the_mean_of_the_training_images(data, stored):
    val = replace(data, split="val", substitute=Swap(2))
    expected = donors_by_hand([stored[number] for number in range(100, 100 + VAL)], 2)
    config = EvalStreamConfig(val, View("full", 24), batch_size=4, grid=6, kept=18)
    for batch in eval_batches(config, 0):
        for number, own, given in zip(numbers_of(batch.pixels), batch.rank.tolist(), batch.given.tolist(), strict=True):
            assert own == stored[number]["rank"]
            assert given == stored[expected[number]]["rank"]
        assert batch.given_affine.equal(batch.affine)
    rank_N = mean_rank(data.images, 18)
    mean = replace(val, substitute=FixedMask(rank_N, View("center", 24, 0.5)))
    for batch in eval_batches(replace(config, data=mean), 0):
        assert (batch.given.numpy() == rank_N).all()
        assert batch.given_affine[0].tolist() == [[2.0, 0.0, -0.5], [0.0, 2.0, -0.5]]  # the mask is of the middle half


def test_one_image_has_nobody_to_swap_with(data):
    with pytest.raises(UserError, match="expected two or more images of train to swap tickets, found 1"):
        _ = replace(data, substitute=Swap(0), limit=1).counts


def test_images_that_are_alone_in_their_class_are_told(data, capsys):
    numbers = in_order(data)
    first = next(place for place, number in enumerate(numbers) if number % 2 != numbers[0] % 2) + 1
    _ = replace(data, substitute=Swap(0, within_class=True), limit=first).counts
    assert f"1 of {first} images are alone in their class" in capsys.readouterr().err


def config_of(ticket, mean=None):
    view = {"view": "full", "preprocessing": View("full", 24).preprocessing()}
    return RunConfig(path="lt", ticket=ticket, mask_seed=4, mean_rank=mean, tickets=TicketProvenance.from_record(view))


def test_what_a_run_is_given_is_read_from_its_config():
    rank_N = np.array([2, 0, 3, 1], np.uint8)
    assert substitute_of(config_of("own")) is None
    assert substitute_of(config_of("swapped"), to_test=True) == Swap(4)
    mean = substitute_of(config_of("mean", packed(rank_N)))
    assert mean.rank_N.tolist() == rank_N.tolist()
    assert mean.view == View("full", 24)
    with pytest.raises(UserError, match="mean_rank: expected the rank of every patch"):
        substitute_of(config_of("mean", "0 0 1"))


def test_a_test_image_never_gets_a_ticket_that_was_chosen_by_its_label():
    assert substitute_of(config_of("class-swapped")) == Swap(4, within_class=True)
    assert substitute_of(config_of("class-swapped"), to_test=True) is None


def test_no_more_than_a_byte_is_held_of_a_patch(data):
    swapped = replace(data, substitute=Swap(0))
    assert swapped.given.rank_MN.nbytes == TRAIN * 36
