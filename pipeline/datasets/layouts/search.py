"""Find where the splits of a source lie: from names and listings alone, no file is opened but a list of shards.

Where two readings are possible, the source is refused with the words that decide.
"""

from dataclasses import dataclass

from vit_tickets.pipeline.datasets.layouts import data_files
from vit_tickets.pipeline.datasets.layouts.listing import Listing
from vit_tickets.pipeline.datasets.layouts.part import Aside, Part
from vit_tickets.pipeline.datasets.sources.names import ABOUT, PICTURES, listed, split_named, splits_in
from vit_tickets.pipeline.datasets.sources.split import Reading
from vit_tickets.pipeline.system.errors import UserError

NO_IMAGES = "no images, tars or Parquet files in it"
BESIDE = "beside what is packed"


@dataclass
class Search:
    """Finds the parts of the folder `source`; `wanted` are the splits that were asked for, none for all of them."""

    source: str
    wanted: tuple[str, ...]
    reading: Reading
    aside: Aside

    def find(self, folder: Listing, within: str | None = None) -> list[Part]:
        """The parts at or below `folder`, which lies in the split `within`. Raises UserError; empty: nothing there."""
        named = [] if self.reading.no_splits else [sub for sub in folder.full if len(splits_in(sub.name)) == 1]
        rest = [sub for sub in folder.full if sub not in named]
        if named and within is None and not (data_files.of_splits(folder) and all(sub.is_flat for sub in named)):
            return self._named(folder, named, rest)
        if (folder.tars or folder.tables) and (found := self._of_files(folder, within)):
            return found
        return self._of_folders(folder, within)

    def _named(self, folder: Listing, named: list[Listing], rest: list[Listing]) -> list[Part]:
        """Parts of folders whose names speak of a split, beside others."""
        by_split: dict[str, list[Listing]] = {}
        for sub in named:
            by_split.setdefault(splits_in(sub.name).pop(), []).append(sub)
        if len(named) == 1 and not rest:
            below = set().union(*(splits_in(sub.name) for sub in named[0].full))
            if len(below) > 1:  # a folder around the splits, such as test_project/
                return self._inside(folder, named[0], None)
        words = set(map(split_named, self.wanted))
        if "val" in words and "val" not in by_split:
            words.add("test")  # which stands in for it
        asked = {
            split: [sub for sub in subs if sub.name in self.wanted or split in words] if self.wanted else []
            for split, subs in by_split.items()
        }
        if not any(asked.values()):
            self._check_readings(folder, by_split, named, rest)
            self._pass_over(folder, named)
        there = {*by_split, *(sub.name for sub in named), *({"val"} if "test" in by_split else ())}
        if any(word not in there and split_named(word) not in there for word in self.wanted):  # for the message
            return [Part(split, sub.name, sub.path) for split, subs in by_split.items() for sub in subs]
        found = []
        for split, subs in by_split.items():
            for sub in subs if not self.wanted else asked[split]:
                found += [part.of(split, sub.name) for part in self.find(sub, split)]
        return found

    def _check_readings(
        self, folder: Listing, by_split: dict[str, list[Listing]], named: list[Listing], rest: list[Listing]
    ) -> None:
        """Raise UserError where the folders with the names of splits may be classes."""
        rest = [sub for sub in rest if sub.name.lower() not in ABOUT]
        if files := data_files.of_splits(folder):
            found = f"{listed([f'{sub.name}/' for sub in named])} and {listed(files)}"
            raise UserError(
                f"{folder.path}: expected splits as folders or as files, found both: {found}; give the path of one, or "
                f"--split with the name of one folder"
            )
        clear = "train" in by_split and len(by_split) > 1 and not all(sub.is_flat for sub in named)
        if rest and not clear:
            words, others = listed([sub.name for sub in named]), listed([sub.name for sub in rest])
            alone = "" if named[0].is_flat else f", --split {named[0].name} packs that folder alone"
            raise UserError(
                f"{folder.path}: expected folders of splits or of classes, found {words} beside {others}; --no-splits "
                f"takes all of them for classes{alone}"
            )

    def _pass_over(self, folder: Listing, taken: list[Listing]) -> None:
        """Name what lies in `folder` beside the folders `taken`."""
        for sub in folder.folders:
            if sub not in taken:
                self.aside.left_out.add("folder", BESIDE if sub.has_content else NO_IMAGES, sub.below)
        for name in folder.foreign:
            self.aside.left_out.add("folder", "made by another program", folder.folder(name).below)
        for kind, names in (("image", folder.images), ("tar", folder.tars), ("table", folder.tables)):
            for name in names:
                self.aside.left_out.add(kind, BESIDE, name if not folder.below else f"{folder.below}/{name}")

    def _of_files(self, folder: Listing, within: str | None) -> list[Part]:
        """Parts of the tars or Parquet files directly in `folder`; none if its folders are the source."""
        classes = [sub for sub in folder.full if sub.images or any(below.images for below in sub.full)]
        kept = data_files.kept(folder, bool(classes), self.aside)
        if not kept:
            return []
        for sub in folder.folders:
            self.aside.left_out.add("folder", BESIDE if sub.has_content else NO_IMAGES, sub.below)
        for name in folder.images:
            self.aside.left_out.add("image", BESIDE, name)
        return data_files.parts(folder, kept, within, self.wanted, self.reading, self.aside)

    def _of_folders(self, folder: Listing, within: str | None) -> list[Part]:
        """The part of a folder of class folders; or what lies in the one folder that it holds."""
        full = folder.full
        if not full:
            return [Part(within, "", folder.path, flat=flat(folder))] if folder.images else []
        pictures = [sub for sub in full if sub.name.lower() in PICTURES]
        about = [sub for sub in full if sub.name.lower() in ABOUT]
        if about and len(about) + len(pictures) < len(full) and not self.reading.no_splits:
            raise UserError(
                f"{folder.path}: expected only class folders, found {listed([sub.name for sub in about])} among them; "
                "--no-splits takes all of them for classes"
            )
        if about and len(pictures) == 1:
            return self._inside(folder, pictures[0], within)
        if len(full) == 1 and (not full[0].images or full[0] in pictures or splits_in(full[0].name) == {within}):
            return self._inside(folder, full[0], within)
        if not self.reading.no_splits:
            self._check_order(folder)
        if not any(sub.images for sub in full) and not self.reading.class_folder:
            sources = [
                sub for sub in full if sub.tars or sub.tables or any(splits_in(below.name) for below in sub.full)
            ]
            if 2 * len(sources) > len(full) and not self.reading.no_splits:
                raise UserError(
                    f"{folder.path}: expected one dataset, found {len(sources)}: {listed([s.name for s in sources])}; "
                    f"give the path of one, such as {sources[0].path}"
                )
        return [Part(within, "", folder.path)]

    def _check_order(self, folder: Listing) -> None:
        """Raise UserError where folders of splits with images lie in folders of classes."""
        below = [
            inner for sub in folder.full if not sub.images for inner in sub.full if not (inner.tars or inner.tables)
        ]
        splits = [
            sub.below.removeprefix(f"{folder.below}/")
            for sub in below
            if len(splits_in(sub.name)) == 1 and all(inner.name.lower() in PICTURES for inner in sub.full)
        ]
        if splits and 2 * len(splits) > len(below):
            raise UserError(
                f"{folder.path}: expected folders SPLIT/CLASS, found CLASS/SPLIT: {listed(splits)}; move or link "
                f"them to {'/'.join(reversed(splits[0].split('/')))} and so on; with --no-splits the names say nothing"
            )

    def _inside(self, folder: Listing, sub: Listing, within: str | None) -> list[Part]:
        self._pass_over(folder, [sub])
        return self.find(sub, within)


def flat(folder: Listing) -> str:
    """What lies in a folder of images without class folders."""
    count, place = len(folder.images), (folder.below or folder.path).rstrip("/")
    return f"{count:,} {'image' if count == 1 else 'images'} directly in {place}/, no class folders"
