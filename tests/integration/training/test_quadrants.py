"""Token labels of an image of four coloured quadrants: after crops, flips and MixToken every token has the label of the
colour that its pixels show."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import encode, write_labels, write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.labels import LabelMaps, LabelRow
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches
from vit_tickets.train.loop.inputs import Preparation
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.runs.request import Request
from vit_tickets.train.runs.resolve import resolve
from vit_tickets.train.views.augment import Augment

COLOURS = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]])  # of class 0, 1, 2, 3
MAP, SIDE, GRID, COUNT = 8, 48, 6, 16


def quadrants(number: int) -> np.ndarray:
    """Classes of the quadrants of image `number`, (2, 2)."""
    return np.random.default_rng(number).permutation(4).reshape(2, 2)


def rows_of(keys: list[str], map_size: int, places: int, num_classes: int) -> list[LabelRow]:
    rows = []
    for key in keys:
        best = quadrants(int(key[-2:])).repeat(map_size // 2, 0).repeat(map_size // 2, 1).ravel()
        others = np.stack([[c for c in range(num_classes) if c != cell][: places - 1] for cell in best])
        classes = np.concatenate([best[:, None], others], axis=1).astype(np.uint16)
        logits = np.tile(np.array([12.0] + [0.0] * (places - 1), np.float16), (len(best), 1))
        rows.append(LabelRow(key, classes, logits))
    return rows


@pytest.fixture(scope="module")
def quadrant_data(tmp_path_factory):
    """16 wide and tall images of four quadrants, their label maps and tickets."""
    root = tmp_path_factory.mktemp("quadrants")
    for number in range(COUNT):
        height, width = ((40, 80), (90, 50), (64, 64))[number % 3]
        shown = quadrants(number).repeat(height // 2, 0).repeat(width // 2, 1)
        folder = root / "source" / "abcd"[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02d}.png").write_bytes(encode(Image.fromarray(COLOURS[shown].astype(np.uint8)), "PNG"))
    pack(str(root / "source"), str(root / "data"), progress=False)
    dataset = Dataset.open(str(root / "data"))
    return dataset, write_labels(dataset, str(root / "labels"), MAP, rows_of), write_manifest(dataset, str(root / "m"))


def colour_of(pixels: np.ndarray) -> int | None:
    """The class whose colour all of `pixels` (3, h, w) have; None at a border."""
    distance = np.abs(pixels.reshape(3, -1).T[:, None].astype(int) - COLOURS).sum(-1)
    return int(distance[0].argmin()) if (distance.min(1) < 8).all() and len(set(distance.argmin(1))) == 1 else None


@pytest.mark.parametrize("path", ["lt", "dense"])
@pytest.mark.parametrize("mix_token", [0.0, 1.0])
def test_every_token_has_the_label_of_the_colour_that_it_shows(quadrant_data, path, mix_token):
    dataset, labels, manifest = quadrant_data
    sizes = {"crop_scale": 0.15, "image_size": SIDE, "patch_size": 8}
    recipe = Recipe(epochs=4, batch_size=8, lr=1e-3, smoothing=0.1, mix_token=mix_token, **sizes)
    run = resolve(
        dataset, recipe, Request(model="lvvit_small", path=path, tickets=manifest, labels=labels, out="unused")
    )
    data = SplitData(dataset, "train", Manifest.open(manifest), labels=LabelMaps.open(labels))
    stream = TrainStreamConfig(data, path, Augment(recipe, SIDE), 8, recipe.epochs, 0, GRID, 0)
    prepare, compared, swapped = Preparation(run, "cpu", of_tokens=True), 0, 0
    for step, batch in enumerate(train_batches(stream, 0)):
        inputs = prepare(batch, step, 0, run.kept)
        own = torch.zeros(GRID**2, dtype=torch.bool) if inputs.swapped_N is None else inputs.swapped_N
        for b in range(8):
            cells = range(GRID**2) if path == "dense" else inputs.kept_BK[b].tolist()
            for place, cell in enumerate(cells):
                y, x = 8 * (cell // GRID), 8 * (cell % GRID)
                shown = colour_of(batch.pixels[7 - b if own[cell] else b, :, y : y + 8, x : x + 8].numpy())
                if shown is not None:
                    assert inputs.token_target[b, place].argmax().item() == shown
                    compared, swapped = compared + 1, swapped + bool(own[cell])
        if not own.any():
            for b in range(8):
                shown = [
                    colour_of(batch.pixels[b, :, y : y + 8, x : x + 8].numpy())
                    for y in range(0, SIDE, 8)
                    for x in range(0, SIDE, 8)
                ]
                counts = np.bincount([c for c in shown if c is not None], minlength=4)
                if counts.max() > np.sort(counts)[-2] + sum(c is None for c in shown):
                    assert inputs.target[b].argmax().item() == counts.argmax()
    assert compared > 500
    assert bool(swapped) == bool(mix_token)
