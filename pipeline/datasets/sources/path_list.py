"""Millions of paths in little memory, and the keys that they give."""

import itertools
import posixpath
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class Texts(Sequence[str]):
    """A sequence of texts that `_at` gives one by one."""

    def _at(self, index: int) -> str:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._at(at) for at in range(*index.indices(len(self)))]
        return self._at(index)


class PathList(Texts):
    """Sorted paths as one text and their ends in it: their own bytes and 8 more, where a list of str takes 60 more."""

    def __init__(self, paths: Iterable[str] = ()):
        self._text = bytearray()
        self._ends = array("q", [0])
        self.extend(paths)

    def extend(self, paths: Iterable[str]) -> None:
        """Add paths, which must sort behind those that are there."""
        for path in paths:
            self._text += path.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._text))

    def append_list(self, other: "PathList") -> None:
        """Add the paths of another list, which must sort behind those that are there."""
        ends = np.frombuffer(other._ends, np.int64)[1:] + len(self._text)
        self._text += other._text
        self._ends.frombytes(ends.tobytes())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _at(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self._text[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))


class KeyList(Texts):
    """The keys of `paths`, as `folder_keys` gives them. Only those of clashing paths are stored."""

    def __init__(self, paths: PathList):
        self._paths = paths
        self._all: list[str] | None = None
        self._suffixed: dict[int, str] = {}
        hashes = np.fromiter((hash(_plain(path)) for path in paths), np.int64, len(paths))
        distinct, counts = np.unique(hashes, return_counts=True)
        if len(distinct) < len(hashes):
            clashing = np.flatnonzero(np.isin(hashes, distinct[counts > 1])).tolist()
            self._suffixed = {index: f"{_plain(paths[index])}-{suffix_of(paths[index])}" for index in clashing}
            new = np.array([hash(key) for key in self._suffixed.values()])
            if len(np.unique(new)) < len(new) or np.isin(new, distinct).any():
                self._all = folder_keys(list(paths))

    def __len__(self) -> int:
        return len(self._paths)

    def _at(self, index: int) -> str:
        if self._all is not None:
            return self._all[index]
        known = self._suffixed.get(index)
        return _plain(self._paths[index]) if known is None else known


def folder_keys(paths: list[str]) -> list[str]:
    """Keys of relative paths: no suffix, dots replaced by underscores. Clashing keys get `-<suffix>`, then a number."""
    keys = [_plain(path) for path in paths]
    clashes = Counter(keys)
    keys = [f"{key}-{suffix_of(path)}" if clashes[key] > 1 else key for key, path in zip(keys, paths, strict=True)]
    taken = set()
    unique = []
    for key in keys:
        free = next(
            name for number in itertools.count(1) if (name := key if number == 1 else f"{key}-{number}") not in taken
        )
        taken.add(free)
        unique.append(free)
    return unique


def suffix_of(path: str) -> str:
    """The suffix of a path in small letters, without its dot."""
    return posixpath.splitext(path)[1][1:].lower()


def _plain(path: str) -> str:
    return posixpath.splitext(path)[0].replace(".", "_")
