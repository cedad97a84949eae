"""Batches of training views, streamed from shards by loader workers.

A worker reads its lane's stretches of shards in order, decodes, crops and hands over its share of every step; the main
process joins the shares of a rank's workers. Memory per worker: at most `plan.WINDOW` undecoded samples (half as many
on average), one decoded image, the tickets of one shard, and `loader.PREFETCH` shares.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import keyed_rng
from vit_tickets.pipeline.geometry.patches import random_rank, rank_dtype
from vit_tickets.pipeline.geometry.views import box_affine, view_to_view
from vit_tickets.pipeline.manifests.crop_rows import CropRows
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.paths import PATHS
from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.data.batches import Share, TrainBatch, ViewFields
from vit_tickets.train.data.loader import shares_of
from vit_tickets.train.data.plan import Lane, Plan, Position
from vit_tickets.train.data.split import ShardRows, SplitData
from vit_tickets.train.views.augment import IDENTITY, Augment, AugmentedView
from vit_tickets.train.views.mixing import apart

START = Position()


@dataclass(frozen=True)
class TrainStreamConfig:
    """What a rank reads, and in how many lanes.

    Attributes:
        data: the images that take part, with tickets and label maps.
        path: training path; those that drop patches have ranks in their batches.
        augment: draws the views.
        batch_size: views of a step, of all ranks together.
        epochs: number of epochs.
        seed: of order and views.
        grid: side of the training view's grid of patches.
        mask_seed: seed of random subsets and of sampled tickets.
        rc: how a random subset is drawn: `fixed` per image on the view's own grid, `fresh` in every view, or `aligned`,
            fixed per image on the manifest's grid and sent through the view's geometry as a ticket is.
        sampled: whether views come with noise, by which their tickets are sampled.
        align: whether ranks follow crops, flips and operations; if not, they apply to whatever the view shows.
        repeats, views_per_decode: see `plan.Plan`.
        max_pixels: larger images are errors.
        skip_errors: leave out images that cannot be decoded, instead of raising.
        rank, num_ranks: this rank among all.
        lanes: lanes of this rank, one per loader worker.
        start: position to resume from.
    """

    data: SplitData
    path: str
    augment: Augment
    batch_size: int
    epochs: int
    seed: int
    grid: int
    mask_seed: int
    rc: str = "fixed"
    sampled: bool = False
    align: bool = True
    repeats: int = 1
    views_per_decode: int = 1
    max_pixels: int = images.MAX_PIXELS
    skip_errors: bool = False
    rank: int = 0
    num_ranks: int = 1
    lanes: int = 1
    start: Position = START

    @cached_property
    def plan(self) -> Plan:
        return Plan(self.data.counts, self.batch_size, self.seed, self.repeats, self.views_per_decode)

    @property
    def mixes_repeats(self) -> bool:
        """Whether batches are mixed that may have several views of an image."""
        recipe = self.augment.recipe
        return self.repeats > 1 and bool(recipe.mixup or recipe.cutmix or recipe.mix_token)

    @property
    def batch_of_rank(self) -> int:
        return self.batch_size // self.num_ranks

    def with_workers(self, workers: int) -> "TrainStreamConfig":
        """This stream read by `workers` loader processes, or by the calling one where that is 0."""
        return replace(self, lanes=max(1, min(workers, self.batch_of_rank)))


@dataclass(frozen=True)
class Stored:
    """What is stored about one image. Copies, so that one image keeps no shard in memory."""

    rank: np.ndarray | None = None  #: (N,), on path `lt`: of the image, or what it is given instead
    crops: CropRows | None = None  #: its crops with their masks
    classes: np.ndarray | None = None  #: (M * M, P), of label maps
    logits: np.ndarray | None = None  #: (M * M, P), of label maps

    @classmethod
    def of(cls, rows: ShardRows, index: int) -> "Stored":
        rank = rows.rank if rows.given is None else rows.given
        arrays = {"rank": rank, "classes": rows.classes, "logits": rows.logits}
        copies = {name: None if array is None else array[index].copy() for name, array in arrays.items()}
        return cls(crops=None if rows.crops is None else rows.crops.one(index), **copies)


class TrainStream(IterableDataset[Share[TrainBatch]]):
    """The shares of one lane per worker, step after step, epoch after epoch."""

    def __init__(self, config: TrainStreamConfig):
        self.config = config

    def __iter__(self) -> Iterator[Share[TrainBatch]]:
        config, worker = self.config, get_worker_info()
        number = 0 if worker is None else worker.id
        try:
            for epoch in range(config.start.epoch, config.epochs):
                done = config.start.segments if epoch == config.start.epoch else ()
                lane = config.plan.lane(epoch, done, config.num_ranks, config.lanes, config.rank, number)
                yield from self._shares(epoch, lane)
        except UserError as error:  # as data: a loader would wrap it in its own traceback
            yield Share(failure=error)

    def _shares(self, epoch: int, lane: Lane) -> Iterator[Share[TrainBatch]]:
        arriving, waiting = enumerate(self._raw(lane)), {}
        given, opened, visit = 0, None, -1
        counts = self.config.data.counts
        first_of_shard = np.cumsum(counts) - counts
        for share in lane.shares:
            views = []
            for number in range(given, given + share):
                if lane.visit_I[number] != visit:
                    visit = int(lane.visit_I[number])
                    while visit not in waiting:
                        index, raw = next(arriving)
                        waiting[index] = raw
                    sample, stored = waiting.pop(visit)
                    opened = self._decode(sample)
                if opened is not None:
                    view = self._view(epoch, int(lane.repeat_I[number]), sample, stored, opened)
                    if self.config.mixes_repeats:
                        view["image"] = first_of_shard[lane.shard_V[visit]] + lane.member_V[visit]
                    views.append(view)
            given += share
            yield Share(TrainBatch.of(views) if views else None, skipped=share - len(views))

    def _raw(self, lane: Lane) -> Iterator[tuple[Sample, Stored]]:
        """The samples of the lane's visits, with what is stored about them and used by the path."""
        columns = ("rank",) if self.config.path == "lt" and self.config.data.given is None else ()
        for shard, members in lane.stretches():
            for index, sample, rows in self.config.data.read(shard, members, columns):
                yield sample, Stored() if rows is None else Stored.of(rows, index)

    def _decode(self, sample: Sample) -> Image.Image | None:
        """The image; None if it cannot be decoded and is to be skipped."""
        try:
            return images.decode(sample.data, self.config.max_pixels)
        except images.UndecodableImage as error:
            if self.config.skip_errors:
                return None
            raise UserError(f"image {sample.key} cannot be decoded: {error}; pass --skip-errors to continue") from None

    def _view(self, epoch: int, repeat: int, sample: Sample, stored: Stored, image: Image.Image) -> ViewFields:
        """View `repeat` of an image in an epoch: values of the fields of `TrainBatch`."""
        config, crop, number = self.config, None, 0
        if stored.crops is not None:
            number = stored_view(epoch, repeat, config.repeats, stored.crops.flip_RV.shape[1])
            crop = stored.crops.crop(0, number)
        drawn = config.augment.view(image, keyed_rng(config.seed, epoch, repeat, sample.key), crop)
        label = cast(int, sample.label)  # SplitData.read has checked it
        fields: ViewFields = {"pixels": drawn.pixels, "label": label}
        if config.augment.recipe.erasing:
            fields["erased"] = drawn.erased
        if stored.classes is not None and stored.logits is not None:
            fields |= {"classes": stored.classes.astype(np.int32), "logits": stored.logits}
            fields["label_affine"] = _affine(drawn, box_affine((0.0, 0.0, image.width, image.height)))
            fields["label_through"] = drawn.through
        manifest = config.data.manifest
        if manifest is not None and PATHS[config.path].drops_patches:
            fields["rank"] = self._rank(manifest, f"{sample.key}:{epoch}:{repeat}", sample.key, stored, number)
            follows = config.path == "lt" or config.rc == "aligned"
            if follows and config.align:
                box = config.data.stored_view.box(image.height, image.width)
                fields["affine"] = _affine(drawn, crop.affine() if crop else box_affine(box))
            elif follows:
                fields["affine"] = IDENTITY
            if config.align:  # fill comes last in a random subset, too
                fields["through"] = drawn.through
            if config.sampled:
                rng = keyed_rng("sample", config.mask_seed, epoch, repeat, sample.key)
                fields["noise"] = rng.gumbel(size=config.grid**2).astype(np.float32)
        return fields

    def _rank(self, manifest: Manifest, name: str, key: str, stored: Stored, number: int) -> np.ndarray:
        """Ranks of a view: the ticket's, or random ones drawn by the name of the view or by the key of the image.

        number: of the stored crop, for masks of stored crops.
        """
        config = self.config
        if config.path == "rc":
            aligned = config.rc == "aligned"
            num_patches = manifest.num_patches_of(config.data.split) if aligned else config.grid**2
            rank_N = random_rank(config.mask_seed, name if config.rc == "fresh" else key, num_patches, number)
            return rank_N.astype(rank_dtype(num_patches))
        if stored.crops is not None:
            random_N = random_rank(config.mask_seed, key, stored.crops.num_patches, number)
            return mask_rank(stored.crops.ticket(0, number), random_N)
        if stored.rank is None:
            raise ValueError(f"image {key}: expected a stored rank, found none")
        return stored.rank


