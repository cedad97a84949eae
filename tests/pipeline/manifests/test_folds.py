"""Folds share the images out: every key is in exactly one, evenly, and the same on every machine."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_tickets.pipeline.manifests.folds import Fold, fold_of
from vit_tickets.pipeline.system.errors import UserError


@given(key=st.text(max_size=20), count=st.integers(2, 50))
def test_every_key_is_in_one_fold(key, count):
    (number,) = [number for number in range(1, count + 1) if key in Fold(number, count)]
    digest = hashlib.blake2b(b"fold:" + key.encode(), digest_size=8).digest()
    assert number == fold_of(key, count) == 1 + sum(byte << 8 * i for i, byte in enumerate(digest)) % count


def test_folds_are_even():
    counts = [sum(f"{i:08d}" in Fold(number, 5) for i in range(10_000)) for number in range(1, 6)]
    assert sum(counts) == 10_000
    assert all(abs(count - 2000) < 5 * (10_000 * 0.2 * 0.8) ** 0.5 for count in counts)


def test_a_fold_is_written_as_it_is_read():
    assert Fold.parse("2/3") == Fold(2, 3)
    assert (str(Fold(2, 3)), Fold(2, 3).variant) == ("2/3", "without-fold-2of3")


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/1", "a/b", "-1/2", "1/2/3", "1 / 2", "1/²", "1/99999"])
def test_what_is_no_fold(text):
    with pytest.raises(UserError, match="expected a fold such as 1/2"):
        Fold.parse(text)
