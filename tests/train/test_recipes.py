"""Recipes and how options change them."""

import pytest

from vit_tickets.train.recipes import DEIT, DIGITS, recipe_for


def test_families_and_the_embedded_dataset_have_their_own():
    assert recipe_for("image folder", "deit_s") == DEIT
    assert recipe_for("parquet", "vit_tiny_patch16_224") == DEIT
    assert recipe_for("image folder", "swin_t").clip_grad == 5.0
    assert recipe_for("image folder", "resnet50").epochs == 90
    assert recipe_for("digits", "deit_micro") == DIGITS
    assert recipe_for("digits", "swin_t").limit == 6000
    assert all(recipe_for("digits", model).hflip == 0 for model in ("deit_micro", "swin_t", "convnext_tiny"))


def test_the_learning_rate_is_linear_in_the_batch():
    assert DEIT.peak_lr == pytest.approx(1e-3)  # DeiT: 5e-4 * 1024 / 512
    assert DEIT.override(batch_size=256).peak_lr == pytest.approx(2.5e-4)


def test_a_shorter_run_still_leaves_its_warm_up():
    assert DEIT.override(epochs=2).warmup_epochs == pytest.approx(0.2)
    assert DEIT.override(epochs=100).warmup_epochs == 5
    assert DEIT.override(epochs=2, warmup_epochs=1.5).warmup_epochs == 1.5
    assert DEIT.override(epochs=None, lr=None) == DEIT
