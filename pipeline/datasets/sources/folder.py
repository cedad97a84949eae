"""Image folders as a source of samples."""

import posixpath
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.datasets.sources.image_files import ImageFiles
from vit_tickets.pipeline.datasets.sources.names import ABOUT, FOREIGN, PICTURES, listed
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


class FolderSplit(ImageFiles):
    """Images in the layout class/image. The first folder is the class; the key is the relative path without suffix.

    With `class_folder="last"`, the class is the path of the folder that holds the image. Classes are sorted, as numbers
    if all of them are whole numbers. Links are followed.

    Raises UserError if there are no images, a name is not valid UTF-8, or a class folder holds nothing but folders and
    `class_folder` is None.
    """

    def __init__(self, root: str, class_folder: Literal["first", "last"] | None = None):
        self._class_folder = class_folder
        #: what lies deeper than in a class folder, or its one folder of pictures, as a text for the user
        self.deeper = ""
        links: dict[str, str] = {}
        super().__init__(root, links)
        if not self.paths:
            found = f", but {'; '.join(map(str, self.left_out))}" if len(self.left_out) else ""
            raise UserError(f"expected images as class/image, Parquet or WebDataset tars, found none in {root}{found}")
        if class_folder is None:
            self._check_depth()
        first = {path.split("/")[0] for path in self.paths}
        for name, is_folder in files.list_kinds(root).items():
            if is_folder and name not in first and name not in links and not name.startswith("."):
                self.left_out.add("folder", "no images in it", name)
        self.classes = ordered({self.class_of(path) for path in self.paths})

    def reason_against(self, path: str) -> str | None:
        folders = path.split("/")[:-1]
        if not folders:
            return "in no class folder"
        if not FOREIGN.isdisjoint(folders):
            return "made by another program"
        if self._class_folder is None and any(name.lower() in ABOUT for name in folders[1:]):
            return "of masks or labels"
        return None

    def _check_depth(self) -> None:
        """Raise UserError if a class folder holds no image, only folders that do: these may be the classes."""
        below: dict[str, Counter[str]] = {}
        for path in self.paths:
            name, _, folders = posixpath.dirname(path).partition("/")
            below.setdefault(name, Counter())[folders] += 1
        nested = [name for name, inner in below.items() if "" not in inner and not _pictures(inner)]
        if nested:
            example = next(posixpath.dirname(path) for path in self.paths if path.split("/")[0] == nested[0])
            raise UserError(
                f"{self.root}: expected class folders that hold images, found only folders in {listed(nested)}; "
                f"--class-folder last makes classes like {example}, --class-folder first classes like {nested[0]}"
            )
        deeper = {
            f"{name}/{folders}": count
            for name, inner in below.items()
            for folders, count in inner.items()
            if folders and ("" in inner or "/" in folders)
        }
        if deeper:
            self.deeper = (
                f"{counted(sum(deeper.values()), 'image')} in folders below class folders, taken for the class: "
                f"{listed(list(deeper))} (--class-folder last makes classes of these folders)"
            )

    def class_of(self, path: str) -> str:
        return posixpath.dirname(path) if self._class_folder == "last" else path.split("/")[0]


def _pictures(folders: Iterable[str]) -> bool:
    """Whether all `folders` are in folders of pictures, such as images/."""
    return all(folder.split("/")[0].lower() in PICTURES for folder in folders)


def ordered(classes: Iterable[str]) -> list[str]:
    """Classes in their order: as numbers if all are whole numbers, else as text."""
    classes = sorted(classes)
    return sorted(classes, key=int) if all(name.isdecimal() for name in classes) else classes
