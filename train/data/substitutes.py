"""Tickets in place of an image's own, to test whether tickets are of their images: one fixed mask, or another image's.

Legend: n images that take part, N patches of the manifest's grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Shard
from vit_tickets.pipeline.geometry.patches import rank_by_value, rank_dtype
from vit_tickets.pipeline.geometry.view_records import read_view
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.folds import hash_word
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.runs.config import RunConfig
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError, say
from vit_tickets.train.runtime.distributed import is_main_process


@dataclass(frozen=True)
class Images:
    """The images of a split that take part, with the manifest of their tickets."""

    manifest: Manifest
    split: str
    shards: Sequence[Shard]
    #: For each shard, which samples take part: bool (samples,), or None for all.
    members: Sequence[np.ndarray | None]

    def places(self) -> list[np.ndarray]:
        """For each shard, the samples that take part, ascending."""
        pairs = zip(self.shards, self.members, strict=True)
        return [np.arange(shard.samples) if mask is None else np.flatnonzero(mask) for shard, mask in pairs]

    def tickets(self, columns: tuple[str, ...] = ()) -> Iterator[tuple[np.ndarray, pa.Table]]:
        """Shard after shard: the ranks of the images that take part, uint8 or uint16 (images, N), and `columns`."""
        num_patches, places = self.manifest.num_patches_of(self.split), self.places()
        pairs = list(zip(self.shards, places, strict=True))
        for shard, place in Bar(
            pairs, desc=f"tickets of {self.split}", unit="shard", delay=1, disable=not is_main_process()
        ):
            if len(place):
                table = self.manifest.read(self.split, shard, ["rank", *columns])
                path = self.manifest.path_of(self.split, shard)
                yield list_matrix(table["rank"], num_patches, path)[0][place], table.select(list(columns)).take(place)


@dataclass(frozen=True)
class Given:
    """The ranks that images get. Loader workers share them, as they are made before these are forked."""

    rank_MN: np.ndarray  #: uint8 or uint16: different ranks
    rows: Sequence[np.ndarray]  #: for each shard, the row of every sample in `rank_MN`; 0 for those that take no part
    view: View  #: that the ranks belong to

    def of_shard(self, number: int) -> np.ndarray:
        """The ranks of the samples of a shard: (samples, N)."""
        return self.rank_MN[self.rows[number]]


@dataclass(frozen=True)
class FixedMask:
    """One mask for all images."""

    rank_N: np.ndarray
    view: View  #: whose cells it is of

    def record(self) -> dict[str, Any]:
        """Entries `GIVEN` of predictions."""
        return {"ticket": "mean"}

    def among(self, images: Images) -> Given:
        return Given(self.rank_N[None], [np.zeros(shard.samples, np.int32) for shard in images.shards], self.view)


@dataclass(frozen=True)
class Swap:
    """Every image gets another one's ticket, and its own goes to another one: a fixed derangement.

    The images follow each other in the order of a hash of `seed` and key, and each gets the ticket of the next. So it
    depends on no order of files, ranks or workers.
    """

    seed: int
    within_class: bool = False

    def record(self) -> dict[str, Any]:
        """Entries `GIVEN` of predictions."""
        return {"ticket": "class-swapped" if self.within_class else "swapped", "swap_seed": self.seed}

    def among(self, images: Images) -> Given:
        """Raises UserError where there are not two images. Holds N bytes for each (2 N of grids with over 256 patches):
        250 MB for 1.28 million images and 196 patches, once for all workers of a rank."""
        places = images.places()
        n, N = sum(map(len, places)), images.manifest.num_patches_of(images.split)
        if n < 2:
            raise UserError(f"--ticket: expected two or more images of {images.split} to swap tickets, found {n}")
        rank_nN, word_n, label_n = np.empty((n, N), rank_dtype(N)), np.empty(n, np.uint64), np.empty(n, np.int64)
        done = 0
        for rank_RN, table in images.tickets(("key", "label")):
            part = slice(done, done := done + len(rank_RN))
            rank_nN[part], label_n[part] = rank_RN, table["label"].to_numpy()
            word_n[part] = [hash_word(f"swap:{self.seed}:{key}") for key in table["key"].to_pylist()]
        donor_n = derangement(word_n, label_n if self.within_class else None)
        if self.within_class and (alone := int((label_n[donor_n] != label_n).sum())):
            what = "are alone in their class and get a ticket of another one"
            say(f"--ticket class-swapped: {alone:,} of {n:,} images {what}")
        rows, first = [np.zeros(shard.samples, np.int32) for shard in images.shards], 0
        for of_shard, place in zip(rows, places, strict=True):
            of_shard[place] = donor_n[first : first + len(place)]
            first += len(place)
        return Given(rank_nN, rows, images.manifest.view(images.split))


def derangement(word_n: np.ndarray, label_n: np.ndarray | None = None) -> np.ndarray:
    """For each of n images another one, int64 (n,): the next by `word_n`, and after the last the first.

    With labels it is the next of its label; images that are alone in theirs get the next one of all. Without such
    images, it is a permutation.
    """
    n = len(word_n)
    next_n = _next(np.argsort(word_n, kind="stable"), np.zeros(n, np.int64))
    if label_n is None:
        return next_n
    within_n = _next(np.lexsort((word_n, label_n)), label_n)
    return np.where(within_n == np.arange(n), next_n, within_n)


def _next(order_n: np.ndarray, label_n: np.ndarray) -> np.ndarray:
    """For each image the next in `order_n` of its label, and for the last the first of it."""
    first_n = np.flatnonzero(np.diff(label_n[order_n], prepend=-1) != 0)  # places in the order
    following = np.roll(order_n, -1)
    following[np.append(first_n[1:], len(order_n)) - 1] = order_n[first_n]
    next_n = np.empty(len(order_n), np.int64)
    next_n[order_n] = following
    return next_n


def mean_rank(images: Images, kept: int) -> np.ndarray:
    """The mean keep map as a rank, `rank_dtype` (N,): 0 for the cell that most tickets of `kept` patches hold.

    Cells that are held equally often follow by index.
    """
    N = images.manifest.num_patches_of(images.split)
    held_N = np.zeros(N, np.int64)
    for rank_RN, _ in images.tickets():
        held_N += (rank_RN < kept).sum(axis=0)
    return rank_by_value(held_N).astype(rank_dtype(N))


def substitute_of(config: RunConfig, to_test: bool = False) -> FixedMask | Swap | None:
    """What a run's images get in place of their tickets; None for their own.

    to_test: the same for images that it is tested on, which never get a ticket that was chosen by their label.
    """
    if config.ticket == "mean":
        return FixedMask(*_recorded_mask(config))
    if config.ticket == "swapped" or (config.ticket == "class-swapped" and not to_test):
        return Swap(config.mask_seed or 0, config.ticket == "class-swapped")
    return None


def packed(rank_N: np.ndarray) -> str:
    """A rank as config.json holds it."""
    return " ".join(map(str, rank_N.tolist()))


def _recorded_mask(config: RunConfig) -> tuple[np.ndarray, View]:
    words = (config.mean_rank or "").split()
    if sorted(words) != sorted(map(str, range(len(words)))) or not words:
        raise UserError("mean_rank: expected the rank of every patch of the mean ticket, found others")
    entries = config.tickets.entries if config.tickets else {}
    view = read_view(entries.get("view"), entries.get("preprocessing"))
    return np.array(list(map(int, words)), rank_dtype(len(words))), view
