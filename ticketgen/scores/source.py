"""Where scores lie: one file, or a folder with a file for each image; its kind, its names, and the hash of it all."""

import hashlib
import os
import posixpath
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets.shards import sha256_of
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.scores.reading import Boxes, read_array, read_mask, read_voc
from vit_tickets.ticketgen.scores.tables import ArrayArchive, MapTable, read_boxes

MAPS, MASKS, BOXES = "maps", "masks", "boxes"
#: Suffixes of files of one image each, and how they are read.
ONE_EACH: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "npy": (MAPS, read_array),
    **dict.fromkeys(("png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"), (MASKS, read_mask)),
    "xml": (BOXES, read_voc),
}
#: Suffixes of files of many images.
OF_MANY = {"csv": BOXES, "parquet": MAPS, "npz": MAPS}
FORMATS = "boxes as .csv or VOC's .xml, maps as .parquet, .npy or .npz, masks as .png"
READERS = 8  # threads that hash


@dataclass(frozen=True)
class Source:
    """Scores by name.

    Attributes:
        path: of the file or folder.
        kind: `maps`, `masks` or `boxes`.
        names: of what it holds; of files their paths below the folder.
        read: what it holds under a name; raises UnusableScores.
        files: that it consists of.
        left_out: suffixes of other files in the folder, and how many have each.
    """

    path: str
    kind: str
    names: Sequence[str]
    read: Callable[[str], "np.ndarray | Boxes"]
    files: Sequence[str]
    left_out: dict[str, int] = field(default_factory=dict)

    def sha256(self, progress: bool = True) -> str:
        """SHA-256 of the file; of a folder that over `path:SHA-256` of each file, a line each, sorted by path."""
        if not files.is_dir(self.path):
            return sha256_of(self.path)
        names = sorted(self.files)
        digest = hashlib.sha256()
        with ThreadPoolExecutor(READERS) as pool:
            hashes = pool.map(lambda name: sha256_of(files.join(self.path, name)), names)
            bar = Bar(
                hashes, total=len(names), desc="scores", unit="file", leave=False, disable=None if progress else True
            )
            for name, of_file in zip(names, bar, strict=True):
                digest.update(f"{name}:{of_file}\n".encode())
        return digest.hexdigest()


@lru_cache(maxsize=1)
def open_source(path: str) -> Source:
    """The source at `path`. Raises UserError for what is none, and for a folder of files of several kinds."""
    if not files.exists(path):
        raise UserError(f"--scores: expected a file or folder, found no {path}")
    if not files.is_dir(path):
        return _of_files(path, "", [files.name_of(path)], {})
    found: dict[str, list[str]] = {}
    for name in sorted(files.iter_files(path)):
        found.setdefault(_suffix(name), []).append(name)
    known = {suffix: names for suffix, names in found.items() if suffix in ONE_EACH or suffix in OF_MANY}
    kinds = {ONE_EACH[suffix][1] if suffix in ONE_EACH else suffix for suffix in known}
    if len(kinds) != 1:
        counts = ", ".join(f"{len(names):,} .{suffix}" for suffix, names in known.items())
        raise UserError(f"--scores: expected files of one kind ({FORMATS}), found {counts or 'none'} in {path}")
    names = [name for of_suffix in known.values() for name in of_suffix]
    left_out = {suffix: len(of) for suffix, of in found.items() if suffix not in known}
    return _of_files(path, path, names, left_out)


def _of_files(path: str, folder: str, names: list[str], left_out: dict[str, int]) -> Source:
    """The source of `names` below `folder`; without a folder, of the one file `path`."""
    suffix, paths = _suffix(names[0]), [files.join(folder, name) if folder else path for name in names]
    if suffix in ONE_EACH:
        kind, read = ONE_EACH[suffix]
        where = dict(zip(names, paths, strict=True))
        return Source(path, kind, names, lambda name: read(files.read_bytes(where[name])), names, left_out)
    if suffix not in OF_MANY:
        raise UserError(f"--scores: expected {FORMATS}, found {path}")
    if suffix == "parquet":
        table = MapTable(paths)
        return Source(path, MAPS, list(table.rows), table.read, names, left_out)
    if len(paths) > 1:
        raise UserError(f"--scores: expected one .{suffix} file, found {len(paths)} in {path}")
    if suffix == "csv":
        boxes = read_boxes(paths[0])
        return Source(path, BOXES, list(boxes), boxes.__getitem__, names, left_out)
    archive = ArrayArchive(paths[0])
    return Source(path, MAPS, archive.names, archive.read, names, left_out)


def _suffix(name: str) -> str:
    return os.path.splitext(posixpath.basename(name))[1].lstrip(".").lower()
