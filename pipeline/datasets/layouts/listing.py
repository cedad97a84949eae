"""A folder as the search for splits sees it: listed when needed, and once."""

import os
import posixpath
from functools import cached_property

from vit_tickets.pipeline.datasets.sources.names import FOREIGN, TABLES, TARS, splits_in
from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.system import files

DEEPEST = 12  # levels of folders
LOOKED_INTO = 64  # folders of one remote folder, where each takes a request


class Listing:
    """A folder, at `path`; `below` is the same relative to the source, empty for the source itself."""

    def __init__(self, path: str, below: str = "", around: "tuple[Listing, ...]" = ()):
        self.path, self.below, self._around = path, below, around

    @property
    def name(self) -> str:
        return posixpath.basename(self.below)

    @cached_property
    def _visible(self) -> dict[str, bool]:
        return {name: kind for name, kind in files.list_kinds(self.path).items() if not name.startswith(".")}

    @cached_property
    def folders(self) -> list["Listing"]:
        """Its folders, without those that other programs make and links back to a folder around them."""
        names = [name for name, is_folder in self._visible.items() if is_folder and name not in FOREIGN]
        return [folder for folder in map(self.folder, names) if not folder._leads_back]

    @cached_property
    def foreign(self) -> list[str]:
        """Folders that other programs make, such as __MACOSX."""
        return [name for name, is_folder in self._visible.items() if is_folder and name in FOREIGN]

    @cached_property
    def files(self) -> list[str]:
        return [name for name, is_folder in self._visible.items() if not is_folder]

    def folder(self, name: str) -> "Listing":
        return Listing(files.join(self.path, name), posixpath.join(self.below, name), (*self._around, self))

    @cached_property
    def images(self) -> list[str]:
        return [name for name in self.files if posixpath.splitext(name)[1][1:].lower() in SUFFIXES]

    @cached_property
    def tars(self) -> list[str]:
        return [name for name in self.files if name.lower().endswith(TARS)]

    @cached_property
    def tables(self) -> list[str]:
        return [name for name in self.files if name.lower().endswith(TABLES)]

    @property
    def shown(self) -> str:
        """Its path for messages."""
        return files.join(self.path, "")

    @cached_property
    def has_content(self) -> bool:
        """Whether there are images, tars or Parquet files in it or below."""
        here = self.images or self.tars or self.tables
        return bool(here) or (len(self._around) < DEEPEST and any(folder.has_content for folder in self.folders))

    @cached_property
    def _real(self) -> str | None:
        """Its path without links; None where there are none."""
        return os.path.realpath(files.filesystem(self.path)[1]) if files.is_local(self.path) else None

    @property
    def _leads_back(self) -> bool:
        real = self._real
        inside = [folder._real for folder in self._around] if real else []
        return any(f"{path}/".startswith(f"{real}/") for path in inside)

    @cached_property
    def full(self) -> list["Listing"]:
        """Its folders with images, tars or Parquet files in or below them; of many remote ones, the first with any."""
        looked = self.folders
        if len(looked) > LOOKED_INTO and not files.is_local(self.path):
            looked = [folder for at, folder in enumerate(looked) if at < LOOKED_INTO or splits_in(folder.name)]
        return [folder for folder in looked if folder.has_content]

    @property
    def is_flat(self) -> bool:
        """Whether images lie directly in it, and nothing below."""
        return bool(self.images) and not self.full
