"""Exact epochs, for any number of shards, ranks and workers, interrupted or not."""

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data import plan as plans
from vit_tickets.train.data.plan import Plan, Position, Segment, even_parts, lane_share

counts_of_shards = st.lists(st.integers(0, 40), min_size=1, max_size=12)
topologies = st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 5))


def given_by(plan, epoch, num_ranks, lanes, done=(), steps=None):
    """What each of the epoch's next `steps` steps holds, as (shard, member, repeat): by rank, in order."""
    by_step = None
    for rank in range(num_ranks):
        for number in range(lanes):
            lane = plan.lane(epoch, done, num_ranks, lanes, rank, number)
            views = list(zip(lane.shard_V[lane.visit_I], lane.member_V[lane.visit_I], lane.repeat_I, strict=True))
            assert sum(lane.shares) == len(views)
            by_step = by_step or [[[] for _ in range(num_ranks)] for _ in lane.shares]
            assert len(by_step) == len(lane.shares), "equal steps on all lanes"
            for step, share in enumerate(lane.shares):
                by_step[step][rank] += [tuple(map(int, view)) for view in views[:share]]
                views = views[share:]
    return by_step[:steps]


def flat(by_step):
    return [view for step in by_step for batch in step for view in batch]


@st.composite
def plan_of_any_kind(draw):
    counts = draw(counts_of_shards)
    views_per_decode = draw(st.integers(1, 3))
    repeats = views_per_decode * draw(st.integers(1, 2))
    batch = 12 * draw(st.integers(1, 2))
    return Plan(counts, batch, draw(st.integers(0, 99)), repeats, views_per_decode)


