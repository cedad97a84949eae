"""WebDataset tars as a source of samples."""

import posixpath
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import INDEX, MAX_CLASSES, Dataset, Sample, Shard
from vit_tickets.pipeline.datasets.sources.folder import ordered
from vit_tickets.pipeline.datasets.sources.members import (
    Member,
    key_and_suffix,
    label_of,
    label_suffix,
    last,
    samples_of,
)
from vit_tickets.pipeline.datasets.sources.names import listed, stem
from vit_tickets.pipeline.datasets.sources.options import SampleOptions, stamp_of
from vit_tickets.pipeline.datasets.sources.split import Unlabelled, empty_of
from vit_tickets.pipeline.datasets.tar_files import HashedStream, read_tar
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

READERS = 8
NO_IMAGE = "no image member"


@dataclass
class _Tar:
    """What one tar holds, without its images."""

    shard: Shard
    scattered: bool
    #: hashes of the keys, 8 bytes each: for millions of samples, the keys themselves are too many
    keys: array
    labels: set[int | str]
    #: samples that are packed, without those that have no image
    samples: int
    #: suffixes of all members
    suffixes: Counter
    left_out: Omissions
    #: why the first sample without a label is refused
    unlabelled: str = ""
    without_label: int = 0
    #: what keeps the tar from being read in place
    not_plain: str = ""


