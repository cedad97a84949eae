"""Recipes: the authors' values, how options change them, and that config.json holds what ran."""

import json
from dataclasses import fields, replace

import pytest
from click.testing import CliRunner

from vit_tickets.pipeline.cli import main
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.recipes.presets import (
    CIFAR_DEIT,
    CIFAR_RESNET,
    DEIT,
    DIGITS,
    FINETUNE,
    LVVIT,
    PROBE,
    RECIPES,
    RESNET50,
    SELECTOR,
    SVITE,
    SWIN,
    recipe_for,
)
from vit_tickets.train.recipes.recipe import Recipe

# REFERENCE.md section 3, paragraph by paragraph; rates there are effective ones, for the recipe's own batch.
# "DeiT-T/S/M/B"
DEIT_VALUES = {
    "epochs": 300, "batch_size": 1024, "opt": "adamw", "weight_decay": 0.05, "warmup_epochs": 5, "cooldown_epochs": 0,
    "scale_ends": False, "schedule": "epoch", "epoch_lag": 1, "rand_augment_first": False,
    "crop_scale": 0.08, "interpolation": "bicubic", "hflip": 0.5,
    "rand_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4, "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0,
    "mix_prob": 1.0, "mix_switch": 0.5, "smoothing": 0.1, "drop_path": 0.1, "clip_grad": None, "repeats": 3,
    "views_per_decode": 3, "ema": None, "crop_pct": 224 / 256, "keep_warmup": None,
    "peak_lr": 1e-3, "start_lr": 1e-6, "end_lr": 1e-5,
}  # fmt: skip
# "LV-ViT-S": "300 epochs + 10 cooldown", the rate "not auto-scaled", "no mixup/cutmix/RA", an EMA "which is evaluated"
LVVIT_VALUES = DEIT_VALUES | {
    "epochs": 310, "cooldown_epochs": 10, "batch_size": 1024, "weight_decay": 0.05, "warmup_epochs": 5,
    "schedule": "epoch", "epoch_lag": 0, "drop_path": 0.1, "smoothing": 0.1, "erasing": 0.25,
    "rand_augment": "rand-m9-mstd0.5-inc1", "rand_augment_first": True, "interpolation": "random",
    "mixup": 0.0, "cutmix": 0.0, "mix_token": 1.0, "repeats": 1, "views_per_decode": 1,
    "ema": 0.99992, "crop_pct": 0.9, "class_weight": 1.0, "token_weight": 1.0,
    "peak_lr": 1.6e-3, "start_lr": 1e-6, "end_lr": 1e-5,
}  # fmt: skip
# "Swin-T": "same augs/mixup as DeiT, no RA, no EMA"
SWIN_VALUES = DEIT_VALUES | {
    "warmup_epochs": 20, "scale_ends": True, "schedule": "step", "drop_path": 0.2, "clip_grad": 5.0, "repeats": 1,
    "views_per_decode": 1, "peak_lr": 5e-4 * 2, "start_lr": 5e-7 * 2, "end_lr": 5e-6 * 2,
}  # fmt: skip
# "ResNet-50 (timm)": 90 + 10 epochs; evaluation resizes to 235
RESNET50_VALUES = {
    "epochs": 100, "cooldown_epochs": 10, "batch_size": 1024, "opt": "sgd", "momentum": 0.9, "nesterov": True,
    "weight_decay": 2e-5, "warmup_epochs": 3, "schedule": "epoch", "epoch_lag": 0, "smoothing": 0.1,
    "drop_path": 0.0, "hflip": 0.5,
    "crop_scale": 0.08, "interpolation": "random", "color_jitter": 0.4, "rand_augment": None, "erasing": 0.0,
    "mixup": 0.0, "cutmix": 0.0, "repeats": 1, "clip_grad": None, "ema": None, "crop_pct": 0.95,
    "peak_lr": 0.2048, "start_lr": 1e-4, "end_lr": 1e-6,
}  # fmt: skip
# "CIFAR-10 (DeiT-S)": B = 256, lr 2.5e-4; 32 pixels and patches of 4 are the unused models' there
CIFAR_DEIT_VALUES = DEIT_VALUES | {
    "batch_size": 256, "peak_lr": 2.5e-4, "image_size": 32, "patch_size": 4, "crop_pct": 1.0,
}  # fmt: skip
# He et al. 2016, section 4.2: 64,000 steps of 128 images are 164 epochs of 50,000
CIFAR_RESNET_VALUES = {
    "epochs": 164, "batch_size": 128, "opt": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4,
    "peak_lr": 0.1, "warmup_epochs": 0, "image_size": 32, "smoothing": 0.0, "mixup": 0.0, "rand_augment": None,
}  # fmt: skip
# What the built-in dataset's recipe was before there were others
DIGITS_VALUES = {
    "epochs": 8, "batch_size": 64, "opt": "adamw", "weight_decay": 0.05, "warmup_epochs": 1, "schedule": "step",
    "drop_path": 0.0, "smoothing": 0.05, "crop_scale": 0.6, "hflip": 0.0, "image_size": 48, "patch_size": 8,
    "rand_augment": None, "color_jitter": 0.0, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "repeats": 1,
    "ema": None, "clip_grad": None, "crop_pct": None, "peak_lr": 1e-3, "start_lr": 1e-6, "end_lr": 1e-5,
}  # fmt: skip


