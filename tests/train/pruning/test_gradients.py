"""Criterion taylor: gradients of a run on its own images, seen as it sees them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.train.pruning.test_prune import digests, said
from vit_tickets.pipeline.weights import ticket as tickets
from vit_tickets.train.evaluation.predict import eval_config, shown
from vit_tickets.train.evaluation.scoring import open_run
from vit_tickets.train.pruning.gradients import gradients_of
from vit_tickets.train.sparsity.ranking import keep_largest_of_all
from vit_tickets.train.sparsity.scopes import masked_parameters

pytestmark = pytest.mark.process
WORDS = ("--criterion", "taylor", "--device", "cpu")


def by_image(root, on, view):
    """The mean gradient of all weights in scope `blocks`, one image at a time."""
    subject = open_run(root, None, "train", None)
    model, total, seen = subject.model.eval(), None, 0
    own = masked_parameters(model.network, "blocks")
    for batch in shown(replace(eval_config(subject.run, subject.run.data, view=view), batch_size=1), [on], "cpu", 0):
        loss = F.cross_entropy(model(batch.images, batch.kept_BK), batch.batch.label)
        found = torch.autograd.grad(loss, list(own.values()))
        total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
        seen += 1
    return own, {name: value / seen for name, value in zip(own, total, strict=True)}, seen


def off(found, expected):
    """How far two gradients are apart, by the length of one."""
    return (found - expected).norm() / expected.norm()


def test_the_gradient_is_that_of_all_images_that_the_run_was_trained_on(finished):
    root = finished("dense", holdout=0.3)
    own, expected, count = by_image(root, "dense", "recipe")
    found = gradients_of(root, list(own), 1000, "cpu")
    assert 30 < count < 62
    for name, gradient in expected.items():
        assert off(found[name], gradient) < 1e-4


def test_a_run_on_tickets_sees_its_tickets(finished, numbered_tickets):
    root = finished("lt", path="lt", tickets=numbered_tickets)
    own, expected, count = by_image(root, "lt", "manifest")
    found = gradients_of(root, list(own), 1000, "cpu")
    assert count
    for name, gradient in expected.items():
        assert off(found[name], gradient) < 1e-4
    _, whole, _ = by_image(root, "dense", "manifest")
    name = "blocks.0.attn.qkv.weight"
    assert off(whole[name], expected[name]) > 0.1


def test_the_ticket_keeps_the_largest_products_and_is_the_same_each_time(finished, tmp_path):
    root = finished("dense")
    for name in ("a", "b"):
        said("prune", root, "--weight-sparsity", 0.4, *WORDS, "--images", 20, "--out", tmp_path / name)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    ticket = tickets.read(str(tmp_path / "a"))
    assert (ticket.criterion, ticket.images) == ("taylor", 20)
    own = masked_parameters(open_run(root, None, "train", None).model.network, "blocks")
    found = gradients_of(root, list(own), 20, "cpu")
    score = {name: weight.detach().abs() * found[name].abs() for name, weight in own.items()}
    for name, mask in keep_largest_of_all(score, ticket.alive).items():
        np.testing.assert_array_equal(ticket.masks()[name], mask.numpy())
    said("prune", root, "--weight-sparsity", 0.4, "--out", tmp_path / "magnitude")
    assert tickets.read(str(tmp_path / "magnitude")).masks_sha256 != ticket.masks_sha256
    assert "it was there already" in said(
        "prune", root, "--weight-sparsity", 0.4, *WORDS, "--images", 20, "--out", tmp_path / "a"
    )
    assert "holds another weight ticket" in said(
        "prune", root, "--weight-sparsity", 0.4, *WORDS, "--images", 19, "--out", tmp_path / "a", code=2
    )


def test_images_are_spread_evenly_over_those_that_take_part(finished):
    data = open_run(finished("dense", holdout=0.3), None, "train", None).run.data
    every = [image for shard, count in enumerate(data.counts) for image in _keys(data, shard, count)]
    for count in (1, 7, len(every), 1000):
        thinned = replace(data, spread=count)
        found = [image for shard, number in enumerate(thinned.counts) for image in _keys(thinned, shard, number)]
        size = min(count, len(every))
        assert found == [every[number * len(every) // size] for number in range(size)]


def _keys(data, shard, count):
    return [sample.key for _, sample, _ in data.read(shard, np.arange(count))]


def test_runs_whose_patches_are_no_own_ticket_are_refused(finished, numbered_tickets):
    root = finished("mean", path="lt", tickets=numbered_tickets, ticket="swapped")
    found = said("prune", root, "--weight-sparsity", 0.4, *WORDS, code=2)
    assert "expected a run on whole images, own tickets or subsets, found --ticket swapped" in found