def _affine(drawn: AugmentedView, other: np.ndarray) -> np.ndarray:
    """Map from the drawn view's unit square to that of a view of affine map `other` (3, 3): float32 (2, 3)."""
    return view_to_view(drawn.affine, other).astype(np.float32)


def stored_view(epoch: int, repeat: int, repeats: int, num_views: int) -> int:
    """Which of an image's `num_views` stored crops a view takes: one after the other as epochs take the image, so that
    as many crops as epochs are all seen."""
    return (epoch // repeats * repeats + repeat) % num_views


def mask_rank(kept_k: np.ndarray, random_N: np.ndarray) -> np.ndarray:
    """A mask as a rank (N,): 0 for what is kept, from N / 2 on for the rest, so that fill and erased cells come last.

    Cells of the rest replace those in a random order, `random_N`: the mask says nothing of them, and equal ranks would
    be taken from the top left. A few steps suffice, near N / 2, so that between kept and dropped cells a value is still
    by how much of it is kept.
    """
    N = len(random_N)
    rest = np.setdiff1d(np.arange(N), kept_k)
    step_N = random_N[rest].argsort().argsort() * min(max(8, N // 16), N // 2) // max(1, len(rest))
    rank_N = np.zeros(N, dtype=rank_dtype(N))
    rank_N[rest] = N // 2 + step_N
    return rank_N


def train_batches(config: TrainStreamConfig, workers: int, pin_memory: bool = False) -> Iterator[TrainBatch]:
    """The rank's batches, from `config.start` on, read by `workers` loader processes; 0 reads in this one.

    Raises UserError for what a worker found wrong, WorkFailed if a worker died.
    """
    config = config.with_workers(workers)
    shares = shares_of(TrainStream(config), min(workers, config.lanes))
    for _ in range((config.epochs - config.start.epoch) * config.plan.steps - config.start.step):
        of_step = list(itertools.islice(shares, config.lanes))
        if len(of_step) < config.lanes:
            raise WorkFailed("a DataLoader worker ended before its last share; fewer --workers need less memory")
        parts = [share.batch for share in of_step if share.batch is not None]
        if not parts:
            raise UserError("expected images that can be decoded, found none in a whole batch")
        batch = replace(TrainBatch.join(parts), skipped=sum(share.skipped for share in of_step))
        if batch.image is not None:
            batch = batch.reordered(apart(batch.image))
        yield batch.pin_memory() if pin_memory else batch
