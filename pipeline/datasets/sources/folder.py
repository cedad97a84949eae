"""Image folders as a source of samples."""

import itertools
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import Sample, is_text
from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

REMOTE_READERS = 32


class FolderSplit:
    """Images in the layout class/image. The first folder is the class; the key is the relative path without suffix.

    Raises UserError if there are no images, a name is not valid UTF-8, or there is a link to a folder: links are not
    followed, so its images would be missing silently.
    """

    kind = "image folder"
    random_access = True

    def __init__(self, root: str):
        self.root = root
        self.left_out = Omissions()
        everything = files.walk_files(root)
        self.paths = [path for path in everything if _suffix(path) in SUFFIXES and "/" in path]
        others = set(everything) - set(self.paths) if files.is_local(root) else ()
        if link := next((path for path in sorted(others) if files.is_dir(files.join(root, path))), None):
            raise UserError(f"{root}: expected folders, found a link to one, {link}, which is not followed")
        if odd := next((path for path in self.paths if not is_text(path)), None):
            raise UserError(f"{root}: expected names in UTF-8, found {odd}")
        if not self.paths:
            raise UserError(f"expected images as class/image, Parquet or WebDataset tars, found none in {root}")
        self.classes = sorted({path.split("/")[0] for path in self.paths})
        self.keys = folder_keys(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        labels = {name: index for index, name in enumerate(self.classes)}

        def sample(index: int) -> Sample:
            path = self.paths[index]
            data = files.read_bytes(files.join(self.root, path))
            return Sample(self.keys[index], labels[path.split("/")[0]], data, _suffix(path).replace("jpeg", "jpg"))

        if files.is_local(self.root):
            yield from map(sample, order)
            return
        order = iter(order)
        with ThreadPoolExecutor(REMOTE_READERS) as pool:  # remote storage is slow per image, so many are read at once
            while chunk := list(itertools.islice(order, 4 * REMOTE_READERS)):
                yield from pool.map(sample, chunk)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1][1:].lower()


def folder_keys(paths: list[str]) -> list[str]:
    """Keys of relative paths: no suffix, dots replaced by underscores. Clashing keys get `-<suffix>`, then a number."""
    keys = [posixpath.splitext(path)[0].replace(".", "_") for path in paths]
    clashes = Counter(keys)
    keys = [f"{key}-{_suffix(path)}" if clashes[key] > 1 else key for key, path in zip(keys, paths, strict=True)]
    taken = set()
    unique = []
    for key in keys:
        free = next(
            name for number in itertools.count(1) if (name := key if number == 1 else f"{key}-{number}") not in taken
        )
        taken.add(free)
        unique.append(free)
    return unique
