"""The built-in dataset: scikit-learn's handwritten digits (real scans) on cluttered canvases of 48 x 48 pixels.

With patches of 8 pixels, a canvas has 6 x 6 patches, and the digit covers exactly four of them. Scraps of other digits
surround it, so a model must find the right patches. The scans used in val are not used in train. Nothing is downloaded.
"""

import io
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
from PIL import Image

from vit_tickets.pipeline.datasets.embedded import IMAGE_SIZE, NAME, PATCH_SIZE
from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.system.errors import UserError

SAMPLES = {"train": 12_000, "val": 2_000}
VAL_DIGITS = 297  # of 1,797
SEED = 0
DIGIT_SIDE = 16
SCRAP_SIDE = 7
SCRAPS = 10
NOISE = 12.0


class DigitsSplit:
    """One split of the built-in dataset, drawn as it is read. Sample i depends only on (seed, split, i)."""

    kind = NAME
    readers = 1
    root = NAME

    def __init__(self, split: str):
        self.split = split
        self.left_out = Omissions()
        self.classes = [str(digit) for digit in range(10)]
        self.empty: list[str] = []

    def __len__(self) -> int:
        return SAMPLES[self.split]

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        scans, labels = _scans(self.split)
        for index in order:
            canvas = draw_canvas(scans, index, np.random.default_rng([SEED, list(SAMPLES).index(self.split), index]))
            out = io.BytesIO()
            Image.fromarray(canvas).save(out, "PNG")
            yield Sample(f"{index:05d}", int(labels[index % len(labels)]), out.getvalue(), "png")

    def labelled(self) -> Iterator[tuple[str, int]]:
        _, labels = _scans(self.split)
        for index in range(len(self)):
            yield f"{index:05d}", int(labels[index % len(labels)])

    def stamp(self, order: Iterable[int]) -> str:
        return f"{NAME} {self.split} {SEED}"


@cache
def _scans(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Scans of a split, float64 (n, 16, 16) in 0..255, and their digits, int (n,)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("the built-in dataset digits needs scikit-learn: pip install scikit-learn") from None
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(SEED).permutation(len(labels))
    chosen = order[:VAL_DIGITS] if split == "val" else order[VAL_DIGITS:]
    small = np.rint(pixels[chosen].reshape(-1, 8, 8) / 16 * 255).astype(np.uint8)
    scans = [
        np.asarray(Image.fromarray(scan).resize((DIGIT_SIDE, DIGIT_SIDE), Image.Resampling.BICUBIC)) for scan in small
    ]
    return np.stack(scans).astype(np.float64), labels[chosen]


def draw_canvas(scans: np.ndarray, index: int, rng: np.random.Generator) -> np.ndarray:
    """Draw scan `index` (modulo their number) on a canvas, with its corner on the patch grid. uint8 (48, 48)."""
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    for _ in range(SCRAPS):
        scan = scans[rng.integers(len(scans))]
        y, x = rng.integers(DIGIT_SIDE - SCRAP_SIDE + 1, size=2)
        top, left = rng.integers(IMAGE_SIZE - SCRAP_SIDE + 1, size=2)
        scrap = scan[y : y + SCRAP_SIDE, x : x + SCRAP_SIDE]
        canvas[top : top + SCRAP_SIDE, left : left + SCRAP_SIDE] = scrap
    top, left = PATCH_SIZE * rng.integers(IMAGE_SIZE // PATCH_SIZE - DIGIT_SIDE // PATCH_SIZE + 1, size=2)
    canvas[top : top + DIGIT_SIDE, left : left + DIGIT_SIDE] = scans[index % len(scans)]
    canvas += rng.normal(0, NOISE, canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
