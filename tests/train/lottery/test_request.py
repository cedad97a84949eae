"""Rounds of pruning: how much each drops, and what its runs are called."""

import pytest

from vit_tickets.train.lottery.request import Lottery, in_rounds, to_sparsity


def test_rounds_of_a_share_each_drop_it_of_what_is_alive():
    chain = in_rounds(0.2, 4, (2, 4), None)
    assert [(each.number, each.share, each.of, each.is_reported) for each in chain.rounds] == [
        (1, 0.2, "alive", False),
        (2, 0.2, "alive", True),
        (3, 0.2, "alive", False),
        (4, 0.2, "alive", True),
    ]


@pytest.mark.parametrize("of_all", [1.0, 0.963])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_sparsity_is_reached_exactly_by_equal_shares_of_what_is_alive(rounds, of_all):
    chain = to_sparsity(0.71, "network", rounds, "blocks", of_all)
    alive, left = of_all, []
    for each in chain.rounds:
        left.append((of_all - each.share) / alive)
        alive = of_all - each.share
    assert left == pytest.approx([left[0]] * rounds, abs=1e-5)
    assert chain.rounds[-1].share == 0.71
    assert [each.is_reported for each in chain.rounds] == [False] * (rounds - 1) + [True]


def test_names_tell_rounds_shares_and_scopes_apart_and_do_not_depend_on_further_rounds():
    assert [in_rounds(0.2, rounds, (1,), None).variant(1) for rounds in (1, 9)] == ["round1", "round1"]
    assert to_sparsity(0.12, "network", 1, "msa").variant(1) == "msa-0.12-of-network"
    assert to_sparsity(0.12, "scope", 1, None).variant(1) == "0.12"
    assert to_sparsity(0.44, "network", 3, "blocks").variant(2) == "blocks-0.44-of-network-in3-round2"
    assert in_rounds(0.2, 9, (1,), None).title(3) == "round 3 of 9"
    assert to_sparsity(0.44, "network", 3, "blocks").title(2) == "blocks 0.44 of network in3 round 2 of 3"


def test_folders_say_the_rate_that_was_asked_for_so_that_another_one_is_another_run():
    about = {"dataset": "data/d", "name": "d", "model": "deit_s", "out": "out", "chains": ()}
    own, one, two = (Lottery(**about, rates=rates) for rates in ((None,), (0.01,), (0.01, 0.1)))
    assert own.run(own.stem(None, "round3"), 2) == "out/runs/d-deit_small-dense-round3-seed2"
    assert one.run(one.stem(0.01, "round3"), 2) == "out/runs/d-deit_small-dense-lr0.01-round3-seed2"
    assert one.run(one.stem(0.01, ""), 0) == "out/runs/d-deit_small-dense-lr0.01-seed0"
    assert two.run(two.stem(0.01, ""), 0) == one.run(one.stem(0.01, ""), 0)
    assert two.ticket(two.stem(0.1, "round3"), 1) == "out/masks/deit_small-lr0.1-round3-seed1"
