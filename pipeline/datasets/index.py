"""dataset.json as typed records; the first fault in it is reported in one line."""

import os
from collections import Counter
from dataclasses import dataclass, fields
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from vit_tickets.pipeline.datasets.left_out import LeftOut
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import Count, Name, typed

VERSION = 1
BLOCK = 512  # bytes: no member of a tar is shorter
FIELDS = "expected the fields of a dataset index"

BelowDataset = Annotated[str, Meta(pattern=r"(?s)^(?!/)(?!(.*/)?\.\.(/|\Z))", description="a path below the dataset")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z", description="64 hexadecimal digits")]


@dataclass(frozen=True)
class Shard:
    """A tar file as listed in `dataset.json`."""

    #: path relative to the dataset's folder
    file: BelowDataset
    samples: Count
    #: size of the tar
    bytes: Count
    sha256: Sha256

    @property
    def stem(self) -> str:
        """Name of the tar without its suffix; the files of a manifest have the same."""
        return os.path.splitext(os.path.basename(self.file))[0]

    @classmethod
    def read(cls, entry: Any) -> "Shard":
        """An entry of dataset.json; raises UserError for the first field that is wrong."""
        try:
            shard = typed(entry, cls)
            if unknown := sorted(entry.keys() - {field.name for field in fields(cls)}):
                raise UserError(f"expected no entry {unknown[0]}, found one")
            return shard
        except UserError as error:
            file, fault = entry.get("file") if isinstance(entry, dict) else None, str(error)
            if fault.startswith("expected "):  # of a field that is missing or unknown
                fault = f"{FIELDS}: {fault}"
            elif isinstance(file, str) and not fault.startswith("file: "):
                fault = f"{file}: {fault}"
            raise UserError(fault) from None


@dataclass(frozen=True)
class HeldOut:
    """Of a split that is a part of what the source has as another: of which, and its share of the images."""

    of: Name
    share: Annotated[float, Meta(gt=0, lt=1, description="a share")]


class SplitEntry(msgspec.Struct, frozen=True):
    """An entry of `splits`: its shards are not yet read, for `verify`."""

    shards: list[Any]
    samples: Any = None
    #: what the source held of this split that was not packed
    left_out: Annotated[list[LeftOut], Meta(description="a list of what was left out")] = []
    held_out: HeldOut | None = None
    #: pixels to which larger images were shrunk; None if all are as they were, and for datasets older than the entry
    shorter_side: Annotated[int, Meta(gt=0, description="a whole number above 0")] | None = None


class DatasetRecord(msgspec.Struct, frozen=True):
    """dataset.json."""

    name: Annotated[str, Meta(description="a text")]
    #: names of the classes, by index
    classes: Annotated[list[str], Meta(description="a list of names")]
    #: what was packed
    source: str
    splits: dict[str, SplitEntry]
    #: what the source held that belongs to no split
    left_out: Annotated[list[LeftOut], Meta(description="a list of what was left out")] = []
    #: the folder of the tars, if the index lies elsewhere
    root: str | None = None

    @classmethod
    def read(cls, record: Any) -> "DatasetRecord":
        """The content of dataset.json; raises UserError for the first fault outside the entries of shards."""
        if not isinstance(record, dict) or "version" not in record:
            raise UserError(f"{FIELDS}, found no version")
        if record["version"] != VERSION:
            raise UserError(f"expected version {VERSION}, found {record['version']!r}")
        try:
            found = typed(record, cls)
        except UserError as error:
            missing = str(error).startswith("expected ") or str(error).startswith("splits: ")
            raise UserError(f"{FIELDS}: {error}" if missing else str(error)) from None
        if "/" in found.name:
            raise UserError(f"name: expected one without a slash, found {found.name!r}")
        for split in found.splits:
            if not split or split.startswith(".") or "/" in split:
                raise UserError(f"splits: expected the name of a folder, found {split!r}")
        return found


def read_shards(entries: list[Any]) -> list[Shard]:
    """The shards of a split; raises UserError for the first that is wrong, and for names that clash."""
    shards = [Shard.read(entry) for entry in entries]
    for shard in shards:
        if shard.samples > shard.bytes // BLOCK:
            raise UserError(f"{shard.file}: samples: expected no more than blocks of the tar, found {shard.samples}")
    stem, count = Counter(shard.stem for shard in shards).most_common(1)[0] if shards else ("", 0)
    if count > 1:
        raise UserError(f"file: expected a separate name for every shard, found {stem} twice")
    return shards
