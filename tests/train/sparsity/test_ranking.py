"""Exactly as many weights stay as are asked for, whatever the ties."""

import pytest
import torch

from tests.train.sparsity import reference
from vit_tickets.train.sparsity.ranking import keep_largest, keep_largest_of_all


def drawn(generator, *shape):
    """Scores with many ties."""
    return torch.randint(0, 6, shape, generator=generator).float()


def test_it_keeps_what_is_left_when_the_smallest_go_one_by_one():
    generator = torch.Generator().manual_seed(3)
    for _ in range(100):
        shape = torch.randint(1, 6, (2,), generator=generator).tolist()
        scores = drawn(generator, *shape)
        among = None if torch.rand((), generator=generator) < 0.5 else drawn(generator, *shape) > 1
        most = scores.numel() if among is None else int(among.sum())
        count = int(torch.randint(0, most + 1, (), generator=generator))
        found = keep_largest(scores, count, among)
        flat = None if among is None else among.flatten().tolist()
        assert found.flatten().tolist() == reference.kept(scores.flatten().tolist(), count, flat)
        assert found.shape == scores.shape


def test_several_layers_are_ranked_as_one():
    generator = torch.Generator().manual_seed(4)
    for count in range(0, 30, 3):
        scores = {"a": drawn(generator, 3, 4), "b": drawn(generator, 2, 3, 1, 2), "c": drawn(generator, 6)}
        among = {name: drawn(generator, *score.shape) >= 0 for name, score in scores.items()}
        whole = [value for score in scores.values() for value in score.flatten().tolist()]
        for given in (None, among):
            found = keep_largest_of_all(scores, count, given)
            assert [v for kept in found.values() for v in kept.flatten().tolist()] == reference.kept(whole, count)
            assert {name: kept.shape for name, kept in found.items()} == {n: s.shape for n, s in scores.items()}


def test_places_count_by_flat_index_in_any_memory_format():
    scores = torch.zeros(2, 3, 2, 2)
    found = keep_largest(scores.to(memory_format=torch.channels_last), 7)
    assert torch.equal(found, keep_largest(scores, 7))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.flatten().tolist() == [False] * 17 + [True] * 7


def test_infinite_scores_are_ranked():
    assert keep_largest(torch.tensor([1.0, torch.inf, -torch.inf]), 2).tolist() == [True, True, False]


def test_what_is_refused():
    with pytest.raises(ValueError, match="expected to keep 0 to 2 scores, found 3"):
        keep_largest(torch.zeros(3), 3, torch.tensor([True, False, True]))
    with pytest.raises(ValueError, match="found nan"):
        keep_largest(torch.tensor([1.0, torch.nan]), 1)