@dataclass
class TarSplit:
    """WebDataset tars, with their own keys and suffixes. The label is the `.cls` member, unless `options` say other.

    A sample without an image is left out; in place, it stays. Of several images the first counts, `jpg` before
    `seg.png`.
    """

    root: str
    names: list[str]
    options: SampleOptions = field(default_factory=SampleOptions)
    in_place: bool = False
    left_out: Omissions = field(default_factory=Omissions)
    kind = "webdataset"
    readers = 0

    @cached_property
    def _tars(self) -> list[_Tar]:
        """Reads all tars once, images only for `in_place`, and checks every sample."""
        with ThreadPoolExecutor(READERS) as pool:
            tars = list(pool.map(self._scan, self.names, self._paths))
        for tar in tars:
            for entry in tar.left_out:
                self.left_out.merge(entry)
        count = sum(len(tar.keys) for tar in tars)
        suffixes = sum((tar.suffixes for tar in tars), Counter())
        if not any(tar.samples for tar in tars):
            held = ", ".join(f"{number} of .{suffix}" for suffix, number in suffixes.most_common(4))
            unpack = ": unpack them first" if suffixes["tar"] else ""
            held = held and f", but {held}{unpack}"
            raise UserError(f"expected samples in {self.root}, found none with an image{held}")
        self._check_keys(tars)
        unlabelled = [tar.unlabelled for tar in tars if tar.unlabelled]
        if unlabelled and sum(tar.without_label for tar in tars) == count:
            raise Unlabelled(f"{unlabelled[0]}; {self._instead(suffixes)}", f"no .cls in its {count:,} samples")
        if unlabelled:
            raise UserError(unlabelled[0])
        if self.in_place and (fault := next((tar.not_plain for tar in tars if tar.not_plain), None)):
            raise UserError(f"--in-place: {fault}; give a DATASET to pack into")
        return tars

    def _scan(self, name: str, path: str) -> _Tar:
        hashed = HashedStream() if self.in_place else None
        wanted = label_suffix(self.options)
        suffixes: Counter[str] = Counter()
        seen: set[int] = set()
        scattered = False
        before = None

        def members() -> Iterator[tuple[str, bytes | None]]:
            nonlocal scattered, before
            files_of = read_tar(
                path, lambda member: last(member.lower()) == wanted, gzipped=not self.in_place, hashed=hashed
            )
            for member, data in files_of:
                parts = key_and_suffix(member)
                suffixes[last(member.lower()) if parts else "no suffix"] += 1
                if parts and parts[0] != before:
                    before = parts[0]
                    scattered |= hash(before) in seen
                    seen.add(hash(before))
                yield member, data

        found = list(samples_of(path, self.options, members(), False))
        if scattered:
            found = list(samples_of(path, self.options, read_tar(path, lambda _: False, gzipped=True), True))
        length, digest = (hashed.length, hashed.hexdigest()) if hashed else (0, "0" * 64)
        tar = _Tar(Shard(name, len(found), length, digest), scattered, array("q"), set(), 0, suffixes, Omissions())
        if scattered:
            tar.not_plain = f"expected the members of a sample side by side in {path}, found others between them"
        for member in found:
            self._count(tar, member, path, stem(posixpath.basename(path)))
        return tar

    def _count(self, tar: _Tar, member: Member, path: str, name: str) -> None:
        label = label_of(member, name, path, self.options)
        if member.suffix is None and not self.in_place:
            tar.left_out.add("sample", NO_IMAGE, member.key)
            return
        tar.keys.append(hash(member.key))
        tar.samples += member.suffix is not None
        for other in member.beside:
            tar.left_out.add("image", "beside the first of its sample", other)
        if not member.plain and not tar.not_plain:
            tar.not_plain = f"expected {member.key} as one image and one .cls in {path}, found another form"
        if label is not None:
            tar.labels.add(label)
            return
        tar.without_label += 1
        where = f"a field {self.options.label_field} in {member.key}.json" if self.options.label_field else ""
        where = where or f"a class index in 0..{MAX_CLASSES - 1} in {member.key}.cls"
        tar.unlabelled = tar.unlabelled or f"{path}: expected {where}, found no such member"

    def _check_keys(self, tars: list[_Tar]) -> None:
        """Raise UserError if a key occurs twice."""
        hashes = np.concatenate([np.frombuffer(tar.keys, np.int64) for tar in tars if len(tar.keys)])
        distinct, counts = np.unique(hashes, return_counts=True)
        again = set(distinct[counts > 1].tolist())
        if not again:
            return
        known = set()
        for path, tar in zip(self._paths, tars, strict=True):
            for member in samples_of(path, self.options, read_tar(path, _none, gzipped=True), tar.scattered):
                if hash(member.key) in again:
                    if member.key in known:
                        raise UserError(f"{path}: expected unique keys, found {member.key} a second time")
                    known.add(member.key)

    def _instead(self, suffixes: Counter) -> str:
        """What to type for tars without labels."""
        if suffixes["json"] and not self.options.label_field:
            return "--label-field NAME takes the label from a field of each .json"
        if len(self.names) == 1:
            return "unpack it if its folders are the classes"
        return f"--tar-classes makes each of the {len(self.names)} tars a class: {listed(list(map(stem, self.names)))}"

    @property
    def _paths(self) -> list[str]:
        return [files.join(self.root, name) if name else self.root for name in self.names]

    @property
    def shards(self) -> list[Shard]:
        """The tars themselves, for `in_place`."""
        return [tar.shard for tar in self._tars]

    @property
    def classes(self) -> list[str]:
        """The names that serve as labels, in their order. Those of class indices are in dataset.json, in the folder or
        the one above; without one, the numbers up to the highest.
        """
        return self._classes

    @cached_property
    def _classes(self) -> list[str]:
        labels = set().union(*(tar.labels for tar in self._tars))
        names = [label for label in labels if isinstance(label, str)]
        if names:
            if len(names) < len(labels):
                number = next(label for label in labels if isinstance(label, int))
                raise UserError(f"{self.root}: expected names of classes or numbers, found {names[0]} and {number}")
            return ordered(names)
        for folder in (self.root, posixpath.dirname(self.root.rstrip("/"))):
            if files.exists(files.join(folder, INDEX)):
                classes, highest = Dataset.open(folder).classes, max(map(int, labels))
                if highest >= len(classes):
                    raise UserError(f"{self.root}: expected a label in 0..{len(classes) - 1}, found {highest}")
                return classes
        return [str(label) for label in range(max(map(int, labels)) + 1)]

    @property
    def empty(self) -> list[str]:
        return empty_of(self.classes, set().union(*(tar.labels for tar in self._tars)))

    def __len__(self) -> int:
        return sum(len(tar.keys) for tar in self._tars)

    def stamp(self, order: Iterable[int]) -> str | None:
        return stamp_of(self._paths, self.options)

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        for member, label in self._members(_all):
            yield Sample(member.key, label, member.data, last(member.suffix or ""))

    def labelled(self) -> Iterator[tuple[str, int]]:
        wanted = label_suffix(self.options)
        for member, label in self._members(lambda name: last(name.lower()) == wanted):
            yield member.key, label

    def _members(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, int]]:
        """The samples that have an image, with their class index; of files that are not `wanted`, only the names."""
        index_of = {name: index for index, name in enumerate(self.classes)}
        for path, tar in zip(self._paths, self._tars, strict=True):
            members = read_tar(path, wanted, gzipped=True)
            for member in samples_of(path, self.options, members, tar.scattered):
                if member.suffix is None:
                    continue
                label = label_of(member, stem(posixpath.basename(path)), path, self.options)
                yield member, index_of[label] if isinstance(label, str) else cast("int", label)  # all have one


def _all(name: str) -> bool:
    return True


def _none(name: str) -> bool:
    return False
