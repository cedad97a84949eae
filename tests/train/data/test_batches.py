"""Batches: joined field by field, and handed over by workers as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.batches import EvalBatch, Share, TrainBatch
from vit_tickets.train.data.loader import shares_of


def view(number: int, **fields) -> TrainBatch:
    return TrainBatch.of([{"pixels": np.full((3, 2, 2), number, np.uint8), "label": number, **fields}])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_views_are_joined_field_by_field(dtype):
    ranks = [np.arange(5, dtype=dtype) + number for number in range(3)]
    batch = TrainBatch.join([view(number, rank=rank) for number, rank in enumerate(ranks)])
    assert (batch.pixels.shape, batch.pixels.dtype) == ((3, 3, 2, 2), torch.uint8)
    assert (batch.label.dtype, batch.label.tolist()) == (torch.int64, [0, 1, 2])
    assert np.array_equal(batch.rank.numpy(), np.stack(ranks))
    assert batch.rank.numpy().dtype == dtype
    assert (batch.affine, batch.through, batch.erased, batch.classes) == (None, None, None, None)


def test_keys_and_counts_are_joined_too():
    a = EvalBatch(pixels=torch.zeros(2), label=torch.zeros(2), key=["a", "b"], place=torch.zeros(2, 2))
    assert EvalBatch.join([a, replace(a, key=["c", "d"])]).key == ["a", "b", "c", "d"]
    assert TrainBatch.join([replace(view(0), skipped=2), replace(view(1), skipped=3)]).skipped == 5


def test_a_part_alone_is_not_copied_and_a_view_is():
    array = np.zeros(3, np.float32)
    part = view(1, affine=array)
    assert TrainBatch.join([part]) is part
    part.affine.add_(1)
    assert not array.any()


def test_a_batch_of_views_is_what_joins_them():
    views = [{"pixels": np.full((3, 2, 2), i, np.uint8), "label": i, "key": f"k{i}", "place": [0, i]} for i in range(3)]
    batch, joined = EvalBatch.of(views), EvalBatch.join([EvalBatch.of([one]) for one in views])
    assert batch.key == joined.key == ["k0", "k1", "k2"]
    assert all(torch.equal(getattr(batch, name), getattr(joined, name)) for name in ("pixels", "label", "place"))
    assert (batch.label.dtype, batch.place.dtype, batch.place.shape) == (torch.int64, torch.int64, (3, 2))


def test_every_tensor_is_moved():
    batch = view(0, rank=np.arange(4), through=np.zeros((0, 2, 3))).to("meta")
    assert {tensor.device.type for tensor in (batch.pixels, batch.label, batch.rank, batch.through)} == {"meta"}
    assert batch.affine is None


class Shares(IterableDataset):
    def __iter__(self):
        yield Share(TrainBatch.join([view(1), view(2)]), skipped=1)
        yield Share(skipped=2)
        yield Share(failure=UserError("a bad image"))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.process)])
def test_shares_cross_from_a_worker_and_a_failure_is_raised(workers):
    shares = shares_of(Shares(), workers)
    first = next(shares)
    assert (first.batch.label.tolist(), first.batch.rank, first.skipped) == ([1, 2], None, 1)
    assert (second := next(shares)).batch is None
    assert second.skipped == 2
    with pytest.raises(UserError, match="a bad image"):
        next(shares)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA pins memory")
def test_every_tensor_is_pinned():
    batch = view(0, rank=np.arange(4)).pin_memory()
    assert batch.pixels.is_pinned()
    assert batch.rank.is_pinned()
