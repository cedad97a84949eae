"""Exact epochs, for any number of shards, ranks and workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.errors import UserError
from vit_tickets.train.plan import epoch_lanes, even_lanes, lane_share, lane_size, steps_per_epoch

counts_of_shards = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def members(pieces):
    return [(piece.shard, member) for piece in pieces for member in range(piece.start, piece.stop)]


@given(
    counts=counts_of_shards,
    per_rank=st.integers(1, 7),
    num_ranks=st.integers(1, 4),
    lanes=st.integers(1, 5),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
)
def test_every_sample_at_most_once_and_equal_steps(counts, per_rank, num_ranks, lanes, seed, epoch):
    batch_size = per_rank * num_ranks
    if sum(counts) < batch_size:
        with pytest.raises(UserError, match="at least one batch"):
            epoch_lanes(counts, batch_size, num_ranks, lanes, seed, epoch)
        return
    steps = steps_per_epoch(sum(counts), batch_size)
    planned = epoch_lanes(counts, batch_size, num_ranks, lanes, seed, epoch)
    assert len(planned) == num_ranks * lanes
    seen = [member for pieces in planned for member in members(pieces)]
    assert len(seen) == len(set(seen)) == steps * batch_size
    assert all(0 <= member < counts[shard] for shard, member in seen)
    for number, pieces in enumerate(planned):
        assert len(members(pieces)) == lane_size(per_rank, lanes, number % lanes, steps)


@given(per_rank=st.integers(1, 20), lanes=st.integers(1, 8), step=st.integers(0, 50))
def test_the_shares_of_a_step_fill_the_batch(per_rank, lanes, step):
    shares = [lane_share(per_rank, lanes, lane, step) for lane in range(lanes)]
    assert sum(shares) == per_rank
    assert max(shares) - min(shares) <= 1


def test_what_is_left_out_differs_from_epoch_to_epoch():
    counts = [10] * 8
    left_out = []
    for epoch in range(6):
        seen = {m for pieces in epoch_lanes(counts, 24, 2, 2, 0, epoch) for m in members(pieces)}
        left_out.append(frozenset({(s, i) for s in range(8) for i in range(10)} - seen))
    assert all(len(rest) == 8 for rest in left_out)
    assert len(set(left_out)) > 1


def test_the_order_is_the_seeds_and_the_epochs():
    def plan(seed, epoch):
        return epoch_lanes([5] * 20, 10, 1, 2, seed, epoch)

    assert plan(0, 1) == plan(0, 1)
    assert plan(0, 1) != plan(0, 2)
    assert plan(0, 1) != plan(1, 1)


def test_one_rank_and_two_give_each_step_the_same_samples():
    one = epoch_lanes([7] * 9, 12, num_ranks=1, lanes_of_rank=2, seed=3, epoch=0)
    two = epoch_lanes([7] * 9, 12, num_ranks=2, lanes_of_rank=1, seed=3, epoch=0)
    assert [members(pieces) for pieces in one] == [members(pieces) for pieces in two]


@given(counts=counts_of_shards, lanes=st.integers(1, 9))
def test_evaluation_covers_every_sample_once(counts, lanes):
    planned = even_lanes(counts, lanes)
    seen = [member for pieces in planned for member in members(pieces)]
    assert seen == [(shard, member) for shard, count in enumerate(counts) for member in range(count)]
    sizes = [len(members(pieces)) for pieces in planned]
    assert max(sizes) - min(sizes) <= 1
