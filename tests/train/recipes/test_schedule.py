"""The learning rate and the number of kept patches in the course of a run."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from vit_tickets.train.recipes.presets import CIFAR_DEIT, CIFAR_RESNET, DEIT, DIGITS, LVVIT, RESNET50, SWIN
from vit_tickets.train.recipes.schedule import kept_at, learning_rate, tau_at

STEPS = 7
SHORT = [
    DEIT.override(epochs=30),
    DEIT.override(epochs=2),
    DEIT.override(epochs=12, warmup_epochs=0),
    SWIN.override(epochs=25, batch_size=256),
    RESNET50.override(epochs=40),
    RESNET50.override(epochs=9, schedule="epoch", warmup_epochs=2.5),
    RESNET50.override(epochs=30, schedule="step"),
    LVVIT.override(epochs=50),
    CIFAR_DEIT.override(epochs=20),
    CIFAR_RESNET.override(epochs=11),
    DIGITS,
    DIGITS.override(lr=1e-7),
]


@pytest.mark.parametrize("recipe", SHORT, ids=lambda recipe: f"{recipe.name}-{recipe.schedule}-{recipe.epochs}")
def test_every_rate_is_timms(recipe):
    per_epoch = recipe.schedule == "epoch"
    unit = 1 if per_epoch else STEPS
    warmup, length = recipe.warmup_epochs * unit, (recipe.epochs - recipe.cooldown_epochs) * unit
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.peak_lr)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=length if per_epoch else round(length),
        lr_min=recipe.end_lr,
        warmup_t=warmup if per_epoch else round(warmup),
        warmup_lr_init=recipe.start_lr,
        t_in_epochs=per_epoch,
    )
    theirs = []
    for epoch in range(recipe.epochs):
        for step in range(STEPS):
            scheduler.step_update(epoch * STEPS + step)
            theirs.append(optimizer.param_groups[0]["lr"])
        # after the epoch, with that epoch's index: DeiT's main.py; with the next one's: timm's train.py
        scheduler.step(epoch if recipe.name in ("deit", "cifar-deit") else epoch + 1)
    assert [learning_rate(recipe, step, STEPS) for step in range(recipe.epochs * STEPS)] == theirs


def rates(recipe):
    """The rate at the start of each epoch of a full run of 1,251 steps each: ImageNet at a batch of 1024."""
    return [learning_rate(recipe, epoch * 1251, 1251) for epoch in range(recipe.epochs)]


def test_deit_moves_once_per_epoch_and_starts_twice_at_the_warm_ups_start():
    """REFERENCE.md section 3: 1e-3 after 5 epochs from 1e-6, cosine to 1e-5, epochs 0 and 1 both at 1e-6."""
    at = rates(DEIT)
    assert at[0] == at[1] == 1e-6
    assert at[2] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 5)
    assert at[6] == max(at) == pytest.approx(1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.cos(math.pi * 5 / 300)))
    assert at[299] == pytest.approx(1e-5, rel=0.02)
    assert {learning_rate(DEIT, 7 * 1251 + step, 1251) for step in range(1251)} == {at[7]}


def test_swin_moves_with_every_step_and_scales_all_rates():
    """REFERENCE.md section 3: 20 epochs from 5e-7 B/512 to 5e-4 B/512, cosine to 5e-6 B/512; B = 1024."""
    at = rates(SWIN)
    assert at[0] == pytest.approx(1e-6)
    assert at[10] == pytest.approx((1e-6 + 1e-3) / 2)
    assert at[20] == max(at) == pytest.approx(1e-3, rel=0.02)
    assert learning_rate(SWIN, 300 * 1251 - 1, 1251) == pytest.approx(1e-5, rel=1e-4)
    assert len({learning_rate(SWIN, step, 1251) for step in range(1251)}) == 1251
    half = SWIN.override(batch_size=512)
    assert (half.start_lr, half.peak_lr, half.end_lr) == pytest.approx((5e-7, 5e-4, 5e-6))
    deit = DEIT.override(batch_size=512)
    assert (deit.start_lr, deit.peak_lr, deit.end_lr) == pytest.approx((1e-6, 5e-4, 1e-5))


def test_resnet_cools_down_for_ten_epochs_after_ninety():
    """REFERENCE.md section 3: 90 epochs + 10 cooldown, 3 epochs from 1e-4 to .2048, cosine to 1e-6."""
    at = rates(RESNET50)
    assert len(at) == 100
    assert at[0] == 1e-4
    assert at[3] == max(at) == pytest.approx(0.2048, rel=0.01)
    assert at[45] == pytest.approx((0.2048 + 1e-6) / 2)
    assert at[89] > 1e-5
    assert set(at[90:]) == {1e-6}


@pytest.mark.parametrize("recipe", [LVVIT, RESNET50], ids=lambda recipe: recipe.name)
def test_lvvit_and_resnet_move_once_per_epoch_and_leave_the_warm_ups_start_after_one(recipe):
    """timm's program steps the scheduler after each epoch, to the index of the next."""
    at = rates(recipe)
    assert all(len({learning_rate(recipe, e * 1251 + step, 1251) for step in range(1251)}) == 1 for e in (0, 1, 50))
    assert at[0] == recipe.start_lr
    assert at[1] == pytest.approx(recipe.start_lr + (recipe.peak_lr - recipe.start_lr) / recipe.warmup_epochs)
    assert set(at[-10:]) == {recipe.end_lr} != {at[-11]}


def test_a_run_of_two_epochs_leaves_its_warm_up():
    short = DEIT.override(epochs=2)
    assert max(learning_rate(short, step, 100) for step in range(200)) > 0.9 * short.peak_lr


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0, 196), (9.99, 196), (10, 196), (60, 170), (109.999, 145), (110, 144), (299, 144)],
)
def test_the_keep_warm_up_goes_from_all_patches_to_the_ticket(progress, expected):
    """REFERENCE.md section 3: e < 10 all; e >= 110 k; halfway (60) k + (N - k) / 2."""
    assert kept_at((10, 110), 144, 196, progress) == expected


def test_the_keep_warm_up_only_falls():
    falls = [kept_at((1, 3), 9, 36, epoch / 100) for epoch in range(400)]
    assert falls == sorted(falls, reverse=True)
    assert set(falls) == set(range(9, 37))
    assert kept_at((0, 0), 9, 36, 0) == 9
    assert kept_at((2, 2), 9, 36, 1.99) == 36
    assert kept_at((1, 3), 36, 36, 2) == 36


def test_changing_the_schedule_changes_only_when_the_rate_moves():
    per_step = replace(SWIN, schedule="epoch")
    assert learning_rate(per_step, 31 * 1251 + 99, 1251) == pytest.approx(learning_rate(SWIN, 30 * 1251, 1251))


def test_the_temperature_of_learned_choices_falls_linearly_over_all_steps():
    found = [tau_at(step, 12) for step in range(12)]
    assert (found[0], found[-1]) == (10.0, pytest.approx(0.1, abs=1e-12))
    assert [before - now for before, now in pairwise(found)] == pytest.approx([9.9 / 11] * 11)
    assert tau_at(0, 1) == 10.0
