"""Image files below a folder as samples: listed in little memory, read by several threads."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.datasets.sources.path_list import KeyList, PathList, suffix_of
from vit_tickets.pipeline.datasets.tar_files import is_text
from vit_tickets.pipeline.geometry.images import JPEG_SUFFIXES, SUFFIXES, lacking
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

LOCAL_READERS = 8
REMOTE_READERS = 32


class ImageFiles:
    """The images below `root`, sorted by path. What is no image, and what `reason_against` names, is left out.

    `links` is filled in as in `files.iter_files`. Raises UserError if a name is not valid UTF-8.
    """

    kind = "image folder"
    classes: list[str]

    def __init__(self, root: str, links: dict[str, str]):
        self.root = root
        self.empty: list[str] = []
        self.left_out = Omissions()
        self.paths = PathList()
        parts = []  # of each first-level folder, so that only one at a time is a list
        for first, group in itertools.groupby(files.iter_files(root, links), key=_first):
            left_out = Omissions()
            paths = [path for path in sorted(group) if self._is_image(path, left_out)]
            parts.append((first, PathList(paths), left_out))
        for _, paths, left_out in sorted(parts, key=lambda part: part[0]):
            self.paths.append_list(paths)
            for entry in left_out:
                self.left_out.merge(entry)
        for path, reason in sorted(links.items()):
            self.left_out.add("link", reason, path)

    def _is_image(self, path: str, left_out: Omissions) -> bool:
        suffix = suffix_of(path)
        if suffix not in SUFFIXES:
            left_out.add("file", f"suffix .{suffix}" if suffix else "no suffix", path)
        elif package := lacking(suffix):
            left_out.add("image", f"suffix .{suffix}, which needs {package}", path)
        elif reason := self.reason_against(path):
            left_out.add("image", reason, path)
        elif not is_text(path):
            raise UserError(f"{self.root}: expected names in UTF-8, found {path}")
        else:
            return True
        return False

    def reason_against(self, path: str) -> str | None:
        """Why the image at `path` is left out; None if it is not."""
        raise NotImplementedError

    def class_of(self, path: str) -> str:
        raise NotImplementedError

    @cached_property
    def keys(self) -> KeyList:
        return KeyList(self.paths)

    @cached_property
    def _index_of(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.classes)}

    @property
    def readers(self) -> int:
        return LOCAL_READERS if files.is_local(self.root) else 1

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        if files.is_local(self.root):
            yield from map(self._sample, order)
            return
        order = iter(order)
        with ThreadPoolExecutor(REMOTE_READERS) as pool:  # remote storage is slow per image, so many are read at once
            while chunk := list(itertools.islice(order, 4 * REMOTE_READERS)):
                yield from pool.map(self._sample, chunk)

    def labelled(self) -> Iterator[tuple[str, int]]:
        for index, path in enumerate(self.paths):
            yield self.keys[index], self._index_of[self.class_of(path)]

    def _sample(self, index: int) -> Sample:
        path = self.paths[index]
        data = files.read_bytes(files.join(self.root, path))
        suffix = suffix_of(path)
        stored = "jpg" if suffix in JPEG_SUFFIXES else suffix
        return Sample(self.keys[index], self._index_of[self.class_of(path)], data, stored)

    def stamp(self, order: Iterable[int]) -> str | None:
        """Paths, classes, sizes and times of change of the images `order`, hashed."""
        if not files.is_local(self.root):
            return None
        digest = hashlib.sha256()
        folder = files.filesystem(self.root)[1]
        for index in order:
            path = self.paths[index]
            try:
                found = os.stat(os.path.join(folder, path))
            except OSError as error:
                raise UserError(f"cannot read {files.join(self.root, path)}: {error.strerror or error}") from None
            about = self.keys[index], path, self._index_of[self.class_of(path)], found.st_size, found.st_mtime_ns
            digest.update(repr(about).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _first(path: str) -> str:
    """What paths sort by first: the first folder with its slash, or the file in none."""
    name, slash, _ = path.partition("/")
    return name + slash
