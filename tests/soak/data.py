"""Datasets for the trials."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import encode
from vit_tickets.pipeline.datasets.shards import Dataset, Sample, write_shard

SIDE = 24


def picture(index: int) -> bytes:
    """A 24-pixel picture of class index % 2; red says its number modulo 256, blue differs from patch to patch."""
    blue = np.random.default_rng(index).integers(0, 256, (6, 6)).repeat(4, 0).repeat(4, 1)
    pixels = np.stack([np.full((SIDE, SIDE), index % 256), np.full((SIDE, SIDE), (40, 200)[index % 2]), blue], axis=-1)
    return encode(Image.fromarray(pixels.astype(np.uint8)), "PNG")


def numbers_of(pixels) -> list[int]:
    """The numbers of the pictures in `pixels` (B, 3, S, S)."""
    return pixels[:, 0, 0, 0].tolist()


def write_dataset(root: Path, train: Iterable[int], val: int = 0) -> Dataset:
    """A dataset at `root` whose train shards have the given sizes, with one shard of `val` pictures."""
    splits, first = {}, 0
    for split, sizes in (("train", train), ("val", [val] if val else [])):
        splits[split] = []
        for number, size in enumerate(sizes):
            samples = (Sample(f"{index:06d}", index % 2, picture(index), "png") for index in range(first, first + size))
            splits[split].append(write_shard(str(root), f"{split}/{number:06d}.tar", samples))
            first += size
    dataset = Dataset(str(root), root.name, ["even", "odd"], "test", {k: v for k, v in splits.items() if v})
    dataset.save()
    return dataset
