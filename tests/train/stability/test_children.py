"""Which runs are children of one set of weights."""

import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.stability.children import Pair, pairs_of


def test_runs_from_the_same_weights_are_paired_by_their_epoch(child, tmp_path):
    a, b, c = (str(child(name, seed)) for name, seed in (("a", 7), ("b", 8), ("c", 9)))
    assert pairs_of([a, b, a]) == [Pair(1, a, b)]
    assert pairs_of([a, b, c]) == [Pair(1, a, b), Pair(1, a, c), Pair(1, b, c)]
    init = tmp_path / "deit_micro-epoch" / "epoch-0000.safetensors"
    init.write_bytes((tmp_path / "deit_micro-epoch" / "epoch-0001.safetensors").read_bytes())
    early = [str(child(name, seed, init=str(init), start_epoch=0)) for name, seed in (("d", 7), ("e", 8))]
    assert pairs_of([a, *early, b]) == [Pair(0, *early), Pair(1, a, b)]


def test_what_is_no_pair_is_refused_in_a_line(child):
    a, same, other, own = (
        str(child(name, seed, **settings))
        for name, seed, settings in (
            *(("a", 7, {}), ("same", 7, {}), ("other", 8, {"precision": "bf16"})),
            ("own", 8, {"init": None, "start_epoch": None}),
        )
    )
    for runs, said in (
        ([a, same], f"{a}, {same}: expected other orders of the data (--seed), found seed 7 twice"),
        ([a, other], f"{a}, {other}: expected runs that differ in their seed alone, found precision"),
        ([a, own], f"{own}: expected a run from weights that others began with, too (`train --init RUN/epoch-0005"),
        ([a], f"{a}: expected another run from the same weights and masks, found none; `train ... --seed 8` makes"),
    ):
        with pytest.raises(UserError) as error:
            pairs_of(runs)
        assert said in str(error.value)
