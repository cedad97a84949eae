"""Pictures to read and decode: the shared photographs where they are, made ones elsewhere."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def write(target: str, count: int) -> str:
    """Write `count` pictures as an image folder; returns what they are, for the table."""
    if copy_photographs(target, count):
        return "photographs"
    synthesise(target, count)
    return "synthetic JPEGs"


def shared() -> Path:
    """The folder of the shared real data (data/, weights/), which need not be there."""
    return Path(os.environ.get("VIT_TICKETS_SHARED", "../shared"))


def photographs() -> list[Path]:
    """The shared photographs, class by class; empty where they are not."""
    return sorted((shared() / "data/imagenet-samples/train").glob("*/*.JPEG"))


def copy_photographs(target: str, count: int) -> bool:
    """The first `count` photographs of the shared data, as an image folder; False where there are not so many."""
    found = photographs()[:count]
    if len(found) < count:
        return False
    for path in found:
        place = os.path.join(target, path.parent.name)
        os.makedirs(place, exist_ok=True)
        shutil.copy(path, place)
    return True


def synthesise(target: str, count: int) -> None:
    """JPEGs of 256 x 340 pixels: smooth colours under grain, about as heavy as a photograph of that size."""
    place = os.path.join(target, "class")
    os.makedirs(place)
    for number in range(count):
        random = np.random.default_rng(number)
        colours = Image.fromarray(random.integers(0, 256, (8, 10, 3), dtype=np.uint8))
        smooth = np.asarray(colours.resize((340, 256), Image.Resampling.BICUBIC), dtype=np.int16)
        pixels = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=90)
        Path(place, f"{number:05d}.jpg").write_bytes(stream.getvalue())
