"""Which steps run when: against a slow reference, and what becomes of those that fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.train.sweep.scheduler import DONE, FAILED, LEFT_OUT, WAITING, Scheduler
from vit_tickets.train.sweep.steps import Step


def step(title, *needs):
    return Step(title, ("train", title), lambda: True, needs)


CHAIN = [step("a"), step("b", "a"), step("c", "b"), step("d")]


def test_steps_begin_in_their_order_once_what_they_need_is_done():
    scheduler = Scheduler(CHAIN)
    a, d = scheduler.next(), scheduler.next()
    assert (a.title, d.title, scheduler.next()) == ("a", "d", None)
    scheduler.finished(a)
    assert scheduler.next().title == "b"
    assert scheduler.next() is None


def test_what_is_done_is_not_begun():
    scheduler = Scheduler(CHAIN, ["a", "b"])
    assert [scheduler.next().title for _ in range(2)] == ["c", "d"]


def test_the_same_failure_twice_leaves_out_what_needs_the_step_and_nothing_else():
    scheduler = Scheduler(CHAIN)
    assert scheduler.failed(scheduler.next(), "no memory")
    assert scheduler.states["a"] == WAITING
    assert not scheduler.failed(scheduler.next(), "no memory")
    assert scheduler.states == {"a": FAILED, "b": LEFT_OUT, "c": LEFT_OUT, "d": WAITING}
    assert scheduler.reasons == {"a": "no memory", "b": "needs a", "c": "needs b"}
    assert scheduler.next().title == "d"


def test_failures_that_differ_are_tried_three_times_in_all():
    scheduler = Scheduler([step("a")])
    assert [scheduler.failed(scheduler.next(), fault) for fault in ("x", "y", "z")] == [True, True, False]


def test_a_lost_machine_may_be_lost_again_but_not_for_ever():
    scheduler = Scheduler([step("a")])
    assert [scheduler.lost(scheduler.next(), "node died") for _ in range(3)] == [True, True, False]


def test_a_wrong_request_is_not_repeated():
    scheduler = Scheduler(CHAIN)
    assert not scheduler.failed(scheduler.next(), "no such option", again=False)
    assert scheduler.counts == {FAILED: 1, LEFT_OUT: 2, WAITING: 1}


def test_a_step_that_was_stopped_may_run_again():
    scheduler = Scheduler(CHAIN)
    scheduler.put_back(scheduler.next())
    assert scheduler.next().title == "a"


@st.composite
def graphs(draw):
    """Steps that need some of those before them, who of them fails, and how many may run at once."""
    count = draw(st.integers(1, 9))
    steps = [step(str(i), *map(str, sorted(draw(st.sets(st.integers(0, i - 1)))) if i else [])) for i in range(count)]
    return steps, draw(st.sets(st.integers(0, count - 1))), draw(st.integers(1, 3))


@given(graphs(), st.randoms(use_true_random=False))
def test_in_whatever_order_steps_end_all_that_can_be_done_is_done(graph, rng):
    steps, bad, slots = graph
    scheduler, running, ran = Scheduler(steps), [], []
    while True:
        while len(running) < slots and (begun := scheduler.next()):
            running.append(begun)
        if not running:
            break
        ended = running.pop(rng.randrange(len(running)))
        assert set(ended.needs) <= set(ran)
        if int(ended.title) in bad:
            scheduler.failed(ended, "broken")
        else:
            scheduler.finished(ended)
            ran.append(ended.title)
    expected = {}
    for s in steps:  # each after those that it needs
        lost = any(expected[title] != DONE for title in s.needs)
        expected[s.title] = LEFT_OUT if lost else FAILED if int(s.title) in bad else DONE
    assert scheduler.states == expected


@pytest.mark.parametrize("title", ["train a/b seed 0", "evaluate x on keep rate 0.9"])
def test_a_step_has_a_name_for_a_file(title):
    assert set(step(title).name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
