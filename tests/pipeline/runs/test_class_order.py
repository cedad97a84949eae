"""Predictions that are confident and wrong are doubted; those of poor, unsure and good models are not."""

import numpy as np
import pytest

from vit_tickets.pipeline.runs.class_order import doubt

RNG = np.random.default_rng(0)
NAMES = sorted(map(str, range(50)))  # 0, 1, 10, 11, ...
LABELS = RNG.integers(0, 50, 2000)


def confident(mean: float) -> np.ndarray:
    return np.full(len(LABELS), mean, np.float32)


def guesses(accuracy: float) -> np.ndarray:
    right = RNG.random(len(LABELS)) < accuracy
    return np.where(right, LABELS, RNG.integers(0, 50, len(LABELS)))


@pytest.mark.parametrize(("accuracy", "claimed"), [(0.8, 0.7), (0.3, 0.6), (0.02, 0.1), (0.5, 0.95)])
def test_models_that_are_as_good_as_they_claim_are_not_doubted(accuracy, claimed):
    assert doubt(LABELS, guesses(accuracy), confident(claimed), NAMES, 50) is None


def test_shuffled_classes_are_doubted_with_figures():
    said = doubt(LABELS, RNG.permutation(50)[LABELS], confident(0.7), NAMES, 50)
    assert "at a mean confidence of 70.0% (chance: 2.0%)" in said
    assert "dataset.json does (0 = 0, 1 = 1, 2 = 10, ...)" in said


def test_the_order_that_explains_them_is_named():
    by_number = np.array([int(name) for name in NAMES])
    said = doubt(LABELS, by_number[LABELS], confident(0.7), NAMES, 50)
    assert "with the names sorted as numbers, 100.0% would be right" in said


def test_another_number_of_classes_is_named():
    assert "the model has 1,000 classes, the dataset 50" in doubt(LABELS, LABELS + 50, confident(0.7), NAMES, 1000)


def test_few_images_prove_nothing():
    assert doubt(LABELS[:19], LABELS[:19] + 1, confident(0.9)[:19], NAMES, 50) is None
