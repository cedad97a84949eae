"""A dataset whose pixels say which sample they are from, and tickets for it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import encode, write_manifest
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset

TRAIN, VAL = 62, 13
# Options that leave DeiT's recipe without what would hide the number of a picture, or show it more than once.
PLAIN = (
    "--repeats", 1, "--rand-augment", "none", "--color-jitter", 0, "--erasing", 0, "--mixup", 0, "--cutmix", 0,
    "--crop-pct", 1,
)  # fmt: skip


def numbered(index: int) -> bytes:
    """A 24-pixel picture: red is its number, green its class, and blue differs from patch to patch."""
    blue = np.random.default_rng(index).integers(0, 256, (6, 6)).repeat(4, 0).repeat(4, 1)
    pixels = np.stack([np.full((24, 24), index), np.full((24, 24), (40, 200)[index % 2]), blue], axis=-1)
    return encode(Image.fromarray(pixels.astype(np.uint8)), "PNG")


def numbers_of(pixels) -> list[int]:
    """The numbers of the pictures in `pixels` (B, 3, S, S)."""
    return pixels[:, 0, 0, 0].tolist()


@pytest.fixture(scope="session")
def numbered_data(tmp_path_factory) -> str:
    """62 train and 13 val pictures of two classes (even and odd), shards of 10."""
    root = tmp_path_factory.mktemp("numbered")
    for split, numbers in (("train", range(TRAIN)), ("val", range(100, 100 + VAL))):
        for index in numbers:
            folder: Path = root / "source" / split / ("even", "odd")[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{index:03d}.png").write_bytes(numbered(index))
    pack(str(root / "source"), str(root / "data"), shard_size=10, progress=False)
    return str(root / "data")


@pytest.fixture(scope="session")
def numbered_tickets(numbered_data, tmp_path_factory) -> str:
    """Tickets of `numbered_data`: a 6 x 6 grid on 24 pixels, 18 patches kept."""
    return write_manifest(Dataset.open(numbered_data), str(tmp_path_factory.mktemp("manifest") / "m"))
