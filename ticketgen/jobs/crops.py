"""Rows of the views that show the selector random crops of each image: crops:V and crops-mean:V.

Every pass of the selector (a crop, or the whole image) is a separate item, so that a batch may span images and an
image many batches: V does not matter for memory. Legend: N patches of a crop, V crops of an image, G cells along a side
of a crop's grid.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby

import numpy as np
from PIL import Image

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import Crop, stored_crops
from vit_tickets.pipeline.geometry.patches import (
    grid_side,
    pack_mask,
    random_subset,
    rank_by_value,
    rank_dtype,
    ticket_of,
)
from vit_tickets.pipeline.geometry.views import Box, View
from vit_tickets.pipeline.manifests.rows import AnyRow, CropRow, Layout, Row
from vit_tickets.ticketgen.engines.work import Progress, Settings, by_file, in_batches, on_pixels, open_image
from vit_tickets.ticketgen.jobs.mean import CropMean, covered
from vit_tickets.ticketgen.jobs.ranking import Plan, Selection
from vit_tickets.ticketgen.selection.selector import Selector


@dataclass(frozen=True, eq=False)
class _Opened:
    """An image and the crops that the selector sees of it: V drawn ones, and for crops-mean:V the whole if needed."""

    sample: Sample
    height: int = 0
    width: int = 0
    #: None if there is an error
    image: Image.Image | None = None
    crops: tuple[Crop, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class _Pass:
    """Crop `number` of an image; the only pass of an image with an error has no pixels."""

    opened: _Opened
    number: int = 0
    pixels: np.ndarray | None = None


Ranks = list[np.ndarray] | None  # of a crop, (N,) per plan; None with an error


def rank_crops(
    selector: Selector,
    samples: Iterable[Sample],
    selection: Selection,
    plans: list[Plan],
    layouts: list[Layout],
    settings: Settings,
    progress: Progress,
) -> list[list[AnyRow]]:
    """Rows of `samples`, in order, once per plan, for a view of V random crops.

    Decoded images in flight: at most as many as threads, and those whose crops are. Crops in flight: a few batches.

    Args:
        selection: its view is crops:V or crops-mean:V; its image size is the selector's.
        plans: what each stage keeps of a crop's patches.
        layouts: of the file of each plan.
    """
    side = selection.view.grid_scale * grid_side(selector.spec.num_patches)
    passes = in_batches(
        samples,
        lambda item: _render(item, selection.view),
        lambda group: _rank_group(selector, group, plans, selection.mask_seed),
        settings,
        selector.device.type == "cpu",
        split=lambda sample: _passes(_open(sample, selection, side)),
    )
    by_image = groupby(chain.from_iterable(passes), key=lambda ranked: ranked[0])
    rows = ([_rows(opened, [ranks for _, ranks in of], layouts, selection)] for opened, of in by_image)
    return by_file(rows, len(plans), progress)


def _open(sample: Sample, selection: Selection, side: int) -> _Opened:
    """Decode `sample` and draw its crops; crops-mean:V has a grid of `side` x `side` cells to cover."""
    try:
        image = open_image(sample, selection.max_pixels)
    except images.UndecodableImage as error:
        return _Opened(sample, error=str(error))
    width, height = image.size
    crops = stored_crops(selection.view, sample.key, height, width)
    if not selection.view.num_views and not covered(crops, height, width, side):
        crops.append(Crop((0.0, 0.0, float(width), float(height))))
    return _Opened(sample, height, width, image, tuple(crops))


def _passes(opened: _Opened) -> list[_Pass]:
    return [_Pass(opened, number) for number in range(max(1, len(opened.crops)))]


def _render(item: _Pass, view: View) -> _Pass:
    if item.opened.image is None:
        return item
    crop = item.opened.crops[item.number]
    square = crop.render(item.opened.image, view.image_size, view.interpolation)
    return replace(item, pixels=images.to_array(square))


def _rank_group(
    selector: Selector, group: list[_Pass], plans: list[Plan], mask_seed: int
) -> list[tuple[_Opened, Ranks]]:
    """The image of every pass, and the pass's ranks; without the pixels."""

    def ranks(alive: list[_Pass], pixels: np.ndarray) -> Iterator[list[np.ndarray]]:
        which = [(item.opened.sample.key, item.number) for item in alive]
        rankings = selector.rank(pixels, plans, False, which, mask_seed)
        return map(list, zip(*(ranking.rank_BN.numpy() for ranking in rankings), strict=True))

    return [(item.opened, found) for item, found in on_pixels(group, ranks)]


def _rows(opened: _Opened, passes: list[Ranks], layouts: list[Layout], selection: Selection) -> tuple[AnyRow, ...]:
    """The image's row for each layout, from the ranks of its passes."""
    if opened.error is not None:
        return tuple(layout.row(opened.sample.key, opened.sample.label, error=opened.error) for layout in layouts)
    ranks = zip(*passes, strict=True)  # by plan
    if selection.view.num_views:
        return tuple(_crop_row(opened, of_plan, layout) for of_plan, layout in zip(ranks, layouts, strict=True))
    return tuple(_mean_row(opened, of_plan, layout, selection) for of_plan, layout in zip(ranks, layouts, strict=True))


def _crop_row(opened: _Opened, ranks: Iterable[np.ndarray], layout: Layout) -> CropRow:
    """crops:V: a mask per crop, and its rank where the layout has it."""
    ranks = list(ranks)
    return CropRow(
        opened.sample.key,
        opened.sample.label,
        opened.height,
        opened.width,
        boxes=[whole_box(crop.box) for crop in opened.crops],
        flips=[crop.flip for crop in opened.crops],
        masks=[pack_mask(rank_N < layout.kept) for rank_N in ranks],
        ranks=[rank_N.astype(rank_dtype(len(rank_N))) for rank_N in ranks] if layout.crop_ranks else None,
    )


def whole_box(box: Box) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = map(int, box)
    return x0, y0, x1, y1


def _mean_row(opened: _Opened, ranks: Iterable[np.ndarray], layout: Layout, selection: Selection) -> Row:
    """crops-mean:V: one rank on a finer grid of the whole image."""
    mean = CropMean(opened.height, opened.width, grid_side(layout.num_patches))
    whole_GG, num_crops = None, selection.view.num_crops or 0
    for number, (crop, rank_N) in enumerate(zip(opened.crops, ranks, strict=True)):
        side = grid_side(len(rank_N))
        value_GG = (1 - rank_N / len(rank_N)).reshape(side, side)
        if number < num_crops:
            mean.add(crop, value_GG)
        else:
            whole_GG = value_GG
    value_N, key = mean.mean(whole_GG), opened.sample.key
    rank_N = rank_by_value(value_N).astype(rank_dtype(layout.num_patches))
    return Row(
        key,
        opened.sample.label,
        opened.height,
        opened.width,
        rank_N=rank_N,
        ticket_k=ticket_of(rank_N, layout.kept),
        random_k=random_subset(selection.mask_seed, key, layout.num_patches, layout.kept),
        score_N=value_N,
    )
