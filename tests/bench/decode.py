"""JPEG bytes to the pixels of a view, on one thread: ours against Pillow and torchvision as their users call them.

command       python -m tests.bench decode
what          the same files, in memory. whole: decoded alone, as uint8 (height, width, 3). center: what a selector
              evaluates, the shorter side to 248, the centre's 224. crop: a training crop for each file, drawn
              beforehand, to 224 and maybe mirrored; both as contiguous uint8 (3, 224, 224). Ours: `images.decode` (a
              full decode, upright, never in draft mode) with `images.render`, or the trainer's `resized`. Theirs:
              `Image.open(...).convert("RGB")`, the same in draft mode, in which libjpeg decodes at 1/2 or less where
              that is as large as what is wanted, or torchvision.io.decode_jpeg, each with torchvision's bicubic resize;
              on a GPU also decode_jpeg there, all files in one call. The table says by how much of 255 their pixels
              differ from ours in the mean.
pictures      photographs with a shorter side of 256 (made ones where there are none), as they are and upscaled to 500,
              as large as ImageNet's own, where draft mode has something to leave out
target        1.0 against the fastest of theirs with the same pixels but for rounding; against the others none
"""

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode, functional

from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import Crop, keyed_rng, random_resized_crop
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.train.views.augment import resized

from . import pictures
from .harness import Finding, Options, Timing, arithmetic_threads, fastest, median_wall_s, take_turns

SIDE, CROP_PCT = 224, 0.9
RESIZED = int(SIDE / CROP_PCT)
CENTER = View("center", SIDE, CROP_PCT, "bicubic")
MIN_SCALE, UPSCALED, QUALITY = 0.08, 500, 90
TARGET = 1.0
ROUNDING = 0.2  # mean difference of 255, below which only the rounding of the resampling differs


@dataclass(frozen=True)
class File:
    """A JPEG, its bytes as a tensor too, its size (width, height), and the crop that is taken of it."""

    data: bytes
    tensor: Tensor
    size: tuple[int, int]
    crop: Crop

    @classmethod
    def of(cls, data: bytes, number: int) -> "File":
        width, height = Image.open(io.BytesIO(data)).size
        crop = random_resized_crop(keyed_rng("decode", number), height, width, MIN_SCALE, 0.5)
        return cls(data, torch.frombuffer(bytearray(data), dtype=torch.uint8), (width, height), crop)


def run(options: Options) -> list[Finding]:
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder, arithmetic_threads(1):
        kind = pictures.write(folder, 20 if options.quick else 200)
        found = [path.read_bytes() for path in sorted(Path(folder).glob(os.path.join("*", "*")))]
    findings = []
    for what, data in ((kind, found), (f"{kind} upscaled to {UPSCALED}", [upscaled(data) for data in found])):
        files = [File.of(each, number) for number, each in enumerate(data)]
        for view in OURS:
            with arithmetic_threads(1):
                findings += compare(files, view, f"{view}, {len(files)} {what}", options)
    return findings


def upscaled(data: bytes) -> bytes:
    image, out = Image.open(io.BytesIO(data)).convert("RGB"), io.BytesIO()
    functional.resize(image, UPSCALED, InterpolationMode.BICUBIC).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def compare(files: list[File], view: str, what: str, options: Options) -> list[Finding]:
    contestants: dict[str, Callable[[], list]] = {"ours": lambda: [ours(file, view) for file in files]}
    contestants["Pillow"] = lambda: [by_pillow(file, view) for file in files]
    if view in LEAST_SCALE:
        contestants["Pillow, draft"] = lambda: [by_pillow(file, view, draft=True) for file in files]
    contestants["torchvision"] = lambda: [by_torchvision(file, view) for file in files]
    if view == "whole" and torch.cuda.is_available():
        tensors = [file.tensor for file in files]
        contestants["torchvision, GPU"] = lambda: [
            pixels.permute(1, 2, 0) for pixels in decode_jpeg(tensors, ImageReadMode.RGB, device="cuda")
        ]
    expected = contestants["ours"]()
    apart = {name: difference(expected, work()) for name, work in contestants.items() if name != "ours"}
    turns = take_turns(contestants, options.runs, options.warmup)
    in_full = [name for name, value in apart.items() if value < ROUNDING and "draft" not in name]
    best = fastest(turns, in_full) if in_full else None

    def finding(name: str, of: list[Timing]) -> Finding:
        rate = len(files) / median_wall_s(turns["ours"])
        pixels = f"off by {apart[name]:.2f}" if apart[name] else "same pixels"
        target = TARGET if name == best else None
        return Finding(f"{what}, {rate:.0f}/s", "ours", f"{name}, {pixels}", turns["ours"], of, None, target)

    return [finding(name, of) for name, of in turns.items() if name != "ours"]


def difference(expected: list[np.ndarray], found: list) -> float:
    """The mean absolute difference of all pixels, 0 for the same to the bit."""
    found = [pixels.cpu().numpy() if isinstance(pixels, Tensor) else pixels for pixels in found]
    pairs = zip(expected, found, strict=True)
    return float(np.mean([np.abs(a.astype(np.int16) - b.astype(np.int16)).mean() for a, b in pairs]))


# --- by view: what ours shows of an image, what theirs does, and the scale at which a draft is large enough

OURS: dict[str, Callable[[Image.Image, Crop], np.ndarray]] = {
    "whole": lambda image, _: np.asarray(image),
    "center": lambda image, _: images.to_array(images.render(image, CENTER)),
    "crop": lambda image, crop: resized(image, crop, SIDE, "bicubic"),
}


def ours(file: File, view: str) -> np.ndarray:
    return OURS[view](images.decode(file.data), file.crop)


def as_array(image: Image.Image, view: str) -> np.ndarray:
    return np.asarray(image) if view == "whole" else images.to_array(image)


def center(image, _: File):
    whole = functional.resize(image, RESIZED, InterpolationMode.BICUBIC, antialias=True)
    return functional.center_crop(whole, SIDE)


def cropped(image, file: File):
    scale = functional.get_image_size(image)[0] / file.size[0]  # below 1 in draft mode
    left, top, right, bottom = (round(scale * value) for value in file.crop.box)
    place = (top, left, bottom - top, right - left)
    shown = functional.resized_crop(image, *place, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True)
    return functional.hflip(shown) if file.crop.flip else shown


THEIRS = {"whole": lambda image, _: image, "center": center, "crop": cropped}
LEAST_SCALE: dict[str, Callable[[File], float]] = {
    "center": lambda file: RESIZED / min(file.size),
    "crop": lambda file: SIDE / min(file.crop.box[2] - file.crop.box[0], file.crop.box[3] - file.crop.box[1]),
}


def by_pillow(file: File, view: str, draft: bool = False) -> np.ndarray:
    with Image.open(io.BytesIO(file.data)) as image:
        if draft:
            scale = min(1.0, LEAST_SCALE[view](file))
            image.draft("RGB", tuple(int(scale * side) for side in file.size))
        return as_array(THEIRS[view](image.convert("RGB"), file), view)


def by_torchvision(file: File, view: str) -> Tensor:
    shown = THEIRS[view](decode_jpeg(file.tensor, ImageReadMode.RGB), file)
    return shown.permute(1, 2, 0) if view == "whole" else shown.contiguous()
