"""The built-in dataset: real digits, four patches each, train and val disjoint, the same every time."""

import numpy as np
import pytest

from vit_tickets.pipeline.datasets import digits
from vit_tickets.pipeline.datasets.layouts.opening import open_source
from vit_tickets.pipeline.geometry.images import decode


def test_train_and_val_have_different_scans():
    (train, _), (val, _) = digits._scans("train"), digits._scans("val")
    assert len(train) + len(val) == 1797
    assert len(val) == 297
    assert not {scan.tobytes() for scan in train} & {scan.tobytes() for scan in val}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_sample_shows_its_digit_on_four_patches(split):
    part = digits.DigitsSplit(split)
    scans, labels = digits._scans(split)
    for index in (0, 1, 250, len(part) - 1):
        sample = next(part.read([index]))
        assert sample.label == labels[index % len(labels)]
        canvas = np.asarray(decode(sample.data))[..., 0].astype(float)
        assert canvas.shape == (48, 48)
        errors = [
            np.abs(canvas[top : top + 16, left : left + 16] - scans[index % len(scans)]).mean()
            for top in range(0, 33, 8)
            for left in range(0, 33, 8)
        ]
        assert min(errors) < 2 * digits.NOISE  # it is there, on the patch grid, under noise alone
        assert sum(error < 2 * digits.NOISE for error in errors) == 1


def test_it_is_the_same_every_time_in_any_order():
    part = digits.DigitsSplit("train")
    forwards = {sample.key: sample.data for sample in part.read(range(20))}
    backwards = {sample.key: sample.data for sample in part.read(reversed(range(20)))}
    assert forwards == backwards
    assert len(set(forwards.values())) == 20


def test_its_classes_are_the_digits_about_evenly():
    found = open_source("digits").splits
    assert list(found) == ["train", "val"]
    assert found["train"].classes == [str(digit) for digit in range(10)]
    for split in ("train", "val"):
        shares = np.bincount(digits._scans(split)[1]) / len(digits._scans(split)[1])
        assert shares.min() > 0.05
        assert shares.max() < 0.15
