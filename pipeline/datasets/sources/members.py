"""The samples that the files of a tar make, in whatever form tars have them."""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from vit_tickets.pipeline.datasets.shards import MAX_CLASSES, parse_label
from vit_tickets.pipeline.datasets.sources.options import SampleOptions
from vit_tickets.pipeline.datasets.tar_files import read_tar
from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.system.errors import UserError

NAME = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")  # webdataset's: up to the first dot is the key


@dataclass(frozen=True)
class Member:
    """One sample of a tar."""

    key: str
    #: suffix and content of its image; None without one
    suffix: str | None
    data: bytes | None
    #: content of the member with its label; None without one
    label: bytes | None
    #: whether the readers of packed tars find the same sample
    plain: bool
    #: names of its other images
    beside: tuple[str, ...] = ()


def key_and_suffix(name: str) -> tuple[str, str] | None:
    """Key and suffix of a member as webdataset splits them, at the first dot; None for a name without one."""
    match = NAME.match(name)
    return (match[1], match[2].lower()) if match else None


def last(suffix: str) -> str:
    """The last part of a suffix of several: `jpg` of `image.jpg`."""
    return suffix.rpartition(".")[2]


def label_suffix(options: SampleOptions) -> str:
    return "json" if options.label_field else "cls"


def samples_of(
    path: str, options: SampleOptions, files: Iterable[tuple[str, bytes | None]], scattered: bool
) -> Iterator[Member]:
    """The samples of the tar at `path` that holds `files`, names and contents, in order.

    scattered: the members of a sample do not lie together, so that the tar is read twice.
    """
    if scattered:
        yield from _scattered(path, options, files)
        return
    for key, group in groupby(_split(files), key=lambda each: each[0]):
        yield from _samples(path, key, [(suffix, data) for _, suffix, data in group], options)


def _split(files: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, str, bytes | None]]:
    for name, data in files:
        if parts := key_and_suffix(name):
            yield *parts, data


def _scattered(path: str, options: SampleOptions, files: Iterable[tuple[str, bytes | None]]) -> Iterator[Member]:
    """As `samples_of`: labels are read first, then the images, in their order in the tar."""
    label = label_suffix(options)
    groups: dict[str, list[tuple[str, bytes | None]]] = {}
    for key, suffix, data in _split(read_tar(path, lambda name: last(name.lower()) == label, gzipped=True)):
        groups.setdefault(key, []).append((suffix, data))
    found = {}
    for key, group in groups.items():
        for sample in _samples(path, key, group, options):
            found[key, sample.suffix] = sample
            if sample.suffix is None:
                yield sample
    for key, suffix, data in _split(files):
        if sample := found.get((key, suffix)):
            yield Member(sample.key, suffix, data, sample.label, False, sample.beside)


def _samples(path: str, key: str, group: list[tuple[str, bytes | None]], options: SampleOptions) -> Iterator[Member]:
    """The samples of the members that share a key up to the first dot. Several only if the keys go on behind it."""
    members = dict(group)
    if len(members) < len(group):
        twice = next(suffix for at, (suffix, _) in enumerate(group) if suffix in dict(group[:at]))
        raise UserError(f"{path}: expected unique keys, found {key}.{twice} twice")
    images = [suffix for suffix in members if last(suffix) in SUFFIXES]
    labels = [suffix for suffix in members if last(suffix) == label_suffix(options)]
    stems, of_labels = ({suffix.rpartition(".")[0] for suffix in found} for found in (images, labels))
    numbered = not labels and all(re.search(r"\d", each) for each in stems)
    if len(stems) > 1 and (of_labels >= stems or numbered):
        for suffix in images:
            stem = suffix.rpartition(".")[0]
            label = members.get(f"{stem}.{label_suffix(options)}".lstrip("."))
            folder, name = posixpath.split(f"{key}.{stem}".rstrip("."))
            yield Member(posixpath.join(folder, name.replace(".", "_")), suffix, members[suffix], label, False)
        return
    images.sort(key=lambda suffix: suffix not in SUFFIXES)  # jpg before seg.png
    image = images[0] if images else None
    exact = [suffix for suffix in images if suffix in SUFFIXES]
    own = label_suffix(options) in labels and label_suffix(options)
    if not own and len(labels) > 1:
        raise UserError(f"{path}: expected one label for {key}, found {', '.join(labels)}")
    label = own or (labels[0] if labels else None)
    plain = len(exact) == 1 or (not exact and len(images) <= 1)
    plain &= label in ("cls", None) and not options.label_field and not options.tar_classes
    yield Member(
        key,
        image,
        members[image] if image else None,
        members[label] if label else None,
        plain,
        tuple(f"{key}.{suffix}" for suffix in images[1:]),
    )


def label_of(member: Member, tar: str, path: str, options: SampleOptions) -> int | str | None:
    """The label of a sample: a class index, or the name of its class; None without one.

    Raises UserError if it is neither.
    """
    if options.tar_classes:
        return tar
    if member.label is None:
        return None
    if not options.label_field:
        label = parse_label(member.label)
        if label is None or not 0 <= label < MAX_CLASSES:
            found = member.label[:40].decode(errors="replace")
            raise UserError(
                f"{path}: expected a class index in 0..{MAX_CLASSES - 1} in {member.key}.cls, found {found}"
            )
        return label
    return _field(member, path, options.label_field)


def _field(member: Member, path: str, name: str) -> int | str:
    try:
        record = json.loads(member.label or b"")
    except (ValueError, RecursionError):
        raise UserError(f"{path}: expected JSON in {member.key}.json, found other text") from None
    fields = record if isinstance(record, dict) else {}
    if name not in fields:
        raise UserError(f"{path}: expected a field {name} in {member.key}.json, found {', '.join(fields) or 'none'}")
    value = fields[name]
    if isinstance(value, str) and value and not value.isdecimal():
        return value
    index = int(value) if isinstance(value, str) and value else value
    index = int(index) if isinstance(index, float) and index.is_integer() else index
    if type(index) is not int or not 0 <= index < MAX_CLASSES:
        raise UserError(
            f"{path}: expected a class index or the name of a class in {name} of {member.key}.json, found {value!r}"
        )
    return index
