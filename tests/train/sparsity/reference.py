"""Slow, obvious forms of what `train/sparsity` computes, in loops over flat lists; nothing here imports the package."""

import math

import numpy as np


def kept(scores, count, among=None):
    """Which of a flat list of scores stay if `count` do: the smallest goes, the first among equals, one at a time."""
    left = [i for i in range(len(scores)) if among is None or among[i]]
    while len(left) > count:
        left.remove(min(left, key=lambda i: (scores[i], i)))
    return [i in left for i in range(len(scores))]


def erk_shares(shapes, sparsity):
    """Expected weights per shape: the common factor of the densities is found by bisection."""
    target = (1 - sparsity) * sum(math.prod(shape) for shape in shapes)

    def shares(factor):
        return [math.prod(shape) * min(1.0, factor * sum(shape) / math.prod(shape)) for shape in shapes]

    low, high = 0.0, max(math.prod(shape) / sum(shape) for shape in shapes)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(shares(middle)) < target else (low, middle)
    return shares(high)


def swapped(weight, gradient, alive, share):
    """The mask of one layer after a drop by magnitude and a growth by gradient, of flat arrays."""
    living, dead = [int(i) for i in np.flatnonzero(alive)], [int(i) for i in np.flatnonzero(~alive)]
    count = min(math.floor(share * len(living)), len(dead))
    for _ in range(count):
        living.remove(min(living, key=lambda i: (abs(weight[i]), i)))
    growing = list(dead)
    while len(growing) > count:
        growing.remove(min(growing, key=lambda i: (abs(gradient[i]), i)))
    after = np.zeros(len(weight), dtype=bool)
    after[living + growing] = True
    return after
