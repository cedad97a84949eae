"""Batches of evaluation views: every sample of a split exactly once, for any number of ranks and workers."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.patches import random_subset
from vit_tickets.pipeline.geometry.views import View, box_affine, view_to_view
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.batches import EvalBatch, Share, ViewFields
from vit_tickets.train.data.loader import shares_of
from vit_tickets.train.data.plan import even_parts
from vit_tickets.train.data.split import ShardRows, SplitData


@dataclass(frozen=True)
class EvalStreamConfig:
    """What is evaluated, and this rank's part of it."""

    data: SplitData
    #: What is shown of each image, at the model's own image size.
    view: View
    batch_size: int
    #: Side of the model's own grid.
    grid: int
    #: Patches that a sparse evaluation keeps of it.
    kept: int
    #: Images with more pixels are not decoded.
    max_pixels: int = images.MAX_PIXELS
    #: Leave out images that cannot be decoded instead of raising.
    skip_errors: bool = False
    #: End of the message for an image that cannot be decoded.
    hint: str = "evaluate with --tickets to leave it out"
    rank: int = 0
    num_ranks: int = 1


class EvalStream(IterableDataset[Share[EvalBatch]]):
    """Every sample once over all ranks and workers; each yields whole batches, the last one shorter."""

    def __init__(self, config: EvalStreamConfig):
        self.config = config

    def __iter__(self) -> Iterator[Share[EvalBatch]]:
        config, worker = self.config, get_worker_info()
        of_rank, number = (1, 0) if worker is None else (worker.num_workers, worker.id)
        lanes = even_parts(config.data.counts, config.num_ranks * of_rank)
        views: list[ViewFields] = []
        try:
            for shard, members in lanes[config.rank * of_rank + number]:
                for row, sample, stored in config.data.read(shard, members):
                    if (view := self._view(shard, row, sample, stored)) is not None:
                        views.append(view)
                    if len(views) == config.batch_size:
                        yield Share(EvalBatch.of(views))
                        views = []
            if views:
                yield Share(EvalBatch.of(views))
        except UserError as error:
            yield Share(failure=error)

    def _view(self, shard: int, row: int, sample: Sample, stored: ShardRows | None) -> ViewFields | None:
        """The fields of one image's view; None if it cannot be decoded and is to be left out."""
        config = self.config
        try:
            image = images.decode(sample.data, config.max_pixels)
        except images.UndecodableImage as error:
            if config.skip_errors:
                return None
            raise UserError(f"image {sample.key} cannot be decoded: {error}; {config.hint}") from None
        width, height = image.size
        box = config.view.box(height, width)
        pixels = images.to_array(images.render(image, config.view))
        label = cast(int, sample.label)  # SplitData.read has checked it
        view: ViewFields = {"pixels": pixels, "label": label, "key": sample.key, "place": [shard, row]}
        if stored is None or stored.rank is None or stored.rc is None:
            return view
        affine = view_to_view(box_affine(box), box_affine(config.data.stored_view.box(height, width)))
        view |= {"rank": stored.rank[row], "affine": affine.astype(np.float32)}
        view |= {"random": self._random(sample.key, stored.rc[row])}
        if stored.given is not None and config.data.given is not None:
            affine = view_to_view(box_affine(box), box_affine(config.data.given.view.box(height, width)))
            view |= {"given": stored.given[row], "given_affine": affine.astype(np.float32)}
        return view

    def _random(self, key: str, stored_k: np.ndarray) -> np.ndarray:
        """The stored random subset; on another grid than the manifest's, the subset of the same hash on that grid."""
        config, manifest = self.config, self.config.data.manifest
        if manifest is None or config.grid == manifest.grid_of(config.data.split):
            return stored_k
        return random_subset(manifest.mask_seed, key, config.grid**2, config.kept)


def eval_batches(config: EvalStreamConfig, workers: int) -> Generator[EvalBatch, None, None]:
    """The rank's part of a split, read by `workers` loader processes; 0 reads in this one.

    Raises UserError for what a worker found wrong, WorkFailed if a worker died.
    """
    return (share.batch for share in shares_of(EvalStream(config), workers) if share.batch is not None)
