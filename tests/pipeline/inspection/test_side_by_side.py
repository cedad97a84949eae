"""Manifests side by side: which images, and which panels."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.command import refused, run
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.inspection.gallery import dim, pick
from vit_tickets.pipeline.inspection.side_by_side import CAPTION, GAP, HEADING, SIDE, write_side_by_side
from vit_tickets.pipeline.manifests.manifest import Manifest


def panel(sheet, row, column):
    left, top = GAP + column * (SIDE + GAP), HEADING + GAP + row * (CAPTION + SIDE + GAP) + CAPTION
    return np.asarray(sheet.crop((left, top, left + SIDE, top + SIDE)), dtype=int)


def test_each_manifest_shows_its_scores_and_ticket_of_the_same_images(packed, tickets, tmp_path):
    manifest, dataset = Manifest.open(tickets), Dataset.open(packed)
    path = str(tmp_path / "both.png")
    assert write_side_by_side(path, [manifest, manifest], dataset, "val", 3) == 3
    with Image.open(path) as sheet:
        has_scores = manifest.layout("val").scores
        assert sheet.width == GAP + (SIDE + GAP) * (1 + 2 * (1 + has_scores))
        for row, item in enumerate(pick(manifest, dataset, "val", 3)):
            image = Image.fromarray(item.pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            assert np.abs(panel(sheet, row, 0) - np.asarray(image, dtype=int)).max() == 0
            kept = Image.fromarray(dim(item.pixels, item.ticket_k, 6)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            for column in (1 + has_scores, 2 * (1 + has_scores)):
                assert np.abs(panel(sheet, row, column) - np.asarray(kept, dtype=int)).max() == 0


@pytest.mark.process
def test_compare_draws_it(packed, tickets, tmp_path):
    done = run("compare", tickets, tickets, "--dataset", packed, "--gallery", tmp_path / "g.png", "--images", 2)
    assert f"{tmp_path / 'g.png'}: 2 images of train" in done.stdout
    assert "--gallery: expected --dataset" in refused("compare", tickets, tickets, "--gallery", tmp_path / "g.png")
    assert "ends in .png" in refused("compare", tickets, tickets, "--dataset", packed, "--gallery", "g.jpg")


@pytest.mark.process
def test_columns_without_scores_are_tickets_alone(packed, selector_run, tmp_path):
    options = ("--selector", selector_run, "--sparsity", 0.5, "--engine", "local", "--no-scores")
    run("generate", packed, *options, "--out", tmp_path / "m")
    assert json.loads((tmp_path / "m/ticket.json").read_text())["scores"] is False
    shutil.copytree(tmp_path / "m", tmp_path / "n")
    run("compare", tmp_path / "m", tmp_path / "n", "--dataset", packed, "--gallery", tmp_path / "g.png")
    with Image.open(tmp_path / "g.png") as sheet:
        assert sheet.width == GAP + 3 * (SIDE + GAP)
