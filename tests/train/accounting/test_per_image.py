"""What an image costs at test time and to select, against formulas and what torch registers."""

import json

import pytest
import torch

from tests.bench import arithmetic
from tests.training import run_of, trainer
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks import registry, vit
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.runs.parts import ImageMacs
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.accounting.counting import counted
from vit_tickets.train.accounting.per_image import alive_macs, image_macs, selection_macs
from vit_tickets.train.models.sparse import build_model


def manifest_of(**changes) -> Manifest:
    preprocessing = {"image_size": 48, "crop_pct": 1.0, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    splits = {"train": {"samples": 100, "errors": 1, "view": "full", "preprocessing": preprocessing}}
    record = {
        **{"num_patches": 36, "counts": [18, 9], "image_size": 48, "mask_seed": 0, "dataset": "d", "splits": splits},
        **{"selector": "deit_micro", "stages": [2, 4], "sparsity": 0.75, "grid": 6, "patch_size": 8},
    }
    return Manifest("m", record | changes)


def shape_at(side: int, patch: int = 8) -> arithmetic.Shape:
    return arithmetic.Shape.of(vit.check_is_vit(registry.create_model("deit_micro", img_size=side, patch_size=patch)))


def test_a_staged_selection_ends_at_its_last_identification():
    assert selection_macs(manifest_of(), "train") == arithmetic.selection(shape_at(48), (2, 4), (18, 9))


@pytest.mark.parametrize(("method", "block"), [("cls-attention", 3), ("lotus", None)])
def test_one_block_is_one_stage(method, block):
    expected = arithmetic.selection(shape_at(48), (block or 4,), (9,))
    assert selection_macs(manifest_of(method=method, block=block, counts=[9], stages=None), "train") == expected


@pytest.mark.parametrize(("method", "expected"), [("centre", 0), ("entropy", 0), ("rollout", None)])
def test_methods_without_a_network_cost_none_and_others_are_not_guessed(method, expected):
    assert selection_macs(manifest_of(method=method, counts=[9], stages=None), "train") == expected


def test_a_selector_that_cannot_be_built_is_not_counted():
    assert selection_macs(manifest_of(selector="no_such_model"), "train") is None


@pytest.mark.parametrize("kept", [9, 36])
def test_an_image_costs_a_pass_over_its_patches(kept):
    model, shape = build_model("deit_micro", 10, 48, 8, None), shape_at(48)
    found = image_macs(model, 48, kept, manifest_of())
    head = shape.width * (10 - shape.classes)
    assert found == ImageMacs(
        forward=arithmetic.forward(shape) + head,
        forward_kept=arithmetic.forward(shape, kept) + head,
        selection=arithmetic.selection(shape, (2, 4), (18, 9)),
        selected=100,
    )
    assert image_macs(model, 48, None, None) == ImageMacs(forward=found.forward)


def test_models_that_drop_nothing_cost_as_much_on_a_ticket():
    found = image_macs(build_model("resnet20", 10, 48, None, 6), 48, 9, None)
    assert (
        found.forward
        == found.forward_kept
        == counted(lambda: build_model("resnet20", 10, 48, None, 6).eval()(torch.zeros(1, 3, 48, 48)))
    )


def test_what_is_recorded_makes_no_run_another(numbered_data, numbered_tickets, tmp_path):
    config = run_of(numbered_data, tmp_path, "lt", numbered_tickets).config
    made = trainer(numbered_data, tmp_path, "lt", numbered_tickets)
    record = json.loads(json.dumps(config.record() | {"macs": vars(made.of_image())}))
    read = RunConfig.from_record(record)
    assert read.macs == made.of_image()
    assert read.macs is not None
    assert (read.macs.forward_kept or 0) < (read.macs.forward or 0)
    assert read.macs.selected == Manifest.open(numbered_tickets).split_record("train").samples
    assert config.difference(read, {}) is None
    with pytest.raises(UserError, match=r"macs: forward: expected a count, found .many"):
        RunConfig.from_record(record | {"macs": {"forward": "many"}})


@pytest.mark.parametrize("kept", [None, 9])
def test_dead_weights_cost_nothing_at_every_token(kept):
    model = build_model("deit_micro", 10, 48, 8, None)
    name, weight = next(of for of in model.network.named_parameters() if of[0].endswith("mlp.fc1.weight"))
    alive = torch.ones_like(weight, dtype=torch.bool)
    whole = alive_macs(model, 48, kept, {name: alive})
    of_image = image_macs(model, 48, kept, None)
    assert whole == (of_image.forward if kept is None else of_image.forward_kept)
    alive.view(-1)[:100:2] = False
    assert alive_macs(model, 48, kept, {name: alive}) == whole - 50 * ((kept or 36) + 1)