# section 1, "Fine-tune recipe"
SELECTOR_VALUES = DEIT_VALUES | {
    "epochs": 30, "batch_size": 2048, "weight_decay": 1e-6, "warmup_epochs": 0, "drop_path": 0.0, "peak_lr": 8e-5,
    "end_lr": 2e-6,
}  # fmt: skip
# "DeiT recipe, 600 epochs, lr 5e-4·B/512; B 512 (T,S) / 1024 (B)"
SVITE_VALUES = DEIT_VALUES | {"epochs": 600, "batch_size": 512, "peak_lr": 5e-4}
# BEiT's and MAE's layer decay, weight decay, smoothing and drop path; nothing is mixed, and no moving average
FINETUNE_VALUES = {
    "opt": "adamw", "layer_decay": 0.75, "frozen": False, "weight_decay": 0.05, "smoothing": 0.1, "drop_path": 0.1,
    "warmup_epochs": 1, "schedule": "step", "rand_augment": None, "color_jitter": 0.0, "erasing": 0.0, "mixup": 0.0,
    "cutmix": 0.0, "mix_token": 0.0, "repeats": 1, "ema": None, "image_size": None, "patch_size": None,
}  # fmt: skip
# SGD at 0.1 for 256 images without decay
PROBE_VALUES = FINETUNE_VALUES | {
    "opt": "sgd", "momentum": 0.9, "nesterov": False, "layer_decay": None, "frozen": True, "weight_decay": 0.0,
    "smoothing": 0.0, "drop_path": 0.0, "peak_lr": 0.025, "batch_size": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        (DEIT, DEIT_VALUES),
        (SWIN, SWIN_VALUES),
        (LVVIT, LVVIT_VALUES),
        (RESNET50, RESNET50_VALUES),
        (CIFAR_DEIT, CIFAR_DEIT_VALUES),
        (CIFAR_RESNET, CIFAR_RESNET_VALUES),
        (DIGITS, DIGITS_VALUES),
        (SELECTOR, SELECTOR_VALUES),
        (FINETUNE, FINETUNE_VALUES),
        (PROBE, PROBE_VALUES),
        (SVITE, SVITE_VALUES),
    ],
    ids=RECIPES,
)
def test_the_values_are_the_references(recipe, values):
    found = {name: getattr(recipe, name) for name in values}
    assert found == {name: pytest.approx(v) if isinstance(v, float) else v for name, v in values.items()}


def test_families_and_the_embedded_dataset_have_their_own():
    assert recipe_for("image folder", "deit_s") == DEIT
    assert recipe_for("parquet", "vit_tiny_patch16_224") == DEIT
    assert recipe_for("image folder", "lvvit_s") == LVVIT
    assert recipe_for("image folder", "swin_t") == SWIN
    assert recipe_for("image folder", "resnet50") == RESNET50
    assert recipe_for("digits", "deit_micro") == DIGITS
    assert recipe_for("digits", "lvvit_micro") == DIGITS
    assert recipe_for("digits", "swin_t").limit == 6000
    assert recipe_for("digits", "lvvit_s").limit == 2000
    assert recipe_for("digits", "resnet20").limit == 6000
    assert {recipe.name for recipe in RECIPES.values() if recipe.mix_token} == {"lvvit"}
    assert all(recipe_for("digits", model).hflip == 0 for model in ("deit_micro", "swin_t", "convnext_tiny"))


