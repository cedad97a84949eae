"""Predictions whose classes are probably not those of the labels: wrong nearly always, and confident."""

from collections.abc import Sequence

import numpy as np

FEWEST = 20  # images, for any doubt
CONFIDENT = 0.2  # above chance, on average
EARNED = 0.25  # share of that confidence that accuracy must reach above chance


def doubt(
    labels: np.ndarray, predictions: np.ndarray, confidences: np.ndarray, classes: Sequence[str], num_classes: int
) -> str | None:
    """What speaks for classes of another order, and what to check; None where accuracy is what confidence says.

    A classifier that is right in about as many cases as it claims reaches a share of 1; one whose classes were
    shuffled, about 0. Below a quarter the sentence is returned.

    Args:
        labels: class indices of n images.
        predictions: the model's most probable classes.
        confidences: their probabilities.
        classes: names of the dataset's classes, in its order.
        num_classes: of the model.
    """
    if len(labels) < FEWEST:
        return None
    right, claimed = float((labels == predictions).mean()), float(confidences.mean())
    chance = 1 / max(num_classes, 1)
    if claimed - chance < CONFIDENT or right - chance >= EARNED * (claimed - chance):
        return None
    found = (
        f"{right:.1%} of {len(labels):,} images are right at a mean confidence of {claimed:.1%} (chance: {chance:.1%})"
    )
    first = ", ".join(f"{place} = {name}" for place, name in enumerate(classes[:3]))
    check = f"check that the model counts the classes as dataset.json does ({first}, ...)"
    if other := _other_order(labels, predictions, classes):
        check = f"{other}; {check}"
    if num_classes != len(classes):
        check = f"the model has {num_classes:,} classes, the dataset {len(classes):,}; {check}"
    return f"the classes of model and dataset probably differ, or their order: {found}; {check}"


def _other_order(labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]) -> str | None:
    """Whether the model's classes are the dataset's in order of their names as numbers, as text, or without case."""
    orders = {"as text, as torchvision's ImageFolder sorts them": sorted(classes)}
    if all(name.isdecimal() for name in classes):
        orders["as numbers"] = sorted(classes, key=int)
    orders["without regard to case"] = sorted(classes, key=str.lower)
    place_of = {name: place for place, name in enumerate(classes)}
    known = predictions < len(classes)
    for how, names in orders.items():
        meant = np.array([place_of[name] for name in names])
        right = float((meant[predictions[known]] == labels[known]).sum() / len(labels))
        if right > 0.5 or right > 5 * max(float((labels == predictions).mean()), 1 / len(classes)):
            return f"with the names sorted {how}, {right:.1%} would be right"
    return None
