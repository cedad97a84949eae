"""Masks that tickets become on training views, against those that the selector chooses on them: see `fidelity.py`.

Legend: B views of a batch, N cells of a view's grid, V stored crops of an image.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from vit_tickets.pipeline.datasets.shards import Dataset, read_shard
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.crops import Crop, keyed_rng
from vit_tickets.pipeline.geometry.patches import Budget, grid_side, random_rank
from vit_tickets.pipeline.geometry.views import box_affine, view_to_view
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.crop_rows import read_crop_rows
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.networks import vit
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.ticketgen.engines.processor import resolve_device
from vit_tickets.ticketgen.selection.selector import Selector, SelectorSpec
from vit_tickets.train.data.batches import TrainBatch
from vit_tickets.train.loop.inputs import Preparation
from vit_tickets.train.recipes.presets import DEIT
from vit_tickets.train.recipes.recipe import Recipe
from vit_tickets.train.views.augment import Augment, AugmentedView

SPARSITIES = (0.27, 0.488, 0.75)
WHOLE = ("full", "full@2", "crops-mean:16")  # views whose ranks are of the whole image
CROPS = "crops:8"
PLAIN = {"rand_augment": None, "color_jitter": 0.0, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}
KINDS = {"crop": replace(DEIT, **PLAIN), "deit": DEIT}
SPLIT, SEED, CHUNK = "train", 0, 8
IDENTITY = np.eye(3, dtype=np.float32)[:2]


@dataclass(frozen=True)
class Agreement:
    """The IoU of a row with the online selector, its standard error, and how many views it is the mean of."""

    kind: str
    row: str
    sparsity: float
    iou: float
    error: float
    views: int


@dataclass(frozen=True)
class Ticket:
    """What is stored of an image: ranks of the whole image by view and sparsity, and its crops.

    masks, crop_ranks: by sparsity, of every crop, (V, N); a mask as ranks, so that it can be carried: 0 for the patches
    in the ticket, N / 2 for the others, which leaves room for places that show fill or nothing.
    """

    key: str
    image: Image.Image
    whole: dict[tuple[str, float], np.ndarray]
    crops: list[Crop]
    masks: dict[float, np.ndarray]
    crop_ranks: dict[float, np.ndarray]


# --- what is stored


def stored(dataset: Dataset, manifests: dict[str, dict[float, Manifest]]) -> Iterator[Ticket]:
    """The images of `dataset` with all that `manifests`, by view and sparsity, hold of them."""
    for shard in dataset.shards(SPLIT):
        whole = {}
        for name in WHOLE:
            for s, manifest in manifests[name].items():
                column = manifest.read(SPLIT, shard, ["rank"])["rank"]
                whole[name, s], _ = list_matrix(column, manifest.num_patches_of(SPLIT), manifest.root)
        rows, ranks = {}, {}
        for s, manifest in manifests[CROPS].items():
            table = manifest.read(SPLIT, shard)
            views = manifest.view(SPLIT).num_views
            rows[s] = read_crop_rows(table, views, manifest.num_patches, manifest.root)
            flat = pa.chunked_array([table["rank"].combine_chunks().flatten()])
            ranks[s] = list_matrix(flat, manifest.num_patches, manifest.root)[0].reshape(len(table), views, -1)
        for row, sample in enumerate(read_shard(dataset.path_of(shard))):
            yield Ticket(
                sample.key,
                images.decode(sample.data),
                {name: matrix[row] for name, matrix in whole.items()},
                [rows[SPARSITIES[0]].crop(row, number) for number in range(views)],
                {s: as_ranks(of.masks(row)) for s, of in rows.items()},
                {s: of[row] for s, of in ranks.items()},
            )


def as_ranks(mask: np.ndarray) -> np.ndarray:
    """Ranks that say no more than a mask (..., N): 0 in the ticket, N / 2 outside."""
    return np.where(mask, 0, mask.shape[-1] // 2).astype(np.int64)


# --- what is kept of a view


class Trainer:
    """The trainer's augmentation and preparation of batches, for views of a selector's size by `recipe`."""

    def __init__(self, recipe: Recipe, spec: SelectorSpec, device: str):
        view = spec.view("center")
        self.interpolation = view.interpolation
        self.side, self.grid = spec.image_size, spec.image_size // spec.patch_size
        self.augment = Augment(recipe, self.side, view.mean)
        uncropped = replace(recipe, crop_scale=1.0, hflip=0.0)
        self.further = replace(self.augment, recipe=uncropped)  # all but the crop and the flip
        run = SimpleNamespace(
            path="lt",
            online=None,
            recipe=recipe,
            config=RunConfig(seed=SEED, num_classes=1000),
            image_size=self.side,
            grid=self.grid,
            eval_view=view,
        )
        self.prepare = Preparation(run, device)

    def view(self, ticket: Ticket, number: int) -> AugmentedView:
        """View `number` of the image, as the training stream draws it."""
        return self.augment.view(ticket.image, keyed_rng(SEED, 0, number, ticket.key))

    def crop_view(self, ticket: Ticket, number: int, crop_number: int) -> AugmentedView:
        """View `number`, in which a stored crop stands in the place of the random one."""
        shown = ticket.crops[crop_number].render(ticket.image, self.side, self.interpolation)
        return self.further.view(shown, keyed_rng(SEED, 0, number, ticket.key))

    def batch(self, views: list[AugmentedView], **arrays: list[np.ndarray]) -> TrainBatch:
        """A batch of the training stream: `views`, and what of `arrays` (by name, one for each view) is given."""
        arrays |= {"pixels": [view.pixels for view in views], "label": [np.array(0) for _ in views]}
        if self.augment.recipe.erasing:
            arrays["erased"] = [view.erased for view in views]
        return TrainBatch(**{name: torch.from_numpy(np.stack(values)) for name, values in arrays.items()})

    def images(self, views: list[AugmentedView], step: int) -> Tensor:
        """What the model sees of `views` in `step`."""
        torch.manual_seed(step)
        return self.prepare(self.batch(views), step, 0, 0).images

    def kept(self, views: list[AugmentedView], step: int, count: int, **arrays: list[np.ndarray]) -> Tensor:
        """Which cells of `views` are kept in `step`, bool (B, N), given their ranks and maybe geometry."""
        kept_BK = self.prepare(self.batch(views, **arrays), step, 0, count).kept_BK.cpu()
        return torch.zeros(len(views), self.grid**2, dtype=torch.bool).scatter_(1, kept_BK, True)


@dataclass(frozen=True)
class Draw:
    """View `number` of each of two images, mixed with each other in `step`."""

    pair: tuple[Ticket, Ticket]
    number: int
    step: int


# What the model sees of a draw, (2, 3, S, S), and by row the masks, bool (sparsities, 2, N).
Made = tuple[Tensor, dict[str, Tensor]]


def on_random_views(trainer: Trainer, draw: Draw, counts: dict[float, int]) -> Made:
    """What becomes of the tickets of whole images, and of the random counterpart."""
    pair, step = draw.pair, draw.step
    views = [trainer.view(ticket, draw.number) for ticket in pair]
    wholes = [box_affine((0, 0, *ticket.image.size)) for ticket in pair]
    carried = geometry(views, wholes)
    hashed = [random_rank(SEED, ticket.key, trainer.grid**2) for ticket in pair]
    masks: dict[str, list[Tensor]] = {name: [] for name in ("naive", "no-align", *WHOLE, "chance")}
    for s, count in counts.items():
        ranks = {name: [ticket.whole[name, s] for ticket in pair] for name in WHOLE}
        masks["naive"].append(trainer.kept(views, step, count, rank=ranks["full"]))
        masks["no-align"].append(trainer.kept(views, step, count, rank=ranks["full"], affine=[IDENTITY] * 2))
        for name in WHOLE:
            masks[name].append(trainer.kept(views, step, count, rank=ranks[name], **carried))
        masks["chance"].append(trainer.kept(views, step, count, rank=hashed))
    return trainer.images(views, step), {name: torch.stack(of) for name, of in masks.items()}


def on_stored_crops(trainer: Trainer, draw: Draw, counts: dict[float, int]) -> Made:
    """What becomes of the tickets of stored crops, where views are drawn from these."""
    pair, step = draw.pair, draw.step
    crops = [int(keyed_rng("crop", SEED, draw.number, ticket.key).integers(len(ticket.crops))) for ticket in pair]
    views = [trainer.crop_view(ticket, draw.number, crop) for ticket, crop in zip(pair, crops, strict=True)]
    carried = geometry(views, [box_affine((0, 0, trainer.side, trainer.side))] * 2)
    masks: dict[str, list[Tensor]] = {CROPS: [], f"{CROPS} + ranks": []}
    for s, count in counts.items():
        by_row = [[ticket.masks[s][crop] for ticket, crop in zip(pair, crops, strict=True)]]
        by_row.append([ticket.crop_ranks[s][crop] for ticket, crop in zip(pair, crops, strict=True)])
        for of, rank in zip(masks.values(), by_row, strict=True):
            of.append(trainer.kept(views, step, count, rank=rank, **carried))
    return trainer.images(views, step), {name: torch.stack(of) for name, of in masks.items()}


def geometry(views: list[AugmentedView], stored_affines: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What the training stream says of the geometry of `views`, given the maps of what is stored to the same pixels."""
    affines = [view_to_view(view.affine, of).astype(np.float32) for view, of in zip(views, stored_affines, strict=True)]
    return {"affine": affines, "through": [view.through for view in views]}


