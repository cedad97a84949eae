"""How a worker processes a shard: decode, group, compute, rows. Tickets, crops and label maps share it."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image

from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.geometry import images
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.system.errors import WorkFailed

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[int, int], None]  # images done since the last call, errors among them


@dataclass(frozen=True)
class Settings:
    """How a worker processes a shard."""

    #: images per pass of the network
    batch_size: int
    #: threads that decode, and on a CPU as many that compute
    threads: int = 1


@dataclass(frozen=True)
class Batches:
    """Images per pass of the network, before it is known what computes."""

    #: by `--batch-size`
    asked: int | None
    #: where none is asked for
    on_gpu: int
    on_cpu: int

    def on(self, device: str) -> Settings:
        """The settings of a worker on `device`, cpu or cuda."""
        return Settings(self.asked or (self.on_cpu if device == "cpu" else self.on_gpu))


@dataclass(frozen=True)
class Pools:
    """Threads of a worker.

    Attributes:
        decoders: threads that decode.
        computers: threads that compute.
        computing: number of `computers`.
    """

    decoders: ThreadPoolExecutor
    computers: ThreadPoolExecutor
    computing: int


@contextlib.contextmanager
def pools(threads: int, on_cpu: bool) -> Iterator[Pools]:
    """Start `threads` decoding threads and as many computing threads (one on a GPU).

    On CPU a thread works through a whole batch with one arithmetic thread, so results do not depend on how many
    there are.
    """
    computing = threads if on_cpu else 1
    restore = torch.get_num_threads()
    try:
        if on_cpu:
            torch.set_num_threads(1)
        with (
            ThreadPoolExecutor(threads) as decoders,
            ThreadPoolExecutor(computing, initializer=torch.set_num_threads, initargs=(1,)) as computers,
        ):
            yield Pools(decoders, computers, computing)
    finally:
        torch.set_num_threads(restore)


def map_ordered(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` in threads, results in order, at most `ahead` items in flight."""
    items = iter(items)
    pending = deque(pool.submit(work, item) for item in islice(items, ahead))
    while pending:
        result = pending.popleft().result()
        pending.extend(pool.submit(work, item) for item in islice(items, 1))
        yield result


class HasPixels(Protocol):
    """`pixels` is None if there is an error."""

    @property
    def pixels(self) -> np.ndarray | None: ...


P = TypeVar("P", bound=HasPixels)


def groups(items: Iterable[P], batch_size: int) -> Iterator[list[P]]:
    """Runs of consecutive items, `batch_size` of them with pixels in each (the last may have fewer)."""
    group: list[P] = []
    alive = 0
    for item in items:
        group.append(item)
        alive += item.pixels is not None
        if alive == batch_size:
            yield group
            group, alive = [], 0
    if group:
        yield group


def in_batches(
    samples: Iterable[Any],
    decode: Callable[[Any], P],
    compute: Callable[[list[P]], list[R]],
    settings: Settings,
    on_cpu: bool,
    split: Callable[[Any], Iterable[Any]] | None = None,
) -> Iterator[list[R]]:
    """What `compute` makes of each group of decoded samples, in order.

    Decoding and (on CPU) arithmetic run in `settings.threads` threads each. At most a few batches are in flight.

    Args:
        split: makes several samples of each, which `decode` takes one by one; at most one in every thread is split.
    """
    with pools(settings.threads, on_cpu) as pool:
        ahead = pool.computing + 1
        if split is not None:
            samples = chain.from_iterable(map_ordered(pool.decoders, split, samples, ahead=settings.threads))
        decoded = map_ordered(pool.decoders, decode, samples, ahead=settings.batch_size * ahead)
        yield from map_ordered(pool.computers, compute, groups(decoded, settings.batch_size), ahead=ahead)


def on_pixels(group: list[P], compute: Callable[[list[P], np.ndarray], Iterable[R]]) -> Iterator[tuple[P, R | None]]:
    """Every item of `group` with what `compute` makes of those with pixels, and of these (B, 3, side, side); else None.

    `compute` gives one result per item with pixels, in order.
    """
    alive = [item for item in group if item.pixels is not None]
    pixels = [item.pixels for item in group if item.pixels is not None]
    results = iter(compute(alive, np.stack(pixels)) if pixels else ())
    for item in group:
        yield item, None if item.pixels is None else next(results)


class HasError(Protocol):
    @property
    def error(self) -> str | None: ...


F = TypeVar("F", bound=HasError)


def by_file(batches: Iterable[list[tuple[F, ...]]], num_files: int, progress: Progress) -> list[list[F]]:
    """The rows of each of `num_files` files, of batches of images with a row for each file."""
    files: list[list[F]] = [[] for _ in range(num_files)]
    for batch in batches:
        for rows in batch:
            for file, row in zip(files, rows, strict=True):
                file.append(row)
        progress(len(batch), sum(rows[0].error is not None for rows in batch))
    return files


@dataclass(frozen=True)
class Decoded:
    """A sample and its pixels (3, side, side) in a view, or the error instead."""

    sample: Sample
    height: int | None = None
    width: int | None = None
    pixels: np.ndarray | None = None
    error: str | None = None


def decode(sample: Sample, view: View, max_pixels: int) -> Decoded:
    """Decode `sample` and show it in `view`. Raises WorkFailed where the machine lacks memory or files for it."""
    try:
        image = open_image(sample, max_pixels)
    except images.UndecodableImage as error:
        return Decoded(sample, error=str(error))
    width, height = image.size
    return Decoded(sample, height, width, images.to_array(images.render(image, view)))


def open_image(sample: Sample, max_pixels: int) -> Image.Image:
    """`images.decode` of `sample`; a WorkFailed names its key."""
    try:
        return images.decode(sample.data, max_pixels)
    except WorkFailed as error:
        raise WorkFailed(f"{sample.key}: {error}") from None
