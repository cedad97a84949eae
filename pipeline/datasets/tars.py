"""WebDataset tars as a source of samples."""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from vit_tickets.pipeline.datasets.shards import (
    INDEX,
    MAX_CLASSES,
    Dataset,
    Sample,
    image_suffix,
    parse_label,
    read_members,
)
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError


@dataclass
class TarSplit:
    """WebDataset tars, with their own keys and suffixes. The label is the `.cls` member."""

    root: str
    names: list[str]
    kind = "webdataset"
    random_access = False

    @cached_property
    def shard_counts(self) -> dict[str, int]:
        """Number of samples in each tar. Reads all tars once, and checks keys, labels and images."""
        counts, keys, self._top_label = {}, set(), -1
        for name in self.names:
            path, counts[name] = files.join(self.root, name) if name else self.root, 0
            for count, fields in enumerate(read_members(path), 1):
                key, label = fields["__key__"], parse_label(fields.get("cls"))
                if label is None or not 0 <= label < MAX_CLASSES:
                    found = fields.get("cls", b"no such member")[:40].decode(errors="replace")
                    raise UserError(
                        f"{path}: expected a class index in 0..{MAX_CLASSES - 1} in {key}.cls, found {found}"
                    )
                if key in keys:
                    raise UserError(f"{path}: expected unique keys, found {key} a second time")
                image_suffix(fields, path)
                keys.add(key)
                self._top_label = max(self._top_label, label)
                counts[name] = count
        if not keys:
            raise UserError(f"expected samples in {self.root}, found none")
        return counts

    @cached_property
    def classes(self) -> list[str]:
        for folder in (self.root, posixpath.dirname(self.root.rstrip("/"))):
            if files.exists(files.join(folder, INDEX)):
                return Dataset.open(folder).classes
        self.shard_counts  # noqa: B018 (reads the labels)
        return [str(label) for label in range(self._top_label + 1)]

    def __len__(self) -> int:
        return sum(self.shard_counts.values())

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        for name in self.names:
            path = files.join(self.root, name) if name else self.root
            for fields in read_members(path):
                suffix = image_suffix(fields, path)
                data = b"" if suffix is None else fields[suffix]
                yield Sample(fields["__key__"], parse_label(fields["cls"]), data, suffix or "jpg")
