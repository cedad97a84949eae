"""The training stream against plain pipelines of webdataset and of timm with the same transforms, on one core.

command       python -m tests.bench loader
what          one epoch in this process, no workers, one thread: read tars, shuffle (buffer of 1,000), decode, random
              resized crop to 224 (24 on the small pictures), flip, batches of 50 uint8 tensors. Baseline: webdataset's
              own reading, shuffling and batching, Pillow, and torchvision's transforms.
timm          on the image folder that the shards were packed of: timm.data's create_dataset and create_transform (the
              same crops, no colour) and torch's DataLoader. All sides decode JPEGs in full (no reduced decode by
              Pillow's draft mode) and resample bicubically. timm crops, then resizes; ours resizes the box at once, for
              about the same pixels. FFCV and DALI are not dependencies, and were not measured.
pictures      photographs with a shorter side of 256 where the shared ones are there, made ones of that size elsewhere;
              24-pixel PNGs, whose decoding costs little, so that what is left is the stream itself
targets       1.0: exact epochs cost nothing; 1.1 against timm's; 0.95 with tickets against without, on photographs.
              Several views per decode, and tickets on the small pictures: for information
"""

import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import webdataset
from PIL import Image
from timm.data import create_dataset, create_transform
from torch.utils.data import DataLoader
from torchvision import transforms

from tests.helpers import augmenting, write_manifest
from tests.soak.data import SIDE, write_dataset
from vit_tickets.pipeline.datasets.pack import pack
from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.train.data.batches import TrainBatch
from vit_tickets.train.data.split import SplitData
from vit_tickets.train.data.stream import TrainStreamConfig, train_batches

from . import pictures
from .harness import Finding, Options, arithmetic_threads, take_turns

BATCH = 50
MIN_SCALE = 0.08
BUFFER = 1000
TARGET, TIMM_TARGET, TICKETS_TARGET = 1.0, 1.1, 0.95


def run(options: Options) -> list[Finding]:
    torch.manual_seed(0)
    count = 200 if options.quick else 1000
    with tempfile.TemporaryDirectory(prefix="vit-tickets-bench-") as folder, arithmetic_threads(1):
        source = os.path.join(folder, "source")
        kind = pictures.write(source, count)
        large = pack(
            source, os.path.join(folder, "large"), split="train", shard_size=count // 4, progress=False
        ).dataset
        small = write_dataset(Path(folder) / "small", [2 * count] * 4)
        return [
            *compare(large, 224, 14, kind, options, source),
            *compare(small, SIDE, 6, f"{SIDE}-pixel PNGs", options),
        ]


def compare(
    dataset: Dataset, side: int, grid: int, kind: str, options: Options, source: str | None = None
) -> list[Finding]:
    """source: the image folder that `dataset` was packed of, where there is one."""
    manifest = Manifest.open(write_manifest(dataset, f"{dataset.root}-tickets", grid, image_size=side))
    config = TrainStreamConfig(
        data=SplitData(dataset, "train"),
        path="dense",
        augment=augmenting(side, MIN_SCALE),
        batch_size=BATCH,
        epochs=1,
        seed=0,
        grid=grid,
        mask_seed=0,
    )
    on_tickets = replace(config, data=replace(config.data, manifest=manifest), path="lt")
    contestants = {
        "plain": lambda: exhaust(plain(dataset, side)),
        "ours": lambda: exhaust(train_batches(config, workers=0)),
        "ours, lt": lambda: exhaust(train_batches(on_tickets, workers=0)),
        "4 views": lambda: exhaust(train_batches(replace(config, repeats=4, views_per_decode=4), workers=0)),
    }
    if source:
        contestants["timm"] = lambda: exhaust(image_folder(source, side))
    turns = take_turns(contestants, options.runs, options.warmup)
    samples = dataset.samples("train")
    findings = [
        Finding(f"loader, {samples} {kind}", name, "webdataset", turns[name], turns["plain"], None, target)
        for name, target in (("ours", TARGET), ("4 views", None))
    ]
    if source:
        against = ("ours", "timm's ImageFolder", turns["ours"], turns["timm"], None, TIMM_TARGET)
        findings.append(Finding(f"loader, {samples} {kind}", *against))
    target = TICKETS_TARGET if side > SIDE else None
    with_tickets = ("ours, lt", "ours", turns["ours, lt"], turns["ours"], None, target)
    return [*findings, Finding(f"tickets, {samples} {kind}", *with_tickets)]


def exhaust(batches) -> int:
    return sum(len(batch.label if isinstance(batch, TrainBatch) else batch[1]) for batch in batches)


def image_folder(source: str, side: int) -> DataLoader:
    """What the user of timm would write."""
    view = create_transform(
        side,
        is_training=True,
        scale=(MIN_SCALE, 1.0),
        hflip=0.5,
        color_jitter=None,
        interpolation="bicubic",
        normalize=False,
    )
    return DataLoader(create_dataset("", source, transform=view), BATCH, shuffle=True, drop_last=True)


def plain(dataset: Dataset, side: int):
    """What the user of webdataset would write."""
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(side, (MIN_SCALE, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )
    suffixes = ";".join(images.SUFFIXES)
    return (
        webdataset.WebDataset([dataset.path_of(shard) for shard in dataset.shards("train")], shardshuffle=100)
        .shuffle(BUFFER)
        .to_tuple(suffixes, "cls")
        .map_tuple(decode_and(view), int)
        .batched(BATCH, partial=False)
    )


def decode_and(view: Callable[[Image.Image], torch.Tensor]) -> Callable[[bytes], torch.Tensor]:
    def decode(data: bytes) -> torch.Tensor:
        with Image.open(io.BytesIO(data)) as image:
            return view(image.convert("RGB"))

    return decode
