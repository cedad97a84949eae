"""The list of `sweep --weights`: what it means, and what is refused of it."""

import pytest

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.joint.entries import Entry, is_list, parse_entries, rounds_to


def test_a_list_has_all_weights_first_and_then_what_was_typed():
    assert parse_entries("imp:0.8,none, svite:0.5,s2vite:0.3/0.4,imp:0.36@3") == (
        Entry("none"),
        Entry("imp", (0.8,), 7),
        Entry("svite", (0.5,)),
        Entry("s2vite", (0.3, 0.4)),
        Entry("imp", (0.36,), 3),
    )
    assert parse_entries("gmp:.5") == (Entry("none"), Entry("gmp", (0.5,)))


@pytest.mark.parametrize(("sparsity", "rounds"), [(0.2, 1), (0.36, 2), (0.488, 3), (0.8, 7), (0.832, 8), (0.05, 1)])
def test_rounds_of_a_fifth_are_the_default(sparsity, rounds):
    assert rounds_to(sparsity) == rounds


@pytest.mark.parametrize(
    ("word", "null"), [("svite:0.5", "static:0.5"), ("gmp:0.5", "static:0.5"), ("omp:0.5", "static:0.5")]
)
def test_what_is_chosen_in_one_training_has_to_beat_random_masks(word, null):
    assert str(parse_entries(word)[1].null) == null


@pytest.mark.parametrize("word", ["none", "imp:0.5", "static:0.5", "s2vite:0.3/0.4"])
def test_others_have_no_run_of_their_own_to_beat(word):
    assert parse_entries(word)[-1].null is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *((text, True) for text in ("none", "imp:0.8", "none,imp:0.8", "imq:0.8", "none,x")),
        *((text, False) for text in ("deit.pth", "weights/deit_small.safetensors", "s3://bucket/w.pth", "runs/none")),
    ],
)
def test_a_list_is_told_from_a_file(text, meant):
    assert is_list(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("none,svit:0.8", "found 'svit:0.8'; did you mean svite?"),
        ("imp", "--weights: expected shares to drop below 1, such as imp:0.5, found imp"),
        ("svite:1", "--weights: expected shares to drop below 1, such as svite:0.5, found svite:1"),
        ("svite:0", "such as svite:0.5, found svite:0"),
        ("s2vite:0.5", "such as s2vite:0.3/0.4 (heads/neurons), found s2vite:0.5"),
        ("gmp:0.5/0.5", "such as gmp:0.5, found gmp:0.5/0.5"),
        ("svite:0.5@3", "expected rounds of imp from 1 on, such as imp:0.8@7, found svite:0.5@3"),
        ("imp:0.5@0", "found imp:0.5@0"),
        ("none:0.5", "expected none alone, as it drops no weights, found none:0.5"),
        ("imp:0.5,imp:0.50@3", "expected every method once with a share, found imp:0.5 twice"),
    ],
)
def test_what_is_no_entry_is_refused_in_a_line(text, said):
    with pytest.raises(UserError) as refused:
        parse_entries(text)
    assert said in str(refused.value)
