"""The classes of a dataset: those of its first split, which others may not exceed."""

import difflib
import re
from collections.abc import Sequence

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.datasets.sources.names import listed
from vit_tickets.pipeline.datasets.sources.parquet import ParquetSplit
from vit_tickets.pipeline.datasets.sources.split import Split
from vit_tickets.pipeline.datasets.sources.tars import TarSplit
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


def merge_classes(by_split: dict[str, Split], existing: Dataset | None) -> list[str]:
    """The classes of the dataset: those of `existing`, unless all its splits are replaced, or of the first split.

    Raises UserError if another split has more.
    """
    kept = sorted(set(existing.splits) - set(by_split)) if existing else []
    known = list(existing.classes) if existing and kept else []
    of = existing.root if existing and kept else ""
    for split, part in by_split.items():
        if not known:
            known, of = list(part.classes), split
            continue
        allowed, empty = set(known), set(part.empty)
        if new := [name for name in part.classes if name not in allowed and name not in empty]:
            remains = bool(kept and existing and split in existing.splits)
            keeps = f", whose split {listed(kept)} remains" if remains else ""
            more = f" and {len(new) - 1:,} more" if len(new) > 1 else ""
            meant = _meant(new, known, of) + ("; take another DATASET" if remains else "")
            raise UserError(
                f"split {split}: expected only classes of {of} ({listed(known)}){keeps}, found {new[0]!r}{more} in "
                f"{_place(part)} ({listed([name for name in part.classes if name not in empty])}){meant}"
            )
    return known


def without_images(name: str, part: Split) -> str | None:
    """A line on the numbered classes of the split `name` that have no images; None if there are none."""
    empty = part.empty
    if not empty:
        return None
    first = next(number for number, label in enumerate(part.classes) if number == len(empty) or empty[number] != label)
    begin = f" (the labels begin at {first})" if first else ""
    if len(empty) == 1:
        return f"{name}: class {empty[0]} has no images{begin}"
    return f"{name}: {len(empty):,} of {len(part.classes):,} classes have no images: {listed(empty)}{begin}"


def _meant(new: Sequence[str], known: Sequence[str], of: str) -> str:
    """What may be meant by the class `new[0]`, which is not among `known`."""
    if all(name.isdecimal() for name in new) != all(name.isdecimal() for name in known):
        return f"; numbers where {of} has names" if new[0].isdecimal() else f"; names where {of} has numbers"
    plain = {_plain(name): name for name in known}
    wordy = [name for name in plain if not re.search(r"\d", name)]
    close = [_plain(new[0])] if _plain(new[0]) in plain else difflib.get_close_matches(_plain(new[0]), wordy, 1, 0.8)
    return f"; did you mean {plain[close[0]]!r}?" if close else ""


def _plain(name: str) -> str:
    """A name without what people write in two ways: case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def _place(part: Split) -> str:
    """The folder or file of a split."""
    names = part.names if isinstance(part, ParquetSplit | TarSplit) else []
    return files.join(part.root, names[0]) if len(names) == 1 and names[0] else part.root
