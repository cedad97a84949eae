"""Write the shards of a split in a fixed random order that mixes the classes; those that are there are kept."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import PIL

from vit_tickets.pipeline.datasets.index import Shard
from vit_tickets.pipeline.datasets.pack.journal import Finished, Journal
from vit_tickets.pipeline.datasets.pack.spill import spilled
from vit_tickets.pipeline.datasets.shards import Sample, write_shard
from vit_tickets.pipeline.datasets.sources.split import Split
from vit_tickets.pipeline.geometry.images import UndecodableImage, shrink
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

ORDER_SEED = 0


@dataclass(frozen=True)
class Storing:
    """How the samples of a source are stored."""

    source: str
    classes: list[str]
    shorter_side: int | None = None
    quality: int = 90


@dataclass
class Writing:
    """Writes the split `split` of the dataset at `root` from `part`, with `shard_size` samples per tar."""

    part: Split
    root: str
    split: str
    shard_size: int
    storing: Storing
    #: is called with the number of samples of each shard
    advance: Callable[[int], object]
    #: shards that an earlier call had finished
    kept: int = 0
    #: keys of the images that should have been shrunk but could not be decoded
    unshrunk: list[str] = field(default_factory=list)

    def run(self) -> list[Shard]:
        """Write what is missing. Raises UserError if there is no sample."""
        self._journal = Journal(self.root, self.split)
        self._stop = threading.Event()
        self._order = np.random.default_rng(ORDER_SEED).permutation(len(self.part))
        self._count = -(-len(self._order) // self.shard_size)
        shards = []
        for finished in self._by_several() if self.part.readers else self._in_sequence():
            if finished.shard.samples:
                shards.append(finished.shard)
                self.unshrunk += finished.unshrunk
                self.advance(finished.shard.samples)
        if not shards:
            raise UserError(f"expected samples in split {self.split}, found none")
        return shards

    def finish(self) -> None:
        """Forget what was kept for an interruption."""
        self._journal.remove()

    def _by_several(self) -> Iterator[Finished]:
        """The shards, each read and written by one of several threads."""
        if self._count:
            yield self._shard(0)  # computes what the threads share
        pool = ThreadPoolExecutor(self.part.readers)
        try:
            yield from pool.map(self._shard, range(1, self._count))
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _shard(self, number: int) -> Finished:
        order = self._order[number * self.shard_size : (number + 1) * self.shard_size]
        stamp = self._stamp(order, self.part.stamp(order.tolist()))
        return self._known(number, stamp) or self._write(number, self.part.read(order.tolist()), stamp)

    def _in_sequence(self) -> Iterator[Finished]:
        """The shards of a split that is read from first to last."""
        of_source = self.part.stamp(())
        orders = (self._order[first : first + self.shard_size] for first in range(0, len(self._order), self.shard_size))
        stamps = [self._stamp(order, of_source) for order in orders]
        known = {number: found for number, stamp in enumerate(stamps) if (found := self._known(number, stamp))}
        for number, samples in spilled(self.part, self._order, self.shard_size, self.root, known):
            yield known.get(number) or self._write(number, samples, stamps[number])

    def _stamp(self, order: np.ndarray, of_source: str | None) -> str | None:
        """A hash of all that a shard is made from; None if the source cannot tell whether it has changed."""
        if of_source is None:
            return None
        storing = self.storing
        pillow = PIL.__version__ if storing.shorter_side else None
        about = (1, of_source, storing.classes, self.part.classes, storing.shorter_side, storing.quality, pillow)
        return hashlib.sha256(repr(about).encode("utf-8", "surrogatepass") + order.tobytes()).hexdigest()

    def _file(self, number: int) -> str:
        return files.join(self.split, f"{number:06d}.tar")

    def _known(self, number: int, stamp: str | None) -> Finished | None:
        found = self._journal.find(self._file(number), stamp)
        self.kept += found is not None
        return found

    def _write(self, number: int, samples: Iterable[Sample], stamp: str | None) -> Finished:
        unshrunk: list[str] = []
        samples = iter(self._stored(samples, unshrunk))
        first = next(samples, None)
        if first is None:
            return Finished(Shard(self._file(number), 0, 0, "0" * 64), [])
        shard = write_shard(self.root, self._file(number), self._until_stopped(first, samples))
        finished = Finished(shard, unshrunk)
        self._journal.add(finished, stamp)
        return finished

    def _until_stopped(self, first: Sample, samples: Iterator[Sample]) -> Iterator[Sample]:
        yield first
        for sample in samples:
            if self._stop.is_set():
                raise UserError("stopped")  # another shard has failed, which is what is told
            yield sample

    def _stored(self, samples: Iterable[Sample], unshrunk: list[str]) -> Iterator[Sample]:
        samples = _labelled(samples, self.part.classes, self.storing)
        return _shrunk(samples, self.storing, unshrunk) if self.storing.shorter_side else samples


def _labelled(samples: Iterable[Sample], of_split: list[str], storing: Storing) -> Iterator[Sample]:
    """`samples` with class indices of the dataset instead of the split. Raises UserError for labels out of range."""
    classes = storing.classes
    index_of = {name: index for index, name in enumerate(classes)}
    labels = range(len(classes)) if classes == of_split else [index_of[name] for name in of_split]
    for sample in samples:
        if sample.label is None or not 0 <= sample.label < len(labels):
            expected = f"expected a label in 0..{len(labels) - 1}"
            raise UserError(f"{storing.source}: {sample.key}: {expected}, found {sample.label}")
        yield replace(sample, label=labels[sample.label])


def _shrunk(samples: Iterable[Sample], storing: Storing, unshrunk: list[str]) -> Iterator[Sample]:
    def work(sample: Sample) -> Sample:
        try:
            data = shrink(sample.data or b"", storing.shorter_side or 0, storing.quality)
        except UndecodableImage:
            unshrunk.append(sample.key)
            return sample
        return sample if data is None else replace(sample, data=data, suffix="jpg")

    samples = iter(samples)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(samples, 256)):
            yield from pool.map(work, chunk)