# --- the comparison


def online(selector: Selector, inputs: Tensor, plans: list[tuple[int, ...]], mirrored: bool = False) -> Tensor:
    """What the selector itself keeps of normalised `inputs`, bool (plans, B, N); `mirrored`: of their mirror images,
    mirrored back."""
    seen, masks = inputs.flip(3) if mirrored else inputs, []
    rankings = vit.identify_tokens(selector.network, seen, selector.spec.stages, plans)
    for ranking, plan in zip(rankings, plans, strict=True):
        mask_BN = (ranking.rank_BN < plan[-1]).cpu()
        side = grid_side(mask_BN.shape[1])
        masks.append(mask_BN.view(-1, side, side).flip(2).flatten(1) if mirrored else mask_BN)
    return torch.stack(masks)


def iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """Intersection over union of masks (..., N)."""
    return (ours & theirs).sum(dim=-1) / (ours | theirs).sum(dim=-1)


def compare(selector: Selector, plans: list[tuple[int, ...]], made: list[Made], ceiling: bool) -> dict[str, Tensor]:
    """By row the IoU with the online selector, (sparsities, images)."""
    inputs = torch.cat([part for part, _ in made])
    theirs = online(selector, inputs, plans)
    found = {name: iou(torch.cat([masks[name] for _, masks in made], dim=1), theirs) for name in made[0][1]}
    return found | ({"ceiling": iou(online(selector, inputs, plans, mirrored=True), theirs)} if ceiling else {})


