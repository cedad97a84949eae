"""WebDataset tars as a source of samples."""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import (
    INDEX,
    MAX_CLASSES,
    Dataset,
    Sample,
    image_suffix,
    parse_label,
    read_members,
)
from vit_tickets.pipeline.datasets.sources.options import SampleOptions
from vit_tickets.pipeline.datasets.sources.split import Unlabelled
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


@dataclass
class TarSplit:
    """WebDataset tars, with their own keys and suffixes. The label is the `.cls` member."""

    root: str
    names: list[str]
    options: SampleOptions = field(default_factory=SampleOptions)
    left_out: Omissions = field(default_factory=Omissions)
    kind = "webdataset"
    random_access = False

    @cached_property
    def _contents(self) -> tuple[dict[str, int], int]:
        """The number of samples in each tar, and the highest label. Reads all tars once and checks every sample."""
        counts: dict[str, int] = {}
        keys: set[str] = set()
        highest = -1
        without: list[UserError] = []
        for name, path in zip(self.names, self._paths, strict=True):
            known = len(keys)
            for fields in read_members(path):
                key, label = fields["__key__"], parse_label(fields.get("cls"))
                if label is None or not 0 <= label < MAX_CLASSES:
                    found = fields.get("cls", b"no such member")[:40].decode(errors="replace")
                    expected = f"a class index in 0..{MAX_CLASSES - 1} in {key}.cls"
                    fault = UserError(f"{path}: expected {expected}, found {found}")
                    if "cls" in fields:
                        raise fault
                    without.append(fault)
                if key in keys:
                    raise UserError(f"{path}: expected unique keys, found {key} a second time")
                image_suffix(fields, path)
                keys.add(key)
                highest = highest if label is None else max(highest, label)
            counts[name] = len(keys) - known
        if not keys:
            raise UserError(f"expected samples in {self.root}, found none")
        if without and len(without) == len(keys):
            raise Unlabelled(str(without[0]), f"no .cls in its {len(keys):,} samples")
        if without:
            raise without[0]
        return counts, highest

    @property
    def _paths(self) -> list[str]:
        return [files.join(self.root, name) if name else self.root for name in self.names]

    @property
    def shard_counts(self) -> dict[str, int]:
        """The number of samples in each tar."""
        return self._contents[0]

    @property
    def classes(self) -> list[str]:
        """The classes of dataset.json, in the folder or the one above; without one, the numbers up to the highest."""
        for folder in (self.root, posixpath.dirname(self.root.rstrip("/"))):
            if files.exists(files.join(folder, INDEX)):
                return Dataset.open(folder).classes
        return [str(label) for label in range(self._contents[1] + 1)]

    def __len__(self) -> int:
        return sum(self.shard_counts.values())

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        for path in self._paths:
            for fields in read_members(path):
                suffix = image_suffix(fields, path)
                data = b"" if suffix is None else fields[suffix]
                yield Sample(fields["__key__"], parse_label(fields["cls"]), data, suffix or "jpg")
