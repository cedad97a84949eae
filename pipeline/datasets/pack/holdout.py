"""Hold out a share of the split train as val: of every class the images whose keys have the smallest hashes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from vit_tickets.pipeline.datasets.left_out import Omissions, counted
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.datasets.sources.split import Split, empty_of
from vit_tickets.pipeline.system.errors import UserError

TRAIN, VAL = "train", "val"


@dataclass
class Share:
    """The samples of `whole` with the numbers `numbers`, int (samples,), ascending.

    `hashes` are those of the keys that val takes; `is_val` says which side of them this is.
    """

    whole: Split
    numbers: np.ndarray
    hashes: frozenset[int]
    is_val: bool
    #: classes without a sample here, as `Split.empty` has them
    empty: list[str]
    left_out: Omissions = field(default_factory=Omissions)

    def __post_init__(self) -> None:
        self.kind, self.root, self.classes = self.whole.kind, self.whole.root, self.whole.classes
        self.readers = self.whole.readers
        if not self.is_val:
            self.left_out = self.whole.left_out

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        if self.readers:
            return self.whole.read(int(self.numbers[index]) for index in order)
        whole = self.whole.read(range(len(self.whole)))
        return (sample for sample in whole if (hash_of(sample.key) in self.hashes) == self.is_val)

    def stamp(self, order: Iterable[int]) -> str | None:
        found = self.whole.stamp([int(self.numbers[index]) for index in order])
        chosen = hashlib.sha256(self.numbers.astype("<i8").tobytes()).hexdigest()
        return found and f"{found} {chosen}"

    def labelled(self) -> Iterator[tuple[str, int]]:
        return (each for each in self.whole.labelled() if (hash_of(each[0]) in self.hashes) == self.is_val)


def hold_out(train: Split, share: float) -> tuple[Share, Share, str]:
    """What remains of `train`, what is held out as val, and a line that says how many.

    Of n images of a class, round(share n) are held out: those whose keys have the smallest hashes, so that the same
    source is always split alike and images that are added move few others. One image of a class always remains.

    Raises UserError if no class is large enough to give an image.
    """
    hashes, labels = np.empty(len(train), np.uint64), np.empty(len(train), np.int64)
    for number, (key, label) in enumerate(train.labelled()):
        hashes[number], labels[number] = hash_of(key), label
    held = np.zeros(len(train), bool)
    for of_class_n in _by_class(labels):
        count = min(int(share * len(of_class_n) + 0.5), len(of_class_n) - 1)
        held[of_class_n[np.argsort(hashes[of_class_n], kind="stable")[:count]]] = True
    if not held.any():
        most = counted(int(np.bincount(labels).max()), "image")
        raise UserError(
            f"--val-share {share:g}: expected classes with images to hold out, found {most} at most in a class"
        )
    of_val = frozenset(hashes[held].tolist())
    sides = []
    for is_val in (False, True):
        numbers = np.flatnonzero(held == is_val)
        empty = empty_of(train.classes, set(labels[numbers].tolist()))
        sides.append(Share(train, numbers, of_val, is_val, empty))
    line = f"{VAL} is held out of {TRAIN}, {share:.0%} of each class by hash of the key: {len(sides[1]):,} of "
    return sides[0], sides[1], line + counted(len(train), "image")


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    """The numbers of the samples of each class that has any, int (n,)."""
    order = np.argsort(labels, kind="stable")
    return [part for part in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(part)]


def hash_of(key: str) -> int:
    """64 bits of BLAKE2b over a key, the same on every machine; independent of the folds of cross-fitting."""
    return int.from_bytes(hashlib.blake2b(f"val:{key}".encode(), digest_size=8).digest(), "little")
