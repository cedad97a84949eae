"""Counts per layer, against the shares that a slow bisection finds, and against the tables of SViTE."""

import math
from fractions import Fraction

import numpy as np
import pytest
import timm
import torch

from tests.train.sparsity import reference
from vit_tickets.pipeline.networks import registry  # noqa: F401 - registers our networks
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.sparsity.allocation import alive_counts, alive_total, check_alive, left_after
from vit_tickets.train.sparsity.scopes import masked_parameters


def shapes_of(model, scope):
    with torch.device("meta"):
        network = timm.create_model(model)
    return {name: tuple(weight.shape) for name, weight in masked_parameters(network, scope).items()}, network


@pytest.mark.parametrize("kind", ["uniform", "erk", "global"])
def test_counts_sum_to_what_is_asked_for_and_are_within_one_of_their_shares(kind):
    rng = np.random.default_rng(7)
    dense = 0
    for _ in range(200):
        shapes = [
            tuple(map(int, rng.integers(2, 60, rng.choice([2, 4], p=[0.7, 0.3])))) for _ in range(rng.integers(1, 9))
        ]
        sparsity = float(rng.integers(0, 90)) / 100
        size = sum(map(math.prod, shapes))
        counts = alive_counts(kind, {f"layer{i}": shape for i, shape in enumerate(shapes)}, sparsity)
        if kind == "erk":
            shares = reference.erk_shares(shapes, sparsity)
        else:
            shares = [(1 - sparsity) * math.prod(shape) for shape in shapes]
        assert list(counts) == [f"layer{i}" for i in range(len(shapes))]
        assert sum(counts.values()) == round((1 - Fraction(str(sparsity))) * size)
        for count, share, shape in zip(counts.values(), shares, shapes, strict=True):
            assert abs(count - share) < 1 + 1e-6
            assert 0 < count <= math.prod(shape)
            dense += count == math.prod(shape) and sparsity > 0
    assert (dense > 100) == (kind == "erk")


@pytest.mark.parametrize(
    ("model", "sparsity", "millions", "saved"),
    [
        ("tiny", 0.3, 4.02, 25.56),
        ("tiny", 0.4, 3.46, 34.14),
        ("small", 0.4, 13.29, 36.93),
        ("small", 0.5, 11.09, 46.15),
        ("small", 0.6, 8.90, 55.36),
        ("base", 0.4, 52.05, 38.54),
        ("base", 0.5, 43.42, 48.10),
        ("base", 0.6, 34.79, 57.67),
    ],
)
def test_the_parameters_and_multiply_adds_of_svites_tables(model, sparsity, millions, saved):
    """Chen et al. 2021, tables 2-4: Erdős-Rényi over all weights, products of the attention counted as they are."""
    shapes, network = shapes_of(f"deit_{model}_patch16_224", "all")
    counts = alive_counts("erk", shapes, sparsity)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert round((parameters - sum(sizes.values()) + sum(counts.values())) / 1e6, 2) == millions

    width = network.get_parameter("pos_embed").shape[-1]

    def macs(alive):
        used = {"patch_embed.proj.weight": 196, "head.weight": 1}
        return sum(used.get(name, 197) * count for name, count in alive.items()) + 12 * 2 * 197**2 * width

    assert round(100 * (1 - macs(counts) / macs(sizes)), 2) == saved


def test_a_sparsity_counts_as_it_is_typed():
    """In binary, (1 - 0.9) * 15 is below 1.5 and 0.2 * 35 is above 7."""
    assert alive_total(15, 0.9) == 2
    assert left_after(35, 0.2) == 28
    assert left_after(36, 0.2) == 28
    assert left_after(10, 0.0) == 10


def test_equal_fractions_go_to_the_earlier_layer():
    assert alive_counts("uniform", {"a": (3, 3), "b": (3, 3), "c": (3, 3)}, 0.5) == {"a": 5, "b": 5, "c": 4}


def test_the_counts_of_another_ticket():
    shapes = {"a": (4, 4), "b": (2, 2)}
    assert alive_counts("like", shapes, None, {"b": 1, "a": 9}) == {"a": 9, "b": 1}
    assert alive_counts("like", shapes, 0.5, {"a": 9, "b": 1}) == {"a": 9, "b": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("like", 0.5, {"a": 9}), "expected counts of the same parameters, found b in one"),
        (("like", 0.5, {"a": 17, "b": 1}), "expected 0 to 16 weights in a, found 17"),
        (("like", 0.5, {"a": 8, "b": 1}), "expected 10 weights to stay, found 9 of 20"),
        (("like", None, {"a": 8, "b": 0}), "found none in b: a layer collapses"),
        (("uniform", 0.95, None), "found none in b: a layer collapses"),
        (("erk", 1.0, None), r"expected a share of weights in \[0, 1\), found 1.0"),
        (("erk", None, None), "expected a sparsity for allocation erk, found none"),
        (("even", 0.5, None), "expected an allocation among global, uniform, erk, like, found 'even'"),
    ],
)
def test_what_is_refused(arguments, message):
    kind, sparsity, like = arguments
    with pytest.raises(UserError, match=message):
        alive_counts(kind, {"a": (4, 4), "b": (2, 2)}, sparsity, like)


def test_collapsed_layers_are_counted():
    check_alive({"a": 1})
    with pytest.raises(UserError, match=r"none in b \(and 1 more\)"):
        check_alive({"a": 1, "b": 0, "c": 0})
