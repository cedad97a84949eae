"""Rows of the views that show the selector random crops of each image: crops:V and crops-mean:V.

Every pass of the selector (a crop, or the whole image) is an item of its own, so that a batch may span images and an
image many batches: V does not matter for memory. Legend: N patches of a crop, V crops of an image.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import Crop, stored_crops
from vit_tickets.pipeline.geometry.patches import grid_side, pack_mask, random_subset, rank_dtype, ticket_of
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.manifest import CROP_RANKS
from vit_tickets.pipeline.manifests.rows import AnyRow, CropRow, Row
from vit_tickets.ticketgen.engines.work import Progress, Settings, groups, map_ordered, pools
from vit_tickets.ticketgen.jobs.mean import CropMean, covered, rank_by_value
from vit_tickets.ticketgen.selection.selector import Selector


@dataclass(frozen=True)
class _Opened:
    """An image and the crops that the selector is to see of it: the V drawn ones, and the whole where `mean` needs it.

    Without `image` there is an `error`, and one pass that yields nothing.
    """

    sample: Sample
    size: tuple[int, int] = (0, 0)  # height, width
    image: Image.Image | None = None
    crops: tuple[Crop, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class _Pass:
    opened: _Opened
    number: int = 0
    pixels: np.ndarray | None = None


class _Collector(Protocol):
    """What becomes of one image's rankings under one plan."""

    def add(self, number: int, rank_N: np.ndarray) -> None:
        """Take in the ranking of the crop `number`."""

    def row(self, key: str, label: int | None, height: int, width: int) -> AnyRow:
        """The image's row."""


class _Masks:
    """crops:V: a mask per crop, and its rank where asked for."""

    def __init__(self, opened: _Opened, kept: int, ranks: bool):
        self.crops, self.kept = opened.crops, kept
        self.masks: list[bytes] = []
        self.ranks: list[np.ndarray] | None = [] if ranks else None

    def add(self, number: int, rank_N: np.ndarray) -> None:
        self.masks.append(pack_mask(rank_N < self.kept))
        if self.ranks is not None:
            self.ranks.append(rank_N.astype(rank_dtype(len(rank_N))))

    def row(self, key: str, label: int | None, height: int, width: int) -> CropRow:
        boxes = [tuple(int(edge) for edge in crop.box) for crop in self.crops]
        flips = [crop.flip for crop in self.crops]
        return CropRow(key, label, height, width, boxes, flips, self.masks, self.ranks)


class _Mean:
    """crops-mean:V: one rank on a finer grid of the whole image."""

    def __init__(self, opened: _Opened, num_crops: int, num_cells: int, kept: int, mask_seed: int):
        self.crops, self.num_crops = opened.crops, num_crops
        self.num_cells, self.kept, self.mask_seed = num_cells, kept, mask_seed
        self.mean = CropMean(*opened.size, grid_side(num_cells))
        self.whole_GG: np.ndarray | None = None

    def add(self, number: int, rank_N: np.ndarray) -> None:
        side = grid_side(len(rank_N))
        value_GG = (1 - rank_N / len(rank_N)).reshape(side, side)
        if number < self.num_crops:
            self.mean.add(self.crops[number], value_GG)
        else:
            self.whole_GG = value_GG

    def row(self, key: str, label: int | None, height: int, width: int) -> Row:
        value_N = self.mean.mean(self.whole_GG)
        rank_N = rank_by_value(value_N).astype(rank_dtype(self.num_cells))
        return Row(
            key,
            label,
            height,
            width,
            rank_N=rank_N,
            ticket_k=ticket_of(rank_N, self.kept),
            random_k=random_subset(self.mask_seed, key, self.num_cells, self.kept),
            score_N=value_N,
        )