def test_svite_has_twice_the_batch_for_deit_b():
    assert recipe_for("parquet", "deit_s", "svite") == recipe_for("parquet", "deit_t", "svite") == SVITE
    of_base = recipe_for("parquet", "deit_b", "svite")
    assert (of_base.batch_size, of_base.peak_lr, of_base.epochs) == (1024, 1e-3, 600)


def test_what_starts_from_weights_is_fine_tuned():
    for model in ("deit_s", "swin_t", "lvvit_s", "convnext_tiny"):
        assert recipe_for("parquet", model, from_weights=True) == FINETUNE
        assert recipe_for("parquet", model, "probe") == PROBE
    assert recipe_for("parquet", "deit_t", "cifar-deit", from_weights=True) == CIFAR_DEIT
    assert recipe_for("parquet", "deit_t", path="selector", from_weights=True) == SELECTOR
    of_resnet = recipe_for("parquet", "resnet50", from_weights=True)
    assert (of_resnet.name, of_resnet.layer_decay, of_resnet.peak_lr) == ("finetune", None, 3e-4)
    assert recipe_for("parquet", "resnet50", "probe", from_weights=True) == PROBE
    on_digits = recipe_for("digits", "deit_micro", from_weights=True)
    assert (on_digits.name, on_digits.hflip, on_digits.image_size) == ("finetune", 0.0, 48)


def test_small_images_have_their_own_by_side_model_or_name():
    assert recipe_for("parquet", "deit_t", image_size=32) == CIFAR_DEIT
    assert recipe_for("parquet", "deit_t", image_size=48) == DEIT
    assert recipe_for("parquet", "resnet18", image_size=32) == CIFAR_RESNET
    assert recipe_for("parquet", "resnet20") == CIFAR_RESNET
    assert recipe_for("digits", "deit_micro", image_size=32) == DIGITS
    assert recipe_for("parquet", "deit_t", "cifar-deit") == CIFAR_DEIT
    assert recipe_for("digits", "deit_micro", "deit") == DEIT
    assert recipe_for("parquet", "swin_t", "digits").limit == 6000
    with pytest.raises(UserError, match=r"expected a recipe among deit, swin, .* found 'vgg'"):
        recipe_for("parquet", "deit_t", "vgg")


def test_the_learning_rate_is_linear_in_the_batch():
    assert DEIT.override(batch_size=256).peak_lr == pytest.approx(2.5e-4)
    assert RESNET50.override(batch_size=256).peak_lr == pytest.approx(0.0512)
    assert LVVIT.override(batch_size=256, lr_batch=256).peak_lr == pytest.approx(1.6e-3)


def test_a_shorter_run_still_leaves_its_warm_up():
    assert DEIT.override(epochs=2).warmup_epochs == pytest.approx(0.2)
    assert DEIT.override(epochs=2).schedule == "step"  # per epoch it would never leave it
    assert DEIT.override(epochs=2, schedule="epoch").schedule == "epoch"
    assert DEIT.override(epochs=100).warmup_epochs == 5
    assert DEIT.override(epochs=100).schedule == "epoch"
    assert DEIT.override(epochs=2, warmup_epochs=1.5).warmup_epochs == 1.5
    assert RESNET50.override(epochs=20).cooldown_epochs == 2
    assert RESNET50.override(epochs=200).cooldown_epochs == 10
    assert DEIT.override(epochs=None, lr=None) == DEIT


def test_repeats_and_views_per_decode_stand_for_each_other():
    one = replace(DEIT, repeats=1, views_per_decode=1)
    pairs = [one.override(repeats=4), one.override(views_per_decode=2), DEIT.override(views_per_decode=1)]
    assert [(recipe.repeats, recipe.views_per_decode) for recipe in pairs] == [(4, 4), (2, 2), (3, 1)]
    assert DEIT.override(repeats=1) == one


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"views_per_decode": 2}, "a number of repeats that 2 views per decode divide, found 3"),
        ({"epochs": 5, "cooldown_epochs": 5}, "a cool-down of less than 5 epochs, found 5"),
        ({"keep_warmup": (20.0, 10.0)}, "from START to a later END, found 20:10"),
        ({"keep_warmup": (10.0, 400.0)}, "that ends within the run's 300 epochs, found 400"),
        ({"rand_augment": "rand-m9-zzz"}, "or none, found 'rand-m9-zzz'"),
        ({"rand_augment": "m9"}, "RandAugment as rand-m9-mstd0.5-inc1, or none, found 'm9'"),
    ],
)
def test_what_does_not_fit_together_is_told(values, message):
    with pytest.raises(UserError, match=message):
        DEIT.override(**values)


