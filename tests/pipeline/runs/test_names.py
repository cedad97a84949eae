"""Default places are named after what was asked for."""

import pytest

from vit_tickets.pipeline.datasets.embedded import NAME as DIGITS
from vit_tickets.pipeline.geometry.patches import Budget
from vit_tickets.pipeline.runs.names import (
    default_runs_of_folds,
    default_selector,
    labels_name,
    manifest_name,
    run_name,
)


@pytest.mark.parametrize(
    ("view", "method", "suffix"),
    [
        ("auto", "staged", ""),
        ("full@2", "staged", "-full@2"),
        ("crops:8", "staged", "-crops8"),
        ("crops-mean:16", "staged", "-crops-mean16"),
        ("auto", "rollout", "-rollout"),
        ("auto", "cross-fit", "-cross-fit"),
        ("crops:8", "random", "-crops8-random"),
    ],
)
def test_a_manifest_is_named_after_view_and_method_without_a_colon(view, method, suffix):
    assert manifest_name("d", "deit_micro", Budget(0.5), view, method) == f"manifests/d-deit_micro-s0.5{suffix}"


def test_a_run_has_its_budget_where_the_path_has_one():
    assert run_name("d", "deit_s", "lt", Budget(tokens=101), 0) == "runs/d-deit_small-lt-k101-seed0"
    assert run_name("d", "deit_s", "lt", Budget(0.5), 1, "black") == "runs/d-deit_small-lt-s0.5-black-seed1"
    assert run_name("d", "deit_small_patch16_224.fb_in1k", "dense", Budget(0.5), 0) == "runs/d-deit_small-dense-seed0"


def test_label_maps_are_named_after_dataset_and_annotator():
    assert labels_name("imagenet", "dm_nfnet_f6.dm_in1k") == "manifests/labels/imagenet-dm_nfnet_f6"


def test_digits_are_served_by_its_own_dense_runs():
    assert default_selector("folder") == "deit_small_patch16_224.fb_in1k"
    assert default_selector(DIGITS) == "runs/digits-deit_micro-dense-seed0"
    assert default_runs_of_folds("folder", 2) == []
    assert default_runs_of_folds(DIGITS, 2)[1] == "runs/digits-deit_micro-dense-without-fold-2of2-seed0"
