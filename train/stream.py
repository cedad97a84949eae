"""Batches of training views and of evaluation views, streamed from shards by loader workers.

A worker reads its lanes' stretches of shards in order, mixes them in a buffer of undecoded samples, decodes, crops and
hands over its share of every step; the main process puts the shares of a rank's workers together. Memory per worker:
`MIX` undecoded samples, the tickets of one shard, and the prefetched shares.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vit_tickets.pipeline import images
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.patches import random_subset
from vit_tickets.pipeline.shards import Sample
from vit_tickets.pipeline.views import View, box_affine, view_to_view
from vit_tickets.train.augment import random_resized_crop, sample_rng
from vit_tickets.train.data import ShardTickets, SplitData
from vit_tickets.train.plan import Piece, epoch_lanes, even_lanes, lane_share, lane_size, steps_per_epoch

MIX = 1000
PREFETCH = 4

Share = dict[str, Any]


@dataclass(frozen=True)
class TrainStreamConfig:
    """path: `lt` and `rc` name the patches to keep, `dense` and `small` keep all. grid: side of the training grid."""

    data: SplitData
    path: str
    image_size: int
    batch_size: int
    epochs: int
    seed: int
    grid: int
    kept: int
    mask_seed: int
    min_scale: float
    hflip: float
    interpolation: str
    max_pixels: int = images.MAX_PIXELS
    skip_errors: bool = False
    rank: int = 0
    num_ranks: int = 1
    lanes: int = 1
    start_epoch: int = 0

    @property
    def steps(self) -> int:
        return steps_per_epoch(sum(self.data.counts), self.batch_size)

    @property
    def batch_of_rank(self) -> int:
        return self.batch_size // self.num_ranks


class TrainStream(IterableDataset):
    """The shares of one lane per worker, step after step, epoch after epoch."""

    def __init__(self, config: TrainStreamConfig):
        self.config = config

    def __iter__(self) -> Iterator[Share]:
        worker = get_worker_info()
        lane = 0 if worker is None else worker.id
        try:
            for epoch in range(self.config.start_epoch, self.config.epochs):
                yield from self._epoch(epoch, lane)
        except UserError as error:  # as data: a loader would wrap it in its own traceback
            yield {"failure": str(error)}

    def _epoch(self, epoch: int, lane: int) -> Iterator[Share]:
        config = self.config
        lanes = epoch_lanes(config.data.counts, config.batch_size, config.num_ranks, config.lanes, config.seed, epoch)
        number = config.rank * config.lanes + lane
        rng = np.random.default_rng([config.seed, epoch, number])
        raw = mixed(self._raw(lanes[number]), lane_size(config.batch_of_rank, config.lanes, lane, config.steps), rng)
        for step in range(config.steps):
            share = lane_share(config.batch_of_rank, config.lanes, lane, step)
            views = [view for _ in range(share) if (view := self._view(epoch, *next(raw))) is not None]
            yield collate(views, share - len(views))

    def _raw(self, pieces: list[Piece]) -> Iterator[tuple[Sample, np.ndarray | None]]:
        """The samples of `pieces` and, on path `lt`, their ranks."""
        for piece in pieces:
            for row, sample, tickets in self.config.data.read(piece.shard, piece.start, piece.stop):
                yield sample, tickets.rank[row] if self.config.path == "lt" else None

    def _view(self, epoch: int, sample: Sample, rank_N: np.ndarray | None) -> Share | None:
        config = self.config
        try:
            image = images.decode(sample.data, config.max_pixels)
        except images.UndecodableImage as error:
            if config.skip_errors:
                return None
            raise UserError(f"image {sample.key} cannot be decoded: {error}; pass --skip-errors to go on") from None
        width, height = image.size
        crop = random_resized_crop(
            sample_rng(config.seed, epoch, sample.key), height, width, config.min_scale, config.hflip
        )
        view: Share = {
            "pixels": images.to_array(crop.render(image, config.image_size, config.interpolation)),
            "label": sample.label,
        }
        if config.path == "lt":
            stored = config.data.stored_view
            view["rank"] = rank_N
            view["affine"] = view_to_view(crop.affine(), box_affine(stored.box(height, width))).astype(np.float32)
        elif config.path == "rc":
            view["kept"] = random_subset(config.mask_seed, sample.key, config.grid**2, config.kept)
        return view


def mixed(items: Iterator, count: int, rng: np.random.Generator, size: int = MIX) -> Iterator:
    """`items` in a locally random order: each is drawn from a buffer of `size`. `count` items are expected."""
    buffer: list = []
    for item in items:
        if len(buffer) < min(size, count):
            buffer.append(item)
            continue
        at = int(rng.integers(len(buffer)))
        out, buffer[at] = buffer[at], item
        yield out
    for at in rng.permutation(len(buffer)):
        yield buffer[at]


def collate(views: list[Share], skipped: int = 0) -> Share:
    """Views as tensors with a leading dimension; `skipped` counts images left out of the share."""
    if not views:
        return {"skipped": skipped}
    arrays = {name: np.stack([view[name] for view in views]) for name in views[0] if name != "key"}
    share: Share = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if "key" in views[0]:
        share["key"] = [view["key"] for view in views]
    return share | {"skipped": skipped}


def train_batches(config: TrainStreamConfig, workers: int, pin_memory: bool = False) -> Iterator[dict[str, Any]]:
    """The rank's batches, from `start_epoch` on, as tensors: pixels uint8 (B, 3, S, S), label int64 (B,), and on `lt`
    rank (B, N) and affine float32 (B, 2, 3), on `rc` kept (B, K).

    `workers` loader processes; 0 reads in this one. Raises UserError for what a worker found wrong.
    """
    config = replace(config, lanes=max(1, min(workers, config.batch_of_rank)))
    shares = iter(_loader(TrainStream(config), min(workers, config.lanes)))
    for _ in range((config.epochs - config.start_epoch) * config.steps):
        parts = []
        for _ in range(config.lanes):
            part = next(shares)
            if "failure" in part:
                raise UserError(part["failure"])
            parts.append(part)
        yield join(parts, pin_memory)


def _loader(dataset: IterableDataset, workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_one_thread,
        collate_fn=_as_it_is,
        multiprocessing_context="fork" if workers else None,
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _as_it_is(share: Share) -> Share:
    return share


def join(parts: list[Share], pin_memory: bool = False) -> dict[str, Any]:
    """The shares of one step as one batch of tensors."""
    skipped = sum(part["skipped"] for part in parts)
    full = [part for part in parts if "label" in part]
    if not full:
        raise UserError("no image of a whole batch could be decoded")
    batch: dict[str, Any] = {"skipped": skipped}
    for name in full[0]:
        if name == "key":
            batch[name] = [key for part in full for key in part[name]]
        elif name != "skipped":
            tensor = full[0][name] if len(full) == 1 else torch.cat([part[name] for part in full])
            batch[name] = tensor.pin_memory() if pin_memory else tensor
    return batch


@dataclass(frozen=True)
class EvalStreamConfig:
    """view: what is shown of each image, at the model's own image size. grid, kept: of the model's own grid."""

    data: SplitData
    view: View
    batch_size: int
    grid: int
    kept: int
    max_pixels: int = images.MAX_PIXELS
    rank: int = 0
    num_ranks: int = 1


class EvalStream(IterableDataset):
    """Every sample once over all ranks and workers; each yields whole batches, the last one shorter."""

    def __init__(self, config: EvalStreamConfig):
        self.config = config

    def __iter__(self) -> Iterator[Share]:
        config, worker = self.config, get_worker_info()
        of_rank, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        lanes = even_lanes(config.data.counts, config.num_ranks * of_rank)
        views: list[Share] = []
        try:
            for piece in lanes[config.rank * of_rank + number]:
                for row, sample, tickets in config.data.read(piece.shard, piece.start, piece.stop):
                    views.append(self._view(piece.shard, row, sample, tickets))
                    if len(views) == config.batch_size:
                        yield collate(views)
                        views = []
            if views:
                yield collate(views)
        except UserError as error:
            yield {"failure": str(error)}

    def _view(self, shard: int, row: int, sample: Sample, tickets: ShardTickets | None) -> Share:
        config = self.config
        try:
            image = images.decode(sample.data, config.max_pixels)
        except images.UndecodableImage as error:
            raise UserError(
                f"image {sample.key} cannot be decoded: {error}; evaluate with --tickets to leave it out"
            ) from None
        width, height = image.size
        box = config.view.box(height, width)
        view: Share = {
            "pixels": images.to_array(images.render(image, config.view)),
            "label": sample.label,
            "key": sample.key,
            "place": np.array([shard, row]),
        }
        if tickets is not None:
            stored = config.data.stored_view
            view["rank"] = tickets.rank[row]
            view["affine"] = view_to_view(box_affine(box), box_affine(stored.box(height, width))).astype(np.float32)
            view["random"] = self._random(sample.key, tickets.rc[row])
        return view

    def _random(self, key: str, stored_k: np.ndarray) -> np.ndarray:
        """The manifest's stored random counterpart; on another grid than the manifest's, the same hash on that grid."""
        config, manifest = self.config, self.config.data.manifest
        if config.grid**2 == manifest.num_patches:
            return stored_k
        return random_subset(manifest.mask_seed, key, config.grid**2, config.kept)


def eval_batches(config: EvalStreamConfig, workers: int) -> Iterator[dict[str, Any]]:
    """The rank's part of a split in batches of tensors: pixels, label, key, place (shard, row); with a manifest also
    rank, affine and random."""
    for share in _loader(EvalStream(config), workers):
        if "failure" in share:
            raise UserError(share["failure"])
        yield join([share])
