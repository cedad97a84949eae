"""Rows of the views that show the selector each image once."""

from collections.abc import Iterable
from dataclasses import dataclass

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.geometry.patches import random_subset, rank_dtype, ticket_of
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.rows import Row
from vit_tickets.pipeline.networks.vit import Ranking
from vit_tickets.ticketgen.engines.work import Decoded, Progress, Settings, by_file, decode, in_batches, on_pixels
from vit_tickets.ticketgen.selection.selector import Selector

Plan = tuple[int, ...]  # patches that each stage keeps


@dataclass(frozen=True)
class Selection:
    """What is selected of the images of a split."""

    #: what the selector sees
    view: View
    #: seed of the random subsets
    mask_seed: int = 0
    #: whether the selector's own predictions are stored
    predictions: bool = False
    #: images with more pixels become an error
    max_pixels: int = MAX_PIXELS


def rank_samples(
    selector: Selector,
    samples: Iterable[Sample],
    selection: Selection,
    plans: list[Plan],
    settings: Settings,
    progress: Progress,
) -> list[list[Row]]:
    """Rows of `samples`, in order, once per plan, for a view that is one square of each image."""
    batches = in_batches(
        samples,
        lambda sample: decode(sample, selection.view, selection.max_pixels),
        lambda group: _rank_group(selector, group, plans, selection),
        settings,
        selector.device.type == "cpu",
    )
    return by_file(batches, len(plans), progress)


def _rank_group(
    selector: Selector, group: list[Decoded], plans: list[Plan], selection: Selection
) -> list[tuple[Row, ...]]:
    """A row per plan of every image of a batch."""

    def places(alive, pixels):
        which = [(item.sample.key, 0) for item in alive]
        rankings = selector.rank(pixels, plans, selection.predictions, which, selection.mask_seed)
        return ([(ranking, place) for ranking in rankings] for place in range(len(alive)))

    return [
        tuple(
            _error(item) if found is None else _row(item, *found[number], plan[-1], selection)
            for number, plan in enumerate(plans)
        )
        for item, found in on_pixels(group, places)
    ]


def _error(item: Decoded) -> Row:
    return Row(item.sample.key, item.sample.label, error=item.error)


def _row(item: Decoded, ranking: Ranking, place: int, kept: int, selection: Selection) -> Row:
    """The row of the image at `place` of the ranked batch."""
    rank_N = ranking.rank_BN[place].numpy()
    num_patches = len(rank_N)
    rank_N = rank_N.astype(rank_dtype(num_patches))
    prediction = confidence = None
    if ranking.logits_BC is not None:
        probabilities_C = ranking.logits_BC[place].softmax(dim=0)
        prediction, confidence = int(probabilities_C.argmax()), float(probabilities_C.max())
    return Row(
        key=item.sample.key,
        label=item.sample.label,
        height=item.height,
        width=item.width,
        rank_N=rank_N,
        ticket_k=ticket_of(rank_N, kept),
        random_k=random_subset(selection.mask_seed, item.sample.key, num_patches, kept),
        score_N=ranking.score_BN[place].numpy(),
        prediction=prediction,
        confidence=confidence,
    )
