"""Rows from scores that were brought, of any view that shows the image each time whole or in crops."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import stored_crops
from vit_tickets.pipeline.geometry.patches import pack_mask, random_subset, rank_dtype, ticket_of
from vit_tickets.pipeline.manifests.rows import AnyRow, CropRow, Layout, Row
from vit_tickets.ticketgen.engines.work import Progress, Settings, by_file, map_ordered, open_image
from vit_tickets.ticketgen.jobs.crops import whole_box
from vit_tickets.ticketgen.jobs.ranking import Selection
from vit_tickets.ticketgen.scores.areas import Areas
from vit_tickets.ticketgen.scores.given import Scores
from vit_tickets.ticketgen.scores.reading import UnusableScores


def rank_given(
    scores: Scores,
    split: str,
    samples: Iterable[Sample],
    selection: Selection,
    layouts: list[Layout],
    settings: Settings,
    progress: Progress,
) -> list[list[AnyRow]]:
    """Rows of `samples`, in order, once per layout. Images are decoded for their sizes and errors alone."""

    def rows(sample: Sample) -> tuple[AnyRow, ...]:
        try:
            width, height = open_image(sample, selection.max_pixels).size
            areas = scores.areas(split, sample.key, height, width)
        except (images.UndecodableImage, UnusableScores) as error:
            return tuple(layout.row(sample.key, sample.label, error=str(error)) for layout in layouts)
        row = Row(sample.key, sample.label, height, width)
        if selection.view.num_views:
            return tuple(_crop_rows(row, scores, areas, selection, layouts))
        return tuple(_rows(row, scores, areas, selection, layouts))

    with ThreadPoolExecutor(settings.threads) as pool:
        ordered = map_ordered(pool, rows, samples, ahead=2 * settings.threads)
        return by_file(([each] for each in ordered), len(layouts), progress)


def _rows(row: Row, scores: Scores, areas: Areas, selection: Selection, layouts: list[Layout]) -> Iterator[Row]:
    height, width = row.height or 0, row.width or 0
    rank_N, score_N = scores.rank(areas, selection.view, height, width)
    rank_N = rank_N.astype(rank_dtype(len(rank_N)))
    for layout in layouts:
        yield replace(
            row,
            rank_N=rank_N,
            ticket_k=ticket_of(rank_N, layout.kept),
            random_k=random_subset(selection.mask_seed, row.key, len(rank_N), layout.kept),
            score_N=score_N.astype(np.float32),
        )


def _crop_rows(
    row: Row, scores: Scores, areas: Areas, selection: Selection, layouts: list[Layout]
) -> Iterator[CropRow]:
    crops = stored_crops(selection.view, row.key, row.height or 0, row.width or 0)
    ranks = [scores.rank_crop(areas, crop) for crop in crops]
    for layout in layouts:
        yield CropRow(
            row.key,
            row.label,
            row.height,
            row.width,
            boxes=[whole_box(crop.box) for crop in crops],
            flips=[crop.flip for crop in crops],
            masks=[pack_mask(rank_N < layout.kept) for rank_N in ranks],
            ranks=[rank_N.astype(rank_dtype(len(rank_N))) for rank_N in ranks] if layout.crop_ranks else None,
        )