# Every field but the recipe's name: what is typed, and what config.json then holds.
TYPED = {
    "epochs": ("2", 2),
    "batch_size": ("10", 10),
    "opt": ("sgd", "sgd"),
    "momentum": ("0.8", 0.8),
    "nesterov": (None, False),
    "lr": ("0.002", 0.002),
    "lr_batch": ("10", 10),
    "min_lr": ("0.0002", 0.0002),
    "warmup_epochs": ("0.3", 0.3),
    "warmup_lr": ("0.0003", 0.0003),
    "cooldown_epochs": ("0.5", 0.5),
    "scale_ends": (None, True),
    "schedule": ("epoch", "epoch"),
    "epoch_lag": ("2", 2),
    "layer_decay": ("0.7", 0.7),
    "frozen": (None, False),
    "weight_decay": ("0.01", 0.01),
    "smoothing": ("0.2", 0.2),
    "drop_path": ("0.05", 0.05),
    "clip_grad": ("2", 2.0),
    "ema": ("0.9", 0.9),
    "crop_scale": ("0.7", 0.7),
    "interpolation": ("random", "random"),
    "hflip": ("0.1", 0.1),
    "rand_augment": ("none", None),
    "rand_augment_first": (None, True),
    "color_jitter": ("0", 0.0),
    "erasing": ("0", 0.0),
    "mixup": ("0", 0.0),
    "cutmix": ("0", 0.0),
    "mix_prob": ("0.6", 0.6),
    "mix_switch": ("0.4", 0.4),
    "mix_token": ("0", 0.0),
    "class_weight": ("0.9", 0.9),
    "token_weight": ("0.5", 0.5),
    "repeats": ("2", 2),
    "views_per_decode": ("1", 1),
    "crop_pct": ("0.8", 0.8),
    "keep_warmup": ("0:1", [0.0, 1.0]),
    "finish_dense": ("1", 1),
    "temperature": ("0.3", 0.3),
    "limit": ("40", 40),
    "image_size": ("24", 24),
    "patch_size": ("4", 4),
}


def test_every_field_has_an_option_that_reaches_config_json(numbered_data, numbered_tickets, tmp_path):
    assert {field.name for field in fields(Recipe)} == TYPED.keys() | {"name"}
    command = ["train", numbered_data, "--model", "deit_micro", "--path", "lt", "--tickets", numbered_tickets]
    command += ["--workers", "0", "--device", "cpu"]
    for name, (typed, value) in TYPED.items():
        option = name.replace("_", "-")
        command += [f"--no-{option}" if value is False else f"--{option}", *([] if typed is None else typed.split())]
    done = CliRunner().invoke(main, [*command, "--recipe", "deit", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"] == {name: value for name, (_, value) in TYPED.items()} | {"name": "deit"}
    assert config["eval_view"]["preprocessing"]["crop_pct"] == 0.8
    again = Recipe(**config["recipe"])
    assert again.as_dict() == config["recipe"]


def test_a_recipe_can_be_named(numbered_data, tmp_path):
    command = ["train", numbered_data, "--model", "deit_micro", "--path", "dense", "--workers", "0", "--epochs", "1"]
    command += ["--recipe", "cifar-deit", "--batch-size", "30", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["name"] == "cifar-deit"
    assert (config["image_size"], config["num_patches"]) == (32, 64)
    wrong = CliRunner().invoke(main, [*command, "--recipe", "vgg"])
    assert wrong.exit_code == 2
    assert "'vgg' is not one of 'deit', 'swin'" in wrong.output
    wrong = CliRunner().invoke(main, [*command, "--keep-warmup", "10"])
    assert wrong.exit_code == 2
    assert "expected two numbers of epochs such as 10:110, found '10'" in wrong.output