def rank_crops(
    selector: Selector,
    samples: Iterable[Sample],
    view: View,
    plans: list[tuple[int, ...]],
    records: list[dict[str, Any]],
    settings: Settings,
    progress: Progress,
) -> list[list[AnyRow]]:
    """Rows of `samples`, in order, once per plan, for a view of V random crops.

    Decoded images in flight: at most as many as threads, and those whose crops are. Crops in flight: a few batches.

    Args:
        view: crops:V or crops-mean:V; its image size is the selector's.
        plans: what each stage keeps of a crop's patches.
        records: the metadata of each plan's file: the counts that are true of it, and whether it holds ranks.
    """

    def collector(opened: _Opened, record: dict[str, Any]) -> _Collector:
        kept = record["counts"][-1]
        if view.num_views:
            return _Masks(opened, kept, record.get(CROP_RANKS, False))
        return _Mean(opened, view.num_crops, record["num_patches"], kept, settings.mask_seed)

    rows_by_plan: list[list[AnyRow]] = [[] for _ in plans]
    collectors: list[_Collector] = []
    with pools(settings.threads, selector.device.type == "cpu") as pool:
        opened = map_ordered(
            pool.decoders, lambda sample: _open(sample, view, selector, settings), samples, ahead=settings.threads
        )
        rendered = map_ordered(
            pool.decoders,
            lambda item: _render(item, view),
            _passes(opened),
            ahead=settings.batch_size * (pool.computing + 1),
        )
        results = map_ordered(
            pool.computers,
            lambda group: _rank_group(selector, group, plans, settings),
            groups(rendered, settings.batch_size),
            ahead=pool.computing + 1,
        )
        for item, ranks in (pair for result in results for pair in result):
            sample, (height, width) = item.opened.sample, item.opened.size
            if ranks is None:
                kind = CropRow if view.num_views else Row
                finished = [kind(sample.key, sample.label, error=item.opened.error) for _ in plans]
            else:
                if item.number == 0:
                    collectors = [collector(item.opened, record) for record in records]
                for collect, rank_N in zip(collectors, ranks, strict=True):
                    collect.add(item.number, rank_N)
                if item.number + 1 < len(item.opened.crops):
                    continue
                finished = [collect.row(sample.key, sample.label, height, width) for collect in collectors]
            for rows, row in zip(rows_by_plan, finished, strict=True):
                rows.append(row)
            progress(1, int(ranks is None))
    return rows_by_plan


def _open(sample: Sample, view: View, selector: Selector, settings: Settings) -> _Opened:
    try:
        image = images.decode(sample.data, settings.max_pixels)
    except images.UndecodableImage as error:
        return _Opened(sample, error=str(error))
    width, height = image.size
    crops = stored_crops(view, sample.key, height, width)
    if not view.num_views:
        side = view.grid_scale * grid_side(selector.spec.num_patches)
        if not covered(crops, height, width, side):
            crops.append(Crop((0.0, 0.0, float(width), float(height))))
    return _Opened(sample, (height, width), image, tuple(crops))


def _passes(opened: Iterable[_Opened]) -> Iterator[_Pass]:
    for item in opened:
        yield from (_Pass(item, number) for number in range(max(1, len(item.crops))))


def _render(item: _Pass, view: View) -> _Pass:
    if item.opened.image is None:
        return item
    crop = item.opened.crops[item.number]
    square = crop.render(item.opened.image, view.image_size, view.interpolation)
    return replace(item, pixels=images.to_array(square))


def _rank_group(
    selector: Selector, group: list[_Pass], plans: list[tuple[int, ...]], settings: Settings
) -> list[tuple[_Pass, list[np.ndarray] | None]]:
    """Every pass without its pixels, with its rank (N,) per plan; None where there are no pixels."""
    alive = [item for item in group if item.pixels is not None]
    rankings = []
    if alive:
        pixels = np.stack([item.pixels for item in alive])
        which = [(item.opened.sample.key, item.number) for item in alive]
        rankings = selector.rank(pixels, plans, False, which, settings.mask_seed)
    rows = iter(zip(*(ranking.rank_BN.numpy() for ranking in rankings), strict=True))
    return [(replace(item, pixels=None), None if item.pixels is None else list(next(rows))) for item in group]
