"""The best classes of each cell, and networks opened as annotators."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vit_tickets.pipeline.datasets.embedded import NAME as DIGITS
from vit_tickets.pipeline.networks import registry
from vit_tickets.ticketgen.selection.annotator import Annotator, above_the_rest, best, default_annotator, open_annotator


def test_ties_go_to_the_lower_class():
    indices, values = best(torch.tensor([[[1.0, 3.0, 3.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0, 0.0]]]), 4)
    assert indices.tolist() == [[[1, 2, 4, 3], [0, 1, 2, 3]]]
    assert values.tolist() == [[[3.0, 3.0, 3.0, 2.0], [0.0] * 4]]


@pytest.mark.parametrize(("num_classes", "places"), [(10, 5), (5, 5), (2, 2)])
def test_a_class_that_was_left_out_is_no_better_than_those_that_were_not(num_classes, places):
    logits = torch.randn(3, 4, num_classes, generator=torch.Generator().manual_seed(0)) - 3  # most of them negative
    indices, values = above_the_rest(logits, places)
    assert torch.equal(indices, best(logits, places)[0])
    restored = torch.zeros_like(logits).scatter_(-1, indices, values)
    assert torch.equal(restored.argmax(-1), logits.argmax(-1))
    left_out = torch.ones_like(logits, dtype=torch.bool).scatter_(-1, indices, False)
    shift = (logits - restored).gather(-1, indices)
    assert torch.allclose(shift, shift[..., :1].expand_as(shift), atol=1e-5)
    if places < num_classes:
        mean = (logits * left_out).sum(-1, keepdim=True) / (num_classes - places)
        assert torch.allclose(shift[..., :1], mean, atol=1e-5)
        assert (values > 0)[..., 0].all()


@pytest.mark.parametrize(("num_classes", "places", "spread"), [(5, 5, 3), (1000, 5, 300), (40, 3, 1000), (2, 1, 1)])
def test_the_best_are_the_first_of_a_stable_sort(num_classes, places, spread):
    drawn = torch.randn(4, 9, num_classes, generator=torch.Generator().manual_seed(0))
    logits = (drawn * spread).round() / spread  # some rows with ties among the best, or right after them, others not
    values, indices = logits.sort(dim=-1, descending=True, stable=True)
    found = best(logits.clone(), places)
    assert torch.equal(found[0], indices[..., :places])
    assert torch.equal(found[1], values[..., :places])


def test_a_run_annotates_at_its_own_size(packed, selector_run):
    spec = open_annotator(selector_run, num_classes=2)
    assert (spec.image_size, spec.map_size, spec.run) == (24, 6, selector_run)
    larger = open_annotator(selector_run, image_size=32)
    assert (larger.map_size, larger.weights_sha256) == (8, spec.weights_sha256)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    classes, logits = Annotator(larger).label(pixels)
    assert classes.shape == logits.shape == (2, 64, 2)


def test_a_model_is_shown_images_of_the_size_that_it_is_tested_at(tmp_path):
    """timm trains test_mambaout at 160 px and tests it at 192."""
    path = str(tmp_path / "w.safetensors")
    save_file(registry.create_model("test_mambaout", num_classes=2).state_dict(), path)
    spec = open_annotator("test_mambaout", path)
    assert (spec.image_size, spec.map_size) == (192, 6)
    assert spec.view.preprocessing()["image_size"] == 192


def test_the_default_annotator_is_the_papers_but_on_digits():
    assert default_annotator("folder") == "dm_nfnet_f6.dm_in1k"
    assert default_annotator(DIGITS) == "runs/digits-deit_micro-dense-seed0"
