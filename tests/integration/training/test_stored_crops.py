"""Training on stored crops: what is kept of a view is the selector's own choice on its pixels, exactly."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.fixtures.numbered import TRAIN, numbers_of
from tests.helpers import augmenting, brightest, write_crops_manifest
from tests.training import trainer
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, stored_view, train_batches
from vit_tickets.train.evaluation.predict import check_on
from vit_tickets.train.recipes.presets import DIGITS
from vit_tickets.train.runs.folder import claim
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.views.alignment import keep_best, kept_cells, resample, value_map
from vit_tickets.train.views.erasing import erased_cells

pytestmark = pytest.mark.process
RECIPE = DIGITS.override(epochs=2, batch_size=8, image_size=24, patch_size=4)


@pytest.fixture(scope="module")
def crops_manifest(numbered_data, tmp_path_factory):
    return write_crops_manifest(Dataset.open(numbered_data), str(tmp_path_factory.mktemp("crops") / "m"), num_views=3)


def config(data, manifest, path="lt", **changes):
    split = SplitData(Dataset.open(data), "train", Manifest.open(manifest))
    options = {"epochs": 3, "seed": 0, "grid": 6, "mask_seed": 3} | changes
    return TrainStreamConfig(split, path, augmenting(24, 0.3), 8, **options)


def kept_of(batch):
    return keep_best(resample(value_map(batch.rank), batch.affine, 6, batch.through), 18)


@pytest.mark.parametrize("options", [{}, {"repeats": 3, "views_per_decode": 3}])
def test_what_is_kept_is_the_selectors_choice_on_the_very_pixels(numbered_data, crops_manifest, options):
    for batch in train_batches(config(numbered_data, crops_manifest, **options), 0):
        for pixels, kept in zip(batch.pixels.numpy(), kept_of(batch).tolist(), strict=True):
            assert kept == brightest(pixels, 6, 18).nonzero()[0].tolist()


def test_what_replaces_erased_cells_is_not_taken_from_the_top_left(numbered_data, crops_manifest):
    """A mask ranks no dropped cells: those that are kept instead of erased ones lie anywhere."""
    stream = replace(config(numbered_data, crops_manifest, epochs=9), augment=augmenting(24, 0.3, erasing=1.0))
    dropped, replacing = [], []
    for batch in train_batches(stream, 0):
        shown = {"erased_B4": batch.erased, "image_size": 24}
        lost_BN = erased_cells(batch.erased, 24, 6)
        plain_BN, found_BN = (
            torch.zeros(8, 36, dtype=torch.bool).scatter_(1, kept_cells(batch.rank, batch.affine, 6, 18, **more), True)
            for more in ({}, shown)
        )
        for row in range(8):
            dropped += (~plain_BN & ~lost_BN)[row].nonzero()[:, 0].tolist()
            replacing += (found_BN & ~plain_BN)[row].nonzero()[:, 0].tolist()
    assert len(replacing) > 300
    assert abs(np.mean(replacing) - np.mean(dropped)) < 2  # from the top left it would be 11 less


def test_every_path_sees_the_same_crops_and_epochs_take_one_after_the_other(numbered_data, crops_manifest):
    seen = defaultdict(set)
    streams = [train_batches(config(numbered_data, crops_manifest, path), 0) for path in ("lt", "rc", "dense")]
    for batches in zip(*streams, strict=True):
        for other in batches[1:]:
            assert (other.pixels == batches[0].pixels).all()
        for number, pixels in zip(numbers_of(batches[0].pixels), batches[0].pixels, strict=True):
            seen[number].add(pixels.numpy().tobytes())
    assert len(seen) == TRAIN
    assert sum(map(len, seen.values())) > 2.5 * TRAIN


def test_as_many_stored_crops_as_views_of_a_run_are_all_taken():
    assert {stored_view(epoch, 0, 1, 300) for epoch in range(300)} == set(range(300))
    # three views in one epoch of three: those of an image that every third epoch takes
    taken = [stored_view(epoch, repeat, 3, 9) for epoch in (1, 4, 7) for repeat in range(3)]
    assert sorted(taken) == list(range(9))


def test_the_random_counterpart_is_the_hash_of_key_and_crop(numbered_data, crops_manifest):
    batches = list(train_batches(config(numbered_data, crops_manifest, "rc"), 0))
    for at, batch in enumerate(batches):
        view = at // (TRAIN // 8)
        kept = keep_best(value_map(batch.rank).flatten(1), 18)
        for number, patches in zip(numbers_of(batch.pixels), kept.tolist(), strict=True):
            key = f"{('even', 'odd')[number % 2]}/{number:03d}"
            assert patches == random_subset(3, key, 36, 18, view).tolist()


def test_a_run_on_stored_crops_ends(numbered_data, crops_manifest, tmp_path):
    for path in ("lt", "rc", "dense"):
        trainer(numbered_data, tmp_path / path, path, crops_manifest, recipe=RECIPE).fit()
        assert (tmp_path / path / "final.safetensors").exists()


def test_random_crops_are_no_tickets_to_evaluate_on(numbered_data, crops_manifest):
    split = SplitData(Dataset.open(numbered_data), "train", Manifest.open(crops_manifest))
    with pytest.raises(UserError, match=r"expected one ticket per image .*, found those of random crops \(crops:3\)"):
        check_on(split, ["lt"], "lt")


def test_what_masks_cannot_give_is_refused(numbered_data, crops_manifest, tmp_path):
    common = {"tickets": crops_manifest, "out": str(tmp_path)}
    with pytest.raises(UserError, match=r"expected the manifest's own s0.5, found s0.25: crops:3 holds masks"):
        resolve(Dataset.open(numbered_data), RECIPE, Request(model="deit_micro", path="lt", sparsity=0.25, **common))
    with pytest.raises(UserError, match="expected tickets of a fixed view to score a holdout on, found crops:3"):
        resolve(Dataset.open(numbered_data), RECIPE, Request(model="deit_micro", path="lt", holdout=0.2, **common))
    growing = RECIPE.override(keep_warmup=(0.0, 1.0))
    with pytest.raises(
        UserError, match=r"--keep-warmup 0:1: expected ranks, .*, found masks \(crops:3 in .*\); pass --"
    ):
        resolve(Dataset.open(numbered_data), growing, Request(model="deit_micro", path="lt", **common))
    at_once = RECIPE.override(keep_warmup=(0.0, 0.0))
    for recipe, path in ((growing, "rc"), (growing, "dense"), (at_once, "lt")):  # a hash orders all patches
        resolve(Dataset.open(numbered_data), recipe, Request(model="deit_micro", path=path, **common))


def test_a_run_on_another_view_than_trains_own_is_named_after_it(numbered_data, numbered_tickets, crops_manifest):
    dataset = Dataset.open(numbered_data)
    for manifest, path, name in (
        (numbered_tickets, "lt", "lt-s0.5"),
        (crops_manifest, "lt", "lt-s0.5-crops3"),
        (crops_manifest, "rc", "rc-s0.5-crops3"),
        (crops_manifest, "dense", "dense"),
    ):
        run = resolve(dataset, RECIPE, Request(model="deit_micro", path=path, tickets=manifest))
        assert run.root == f"runs/data-deit_micro-{name}-seed0"


def test_a_folder_refuses_tickets_of_another_view(numbered_data, crops_manifest, tmp_path):
    run = resolve(
        Dataset.open(numbered_data),
        RECIPE,
        Request(model="deit_micro", path="lt", tickets=crops_manifest, out=str(tmp_path)),
    )
    files.write_json(run.place("config.json"), run.config.record())
    assert claim(run.root, run.config, resume=True, overwrite=False) == "start"
    of_whole_images = run.config.record() | {"tickets": run.config.tickets.entries | {"view": "full"}}
    files.write_json(run.place("config.json"), of_whole_images)
    with pytest.raises(UserError, match=r'holds another run: tickets\.view: expected "crops:3", found "full"'):
        claim(run.root, run.config, resume=True, overwrite=False)