@given(plan=plan_of_any_kind(), topology=topologies, epoch=st.integers(0, 9))
def test_every_view_once_and_equal_steps(plan, topology, epoch):
    num_ranks, lanes = topology
    if sum(plan.counts) // plan.repeats * plan.repeats < plan.batch_size:
        with pytest.raises(UserError, match="at least one batch"):
            plan.lane(epoch, (), num_ranks, lanes, 0, 0)
        return
    by_step = given_by(plan, epoch, num_ranks, lanes)
    assert len(by_step) == plan.steps == sum(plan.counts) // plan.repeats * plan.repeats // plan.batch_size
    assert all(len(batch) == plan.batch_size // num_ranks for step in by_step for batch in step)
    views = flat(by_step)
    assert len(set(views)) == len(views)
    assert all(0 <= member < plan.counts[shard] and repeat < plan.repeats for shard, member, repeat in views)
    # each sample of the epoch `repeats` times, but for the last where the repeats do not divide the epoch
    times = Counter((shard, member) for shard, member, _ in views)
    assert sum(plan.repeats - n for n in times.values()) == -len(views) % plan.repeats


@given(
    plan=plan_of_any_kind(),
    parts=st.lists(st.tuples(topologies, st.floats(0, 1)), min_size=1, max_size=4),
    epoch=st.integers(0, 3),
)
def test_any_chain_of_interruptions_gives_each_view_once(plan, parts, epoch):
    if sum(plan.counts) // plan.repeats * plan.repeats < plan.batch_size:
        return
    done, views = (), []
    for number, ((num_ranks, lanes), share) in enumerate(parts):
        left = plan.steps - sum(segment.steps for segment in done)
        steps = left if number == len(parts) - 1 else int(share * left)
        views += flat(given_by(plan, epoch, num_ranks, lanes, done, steps))
        position = Position(epoch, done)
        for _ in range(steps):
            position = position.after_step(num_ranks, lanes)
        done = position.segments
    assert sum(segment.steps for segment in done) == plan.steps
    assert sorted(views) == sorted(flat(given_by(plan, epoch, 1, 1)))


@given(plan=plan_of_any_kind(), topology=topologies, stop=st.floats(0, 1))
def test_going_on_with_the_same_ranks_and_lanes_changes_nothing(plan, topology, stop):
    if sum(plan.counts) // plan.repeats * plan.repeats < plan.batch_size:
        return
    steps = int(stop * plan.steps)
    whole = given_by(plan, 0, *topology)
    assert given_by(plan, 0, *topology, done=(Segment(*topology, steps),)) == whole[steps:]
    first = Segment(1, 7, 1)  # an interruption that came before this one
    after_first = given_by(plan, 0, *topology, done=(first,))
    steps = int(stop * (plan.steps - 1))
    assert given_by(plan, 0, *topology, done=(first, Segment(*topology, steps))) == after_first[steps:]


@given(per_rank=st.integers(1, 20), lanes=st.integers(1, 8), step=st.integers(0, 50))
def test_the_shares_of_a_step_fill_the_batch(per_rank, lanes, step):
    shares = [lane_share(per_rank, lanes, lane, step) for lane in range(lanes)]
    assert sum(shares) == per_rank
    assert max(shares) - min(shares) <= 1


@given(counts=st.lists(st.integers(0, 12), min_size=1, max_size=5), batch=st.integers(1, 30), seed=st.integers(0, 9))
def test_what_is_left_out_moves_on_and_is_fair(counts, batch, seed):
    total = sum(counts)
    if total < batch:
        return
    plan, everything = Plan(counts, batch, seed), {(s, m) for s, count in enumerate(counts) for m in range(count)}
    rest = total % batch
    left_out = [everything - set(zip(*plan.visits(epoch), strict=True)) for epoch in range(2 * total)]
    assert all(len(out) == rest for out in left_out)
    for before, after in pairwise(left_out):
        assert not before & after
    times = Counter(chain(*left_out))
    assert len(set(times.values())) <= 1, "after 2 * total epochs each was left out 2 * rest times"


@pytest.mark.parametrize(("repeats", "views_per_decode"), [(1, 1), (3, 1), (3, 3), (4, 2)])
def test_repeats_cover_the_dataset_in_as_many_epochs(repeats, views_per_decode):
    plan = Plan([17, 31, 24], 12, 5, repeats, views_per_decode)  # 72 samples: 6 batches, divided by each of the repeats
    for cycle in range(3):
        epochs = [flat(given_by(plan, cycle * repeats + part, 2, 2)) for part in range(repeats)]
        assert all(len(views) == 72 for views in epochs)
        taken = [Counter((shard, member) for shard, member, _ in views) for views in epochs]
        assert all(set(times.values()) == {repeats} for times in taken)
        assert sum((Counter(set(times)) for times in taken), Counter()) == Counter(
            {(s, m): 1 for s, count in enumerate(plan.counts) for m in range(count)}
        )


@pytest.mark.parametrize(("batch", "num_ranks", "lanes"), [(12, 1, 1), (12, 2, 2), (24, 2, 3)])
def test_the_views_of_one_decode_stand_in_one_global_batch(batch, num_ranks, lanes):
    plan = Plan([40, 50, 60], batch, 1, repeats=3, views_per_decode=3)
    for step in given_by(plan, 0, num_ranks, lanes):
        assert set(Counter((shard, member) for shard, member, _ in chain(*step)).values()) == {3}


@pytest.mark.parametrize(("num_ranks", "lanes"), [(2, 4), (1, 1), (4, 2)])
def test_where_they_do_not_fit_one_visit_of_a_rank_is_shared_by_two_steps(num_ranks, lanes):
    plan = Plan([100, 150, 130], 32, 1, repeats=3, views_per_decode=3)
    by_step = given_by(plan, 0, num_ranks, lanes)
    split = [
        sum(n != 3 for n in Counter((shard, member) for shard, member, _ in batch).values())
        for step in by_step
        for batch in step
    ]
    assert max(split) <= 4, "the first and the last of a last lane's share, and those at the lane's own ends"
    assert np.mean(split) < 2.2
    for rank in range(num_ranks):
        for number in range(lanes):
            visits = plan.lane(0, (), num_ranks, lanes, rank, number).visit_I
            assert len(set(visits)) == 1 + np.count_nonzero(np.diff(visits)), "the views of a visit are together"


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_lane_reads_each_stretch_of_a_shard_in_order(lanes):
    plan = Plan([30, 50, 20], 10, 0)
    for number in range(lanes):
        lane = plan.lane(4, (), 1, lanes, 0, number)
        stretches = list(lane.stretches())
        assert [(shard, m) for shard, members in stretches for m in members] == list(
            zip(lane.shard_V, lane.member_V, strict=True)
        )
        assert all((np.diff(members) > 0).all() for _, members in stretches)
        assert len(stretches) <= 3


def test_what_waits_in_a_lane_is_bounded(monkeypatch):
    monkeypatch.setattr(plans, "WINDOW", 50)
    lane = Plan([100] * 20, 10, 3).lane(0, (), 1, 1, 0, 0)
    arrived, waiting, most = -1, set(), 0
    for visit in lane.visit_I.tolist():
        while arrived < visit:
            arrived += 1
            waiting.add(arrived)
        most = max(most, len(waiting))
        waiting.remove(visit)
    assert 15 < most <= 50
    assert np.abs(lane.visit_I - np.arange(len(lane.visit_I))).max() <= 50


def test_a_batch_mixes_shards():
    """In lanes of 1,000 samples a batch holds samples of most of the lane's ten shards."""
    plan = Plan([100] * 100, 100, 0)
    shards = [len({shard for shard, _, _ in chain(*step)}) for step in given_by(plan, 0, 1, 1)]
    assert np.mean(shards) > 15


def test_the_order_is_the_seeds_and_the_epochs():
    def order(seed, epoch):
        return given_by(Plan([5] * 20, 10, seed), epoch, 1, 2)

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_one_shard_is_no_fixed_order():
    orders = [flat(given_by(Plan([30], 10, 0), epoch, 1, 1)) for epoch in range(3)]
    assert orders[0] != orders[1] != orders[2]


def test_one_rank_and_two_give_each_step_the_same_samples():
    plan = Plan([7] * 9, 12, 3)
    one, two = given_by(plan, 0, 1, 2), given_by(plan, 0, 2, 1)
    assert [sorted(chain(*step)) for step in one] == [sorted(chain(*step)) for step in two]


@given(counts=counts_of_shards, lanes=st.integers(1, 9))
def test_evaluation_covers_every_sample_once(counts, lanes):
    planned = [[(s, int(m)) for s, members in parts for m in members] for parts in even_parts(counts, lanes)]
    assert list(chain(*planned)) == [(shard, member) for shard, count in enumerate(counts) for member in range(count)]
    assert max(map(len, planned)) - min(map(len, planned)) <= 1
