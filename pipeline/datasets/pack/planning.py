"""What `pack` would write: the splits, their classes and what is left out, with every reason to refuse."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vit_tickets.pipeline.datasets.layouts.choosing import STANDS_IN
from vit_tickets.pipeline.datasets.layouts.opening import Source, open_source
from vit_tickets.pipeline.datasets.left_out import LeftOut, counted
from vit_tickets.pipeline.datasets.pack.classes import merge_classes, without_images
from vit_tickets.pipeline.datasets.pack.holdout import TRAIN, VAL, hold_out
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, Shard
from vit_tickets.pipeline.datasets.sources.folder import FolderSplit
from vit_tickets.pipeline.datasets.sources.names import splits_in
from vit_tickets.pipeline.datasets.sources.split import Reading, Split
from vit_tickets.pipeline.datasets.sources.tars import TarSplit
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

MOST_SHARDS = 10_000  # files in one folder, for the Hugging Face hub


@dataclass(frozen=True)
class SplitLine:
    """A split in the summary of `pack`: its images and classes, what was left out of it, and how many of its images
    could not be decoded."""

    name: str
    images: int
    shards: int
    classes: int
    left_out: list[LeftOut]
    undecodable: int = 0

    def __str__(self) -> str:
        left_out = "; ".join(map(str, self.left_out)) or "nothing left out"
        images, shards, classes = (
            counted(number, noun)
            for number, noun in ((self.images, "image"), (self.shards, "shard"), (self.classes, "class"))
        )
        kept = f"; {counted(self.undecodable, 'image')} cannot be decoded, packed as found" if self.undecodable else ""
        return f"{self.name} has {images} in {shards}, {classes}, {left_out}{kept}"


@dataclass
class Plan:
    """The splits to pack and their classes. Nothing is written, no pixel is read."""

    splits: dict[str, Split]
    classes: list[str]
    #: what belongs to no split
    left_out: list[LeftOut]
    notes: list[str]
    #: the dataset that they are added to
    existing: Dataset | None = None
    #: for `--in-place`: the tars of each split
    shards: dict[str, list[Shard]] = field(default_factory=dict)
    #: the share of train that its split val is
    val_share: float | None = None

    @property
    def kind(self) -> str:
        return next(iter(self.splits.values())).kind

    def lines(self, shard_size: int | None = None) -> list[SplitLine]:
        """The summary of what would be packed, with `shard_size` images per tar, or in place."""
        lines = []
        for name, split in self.splits.items():
            samples = len(split)
            shards = -(-samples // size_of_shards(samples, shard_size))
            shards = len(self.shards[name]) if name in self.shards else shards
            lines.append(SplitLine(name, samples, shards, len(split.classes), list(split.left_out)))
        return lines


def size_of_shards(samples: int, asked: int | None = None) -> int:
    """Samples per tar: as asked; else 1000, or as many thousands as keep a split of `samples` at 10,000 tars."""
    return asked or 1000 * max(1, -(-samples // (1000 * MOST_SHARDS)))


def plan(
    source: str,
    root: str | None,
    split: str | Sequence[str] | None = None,
    reading: Reading | None = None,
    overwrite: bool = False,
    val_share: float | None = None,
    val_if_missing: bool = False,
) -> Plan:
    """What `pack` would write to `root` (None: not decided). Raises UserError as `pack` would.

    val_if_missing: hold out `val_share` only where the source has nothing to pack as val.
    """
    if root is not None and _inside(root, source):
        raise UserError(f"expected a DATASET outside SOURCE, found {root}; --in-place is for WebDataset tars")
    found = open_source(source, wanted(split), reading)
    existing = Dataset.open(root) if root is not None and files.exists(files.join(root, INDEX)) else None
    if val_if_missing and VAL in found.splits:
        val_share = None
    if val_share is not None:
        _hold_out(found, source, val_share)
    taken = sorted(set(found.splits) & set(existing.splits)) if existing and not overwrite else []
    if taken:
        keep = ", or --split test to keep the source's name for it" if taken[0] == "val" and found.val_is_test else ""
        raise UserError(f"{root} has split {taken[0]} already; pass --overwrite to pack it again{keep}")
    if existing and TRAIN in found.splits and VAL not in found.splits and (held := existing.held_out.get(VAL)):
        raise UserError(f"{root}: val was held out of train; pass --val-share {held.share:g} to pack both again")
    return replace(_plan(found, existing, bool(wanted(split))), val_share=val_share)


def _hold_out(found: Source, source: str, share: float) -> None:
    """Replace the split train of `found` by what remains of it, and by val."""
    if found.val_is_test and VAL in found.splits:  # a test set that would stand in for val keeps its name
        found.splits["test"] = found.splits.pop(VAL)
        found.notes[:] = [note for note in found.notes if STANDS_IN not in note]
    if VAL in found.splits or TRAIN not in found.splits:
        expected = f"a split {TRAIN} and no {VAL} in {source}"
        raise UserError(f"--val-share: expected {expected}, found {', '.join(found.splits)}")
    train, val, line = hold_out(found.splits[TRAIN], share)
    beside = {name: split for name, split in found.splits.items() if name != TRAIN}
    found.splits = {TRAIN: train, VAL: val, **beside}
    found.notes.append(line)


def plan_in_place(source: str, split: str | Sequence[str] | None = None, reading: Reading | None = None) -> Plan:
    """What `pack --in-place` would write. Raises UserError if `source` is not a folder of WebDataset tars."""
    found = open_source(source, wanted(split), replace(reading or Reading(), in_place=True))
    planned = _plan(found, None, bool(wanted(split)))
    for name, part in planned.splits.items():
        if not isinstance(part, TarSplit) or not files.is_dir(source):
            raise UserError(f"--in-place: expected a folder of WebDataset tars, found {part.kind} in {source}")
        below = part.root.removeprefix(source).strip("/")
        planned.shards[name] = [replace(shard, file=files.join(below, shard.file)) for shard in part.shards]
    return planned


def _inside(root: str, source: str) -> bool:
    inner, outer = (files.filesystem(path)[1].rstrip("/") + "/" for path in (root, source))
    return inner.startswith(outer)


def _plan(found: Source, existing: Dataset | None, asked: bool) -> Plan:
    classes = merge_classes(found.splits, existing)
    notes = list(found.notes)
    if len(classes) == 1:
        notes.append(
            f"warning: a single class, {classes[0]}: expected class folders or labels of two or more to train on"
        )
    name, first = next(iter(found.splits.items()))
    if first.classes == classes and (line := without_images(name, first)):
        notes.append(line)
    numbered = first.kind == FolderSplit.kind and all(name.isdecimal() for name in classes)
    if numbered and classes[-1] != str(len(classes) - 1):
        numbers = f"folder {classes[0]} is class 0, folder {classes[-1]} is class {len(classes) - 1}"
        notes.append(f"class folders are numbers but not 0 to {len(classes) - 1}: {numbers}")
    notes += [
        f"{name}: {part.deeper}" for name, part in found.splits.items() if isinstance(part, FolderSplit) and part.deeper
    ]
    if not asked and "val" not in {*found.splits, *(existing.splits if existing else ())}:
        flat = any(entry.what == "split" and "val" in splits_in(" ".join(entry.examples)) for entry in found.left_out)
        adds = f"pack {'SOURCE' if flat else 'VAL_IMAGES'} DATASET --split val{' --labels-file FILE' if flat else ''}"
        holds = ", --val-share 0.2 holds a part of train out as val" if "train" in found.splits else ""
        notes.append(f"no split val, which evaluate needs: {adds} adds it{holds}")
    return Plan(found.splits, classes, list(found.left_out), notes, existing)


def wanted(split: str | Sequence[str] | None) -> tuple[str, ...]:
    """The splits that are asked for; none stands for all."""
    return () if split is None else (split,) if isinstance(split, str) else tuple(split)
