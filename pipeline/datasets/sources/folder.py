"""Image folders as a source of samples."""

import itertools
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.datasets.sources.names import ABOUT, FOREIGN, PICTURES, listed
from vit_tickets.pipeline.datasets.tar_files import is_text
from vit_tickets.pipeline.geometry.images import JPEG_SUFFIXES, SUFFIXES, lacking
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

REMOTE_READERS = 32


class FolderSplit:
    """Images in the layout class/image. The first folder is the class; the key is the relative path without suffix.

    With `class_folder="last"`, the class is the path of the folder that holds the image. Classes are sorted, as numbers
    if all of them are whole numbers. Links are followed.

    Raises UserError if there are no images, a name is not valid UTF-8, or a class folder holds nothing but folders and
    `class_folder` is None.
    """

    kind = "image folder"
    random_access = True

    def __init__(self, root: str, class_folder: Literal["first", "last"] | None = None):
        self.root = root
        self.left_out = Omissions()
        self._class_folder = class_folder
        links: dict[str, str] = {}
        self.paths = [path for path in files.walk_files(root, links) if self._is_image(path)]
        for path, reason in sorted(links.items()):
            self.left_out.add("link", reason, path)
        if odd := next((path for path in self.paths if not is_text(path)), None):
            raise UserError(f"{root}: expected names in UTF-8, found {odd}")
        if not self.paths:
            found = f", but {'; '.join(map(str, self.left_out))}" if len(self.left_out) else ""
            raise UserError(f"expected images as class/image, Parquet or WebDataset tars, found none in {root}{found}")
        if class_folder is None:
            self._check_depth()
        first = {path.split("/")[0] for path in self.paths}
        for name, is_folder in files.list_kinds(root).items():
            if is_folder and name not in first and name not in links and not name.startswith("."):
                self.left_out.add("folder", "no images in it", name)
        self.classes = ordered({self._class_of(path) for path in self.paths})
        self.keys = folder_keys(self.paths)

    def _is_image(self, path: str) -> bool:
        """Whether the file is one of the split's images; images that are not are left out."""
        folders = path.split("/")[:-1]
        suffix = _suffix(path)
        if suffix not in SUFFIXES:
            self.left_out.add("file", f"suffix .{suffix}" if suffix else "no suffix", path)
        elif package := lacking(suffix):
            self.left_out.add("image", f"suffix .{suffix}, which needs {package}", path)
        elif not folders:
            self.left_out.add("image", "in no class folder", path)
        elif not FOREIGN.isdisjoint(folders):
            self.left_out.add("image", "made by another program", path)
        elif self._class_folder is None and any(name.lower() in ABOUT for name in folders[1:]):
            self.left_out.add("image", "of masks or labels", path)
        else:
            return True
        return False

    def _check_depth(self) -> None:
        """Raise UserError if a class folder holds no image, only folders that do: these may be the classes."""
        below: dict[str, set[str]] = {}
        for path in self.paths:
            name, *folders, _ = path.split("/")
            below.setdefault(name, set()).add(folders[0] if folders else "")
        nested = [name for name, inner in below.items() if "" not in inner and {i.lower() for i in inner} - PICTURES]
        if nested:
            example = next(posixpath.dirname(path) for path in self.paths if path.split("/")[0] == nested[0])
            raise UserError(
                f"{self.root}: expected class folders that hold images, found only folders in {listed(nested)}; "
                f"--class-folder last makes classes like {example}, --class-folder first classes like {nested[0]}"
            )

    def _class_of(self, path: str) -> str:
        return posixpath.dirname(path) if self._class_folder == "last" else path.split("/")[0]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        labels = {name: index for index, name in enumerate(self.classes)}

        def sample(index: int) -> Sample:
            path = self.paths[index]
            data = files.read_bytes(files.join(self.root, path))
            suffix = _suffix(path)
            stored = "jpg" if suffix in JPEG_SUFFIXES else suffix
            return Sample(self.keys[index], labels[self._class_of(path)], data, stored)

        if files.is_local(self.root):
            yield from map(sample, order)
            return
        order = iter(order)
        with ThreadPoolExecutor(REMOTE_READERS) as pool:  # remote storage is slow per image, so many are read at once
            while chunk := list(itertools.islice(order, 4 * REMOTE_READERS)):
                yield from pool.map(sample, chunk)


def ordered(classes: Iterable[str]) -> list[str]:
    """Classes in their order: as numbers if all are whole numbers, else as text."""
    classes = sorted(classes)
    return sorted(classes, key=int) if all(name.isdecimal() for name in classes) else classes


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