def measure(
    dataset: Dataset,
    spec: SelectorSpec,
    manifests: dict[str, dict[float, Manifest]],
    num_views: int = 1,
    kinds: dict[str, Recipe] = KINDS,
    progress: bool = True,
) -> list[Agreement]:
    """All rows of all `kinds` over the pairs of images of `dataset`; an odd one is left out."""
    with Bar(total=dataset.samples(SPLIT) // 2 * 2, desc="fidelity", unit="img", disable=not progress) as bar:
        values = all_values(stored(dataset, manifests), spec, num_views, kinds, bar)
    return [
        agreement(kind, row, s, of_row)
        for (kind, row), by_sparsity in values.items()
        for s, of_row in zip(SPARSITIES, by_sparsity, strict=True)
    ]


def all_values(
    tickets: Iterator[Ticket], spec: SelectorSpec, num_views: int, kinds: dict[str, Recipe], bar: Bar
) -> dict[tuple[str, str], Tensor]:
    """By kind and row the IoU of every view, (sparsities, pairs, views of both images)."""
    device = resolve_device("auto")
    selector = Selector(spec, device)
    plans = [Budget(s).stage_counts(spec.num_patches, len(spec.stages)) for s in SPARSITIES]
    counts = {s: plan[-1] for s, plan in zip(SPARSITIES, plans, strict=True)}
    trainers = {kind: Trainer(recipe, spec, device) for kind, recipe in kinds.items()}
    found: dict[tuple[str, str], list[Tensor]] = {}
    first = 0
    while pairs := list(islice(zip(tickets, tickets, strict=False), CHUNK)):
        draws = [
            Draw(pair, number, num_views * (first + place) + number)
            for place, pair in enumerate(pairs)
            for number in range(num_views)
        ]
        for kind, trainer in trainers.items():
            rows = compare(selector, plans, [on_random_views(trainer, draw, counts) for draw in draws], True)
            rows |= compare(selector, plans, [on_stored_crops(trainer, draw, counts) for draw in draws], False)
            for row, values in rows.items():
                found.setdefault((kind, row), []).append(values.view(len(SPARSITIES), len(pairs), -1))
        first += len(pairs)
        bar.update(2 * len(pairs))
    return {name: torch.cat(chunks, dim=1) for name, chunks in found.items()}


def agreement(kind: str, row: str, sparsity: float, values: Tensor) -> Agreement:
    """The mean of `values` (pairs, views of both images); its error takes pairs alone to be independent."""
    of_pair = values.double().mean(dim=1)
    error = float(of_pair.std() / len(of_pair) ** 0.5) if len(of_pair) > 1 else float("nan")
    return Agreement(kind, row, sparsity, float(of_pair.mean()), error, values.numel())
