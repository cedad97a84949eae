"""Open the splits of a source: image folders, Parquet in the Hugging Face layout, and WebDataset tars."""

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from vit_tickets.pipeline.datasets import digits, embedded
from vit_tickets.pipeline.datasets.layouts.choosing import STANDS_IN, choose, name_of_test
from vit_tickets.pipeline.datasets.layouts.listing import Listing
from vit_tickets.pipeline.datasets.layouts.part import Aside, Part
from vit_tickets.pipeline.datasets.layouts.search import Search
from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.sources.columns import TO_PACK_PATHS
from vit_tickets.pipeline.datasets.sources.flat import FlatSplit
from vit_tickets.pipeline.datasets.sources.folder import FolderSplit
from vit_tickets.pipeline.datasets.sources.labels_file import read_labels
from vit_tickets.pipeline.datasets.sources.names import SPLITS, TABLES, TARS, listed
from vit_tickets.pipeline.datasets.sources.parquet import ParquetSplit
from vit_tickets.pipeline.datasets.sources.split import Reading, Split, Unlabelled
from vit_tickets.pipeline.datasets.sources.tars import TarSplit
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

NO_SOURCE = "expected images as class/image, Parquet or WebDataset tars, found"
PATTERN = set("*?{")
TO_UNPACK = (".zip", ".7z", ".rar", ".gz", ".bz2", ".xz", ".zst")

#: the kind of source that an option is for
OF_KIND = {
    "image_column": ParquetSplit.kind,
    "label_column": ParquetSplit.kind,
    "label_field": TarSplit.kind,
    "tar_classes": TarSplit.kind,
}


@dataclass
class Source:
    """The splits of a source that are packed, by their names in the dataset."""

    splits: dict[str, Split]
    #: what belongs to none of them
    left_out: Omissions = field(default_factory=Omissions)
    #: what the user should know
    notes: list[str] = field(default_factory=list)
    #: whether val is called test there
    val_is_test: bool = False


def open_source(source: str, wanted: Sequence[str] = (), reading: Reading | None = None) -> Source:
    """Open the splits `wanted` of `source`, by our names or those in the source; by default, all that have labels.

    `digits` is the built-in dataset, unless a file or folder of that name exists. A source without splits becomes the
    split that is wanted, or that its own name ends with, or else train. Without a val, the split test is called val,
    unless it is asked for. Only what is wanted is opened.

    Raises:
        UserError: The source is of none of the known kinds, has no such split, or can be read in two ways.
    """
    reading = reading or Reading()
    wanted = tuple(wanted)
    if source == embedded.NAME and not files.exists(source):
        parts = [Part(name, name, source) for name in digits.SAMPLES]
        return Source({name: digits.DigitsSplit(name) for name, _ in choose(source, parts, wanted, [])})
    if not files.exists(source):
        folder = (
            f"; the folder, {posixpath.dirname(source) or '.'}, takes all its files" if PATTERN & set(source) else ""
        )
        raise UserError(f"no such source: {source}{folder}")
    aside = Aside()
    parts = find_parts(source, wanted, reading, aside)
    chosen = choose(source, parts, wanted, aside.notes, reading.no_splits)
    opened: dict[str, Split] = {}
    unlabelled = []
    for name, part in chosen:
        try:
            opened[name] = open_part(part, reading)
        except Unlabelled as error:
            unlabelled.append(error)
            aside.left_out.add("split", error.reason, part.name or name)
    if unlabelled and (wanted or not opened):
        flat = [part.name for _, part in chosen if part.flat and part.name]
        classes = f"; --no-splits takes {listed(flat)} for classes" if len(flat) > 1 and not wanted else ""
        tables = [entry.examples[0] for entry in aside.left_out if entry.what == "table"]
        beside = f"; {tables[0]} holds no images: if paths and labels, {TO_PACK_PATHS}" if tables else ""
        raise UserError(f"{unlabelled[0]}{classes}{beside}") if classes or beside else unlabelled[0]
    _check_options(opened, unlabelled, reading, aside)
    test = name_of_test(parts, opened, wanted, aside.notes)
    opened = {test if name == "test" else name: split for name, split in opened.items()}
    return Source(opened, aside.left_out, aside.notes, any(STANDS_IN in note for note in aside.notes))


def find_parts(source: str, wanted: tuple[str, ...], reading: Reading, aside: Aside) -> list[Part]:
    """The parts of `source`, in the order of splits. Raises UserError if there are none."""
    if not files.is_dir(source):
        if not source.lower().endswith((*TARS, *TABLES)):
            unpack = ": unpack it first" if source.lower().endswith(TO_UNPACK) else ""
            raise UserError(f"expected an image folder, Parquet or WebDataset tars, found {source}{unpack}")
        return [Part(None, "", source, ("",))]
    folder = Listing(source)
    parts = Search(source, wanted, reading, aside).find(folder)
    if not parts:
        raise UserError(f"{NO_SOURCE} none in {source}{_instead(folder)}")
    return sorted(parts, key=lambda part: SPLITS.index(part.split) if part.split in SPLITS else len(SPLITS))


def open_part(part: Part, reading: Reading) -> Split:
    """The split that lies at `part`, with its classes known. Raises Unlabelled if it has none."""
    if part.files is None:
        if part.flat and reading.samples.labels_file:
            return FlatSplit(part.root, read_labels(reading.samples), part.flat)
        if part.flat:
            fault = f"{part.root}: expected images as class/image, found {part.flat}; --labels-file FILE names classes"
            raise Unlabelled(fault, part.flat)
        return FolderSplit(part.root, reading.class_folder)
    first = files.join(part.root, part.files[0]) if part.files[0] else part.root
    names = list(part.files)
    if first.lower().endswith(TARS):
        split = TarSplit(part.root, names, reading.samples, reading.in_place)
    else:
        split = ParquetSplit(part.root, names, reading.samples)
    _ = split.classes  # reads labels, and fails where there are none
    return split


def _check_options(opened: dict[str, Split], unlabelled: list[Unlabelled], reading: Reading, aside: Aside) -> None:
    """Say for which splits --labels-file was taken, and as what. Raises UserError for options without any effect."""
    file = reading.samples.labels_file
    taken = {name: split for name, split in opened.items() if isinstance(split, FlatSplit)}
    aside.notes += [f"{name}: classes from {split.labels.path}, {split.labels.form}" for name, split in taken.items()]
    if file and not taken:
        found = unlabelled[0].reason if unlabelled else f"class folders or labels in every split: {', '.join(opened)}"
        raise UserError(f"--labels-file {file}: expected images without class folders, found {found}")
    for name, kind in OF_KIND.items():
        if getattr(reading.samples, name) and not any(split.kind == kind for split in opened.values()):
            found = ", ".join(sorted({split.kind for split in opened.values()}))
            raise UserError(f"--{name.replace('_', '-')}: expected a source of kind {kind}, found {found}")
    if reading.samples.class_list and not file:
        raise UserError("--class-list: expected --labels-file with it, found none")


def _instead(folder: Listing) -> str:
    """What lies in a folder that is no source, by suffix."""
    suffixes = Counter(posixpath.splitext(name)[1].lower() or "no suffix" for name in folder.files)
    if not suffixes:
        return ""
    found = ", ".join(f"{count} of {suffix}" for suffix, count in suffixes.most_common(3))
    unpack = " (unpack archives first)" if any(suffix in TO_UNPACK for suffix in suffixes) else ""
    return f", but files: {found}{unpack}"
