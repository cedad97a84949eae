"""Which parts of a source are packed, and under which names."""

import os
from collections import Counter
from collections.abc import Iterable

from vit_tickets.pipeline.datasets.layouts.part import Part
from vit_tickets.pipeline.datasets.sources.names import SPLITS, listed, split_at_end, split_named, splits_in, stem
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

STANDS_IN = "the source has no val: its split test is packed as val"


def choose(
    source: str, parts: list[Part], wanted: tuple[str, ...], notes: list[str], no_splits: bool = False
) -> list[tuple[str, Part]]:
    """The parts to open, by their names in the dataset: those that are `wanted`, or all of them.

    Says in `notes` what a name was taken from. Raises UserError if a split is not there, or there twice, or if a source
    without splits is named after another split than the one that is wanted; not with `no_splits`.
    """
    if parts[0].split is None:
        return [(_only_name(source, parts[0], wanted, notes, no_splits), parts[0])]
    chosen = _asked_for(source, parts, wanted, notes) if wanted else [(part.split or "", part) for part in parts]
    twice = next((split for split, count in Counter(split for split, _ in chosen).items() if count > 1), None)
    if twice is not None:
        names = [part.name for split, part in chosen if split == twice]
        raise UserError(
            f"{source}: expected one split {twice}, found {listed(names)}; --split {names[0]} packs that one alone"
        )
    for split, part in chosen:
        for path in _names_of(part.root)[1:] if part.files is None else ():
            if split_at_end(path) not in (None, part.split):
                notes.append(f"{part.name} links to {path}: packed as {split}")
    return chosen


def name_of_test(parts: list[Part], labelled: Iterable[str], wanted: tuple[str, ...], notes: list[str]) -> str:
    """What the split test is called: val if the source has no val and test was not asked for, which `notes` says."""
    splits = [part.split or "" for part in parts]
    if wanted or "val" in splits or "test" not in labelled:
        return "test"
    keep = " ".join(f"--split {split}" for split in dict.fromkeys(splits))
    notes.append(f"{STANDS_IN} ({keep} keeps its name)")
    return "val"


def _asked_for(source: str, parts: list[Part], wanted: tuple[str, ...], notes: list[str]) -> list[tuple[str, Part]]:
    chosen = []
    for word in dict.fromkeys(wanted):
        ours = split_named(word)
        found = [part for part in parts if part.name == word] or [part for part in parts if part.split == ours]
        if not found and ours == "val":
            found = [part for part in parts if part.split == "test"]
            notes += [STANDS_IN] if found else []
        if not found:
            raise UserError(f"{source}: expected a split {word!r}, found {', '.join(map(_both_names, parts))}")
        chosen += [(ours if ours in SPLITS else part.split or "", part) for part in found]
    return list(dict.fromkeys(chosen))


def _both_names(part: Part) -> str:
    """Our name of a split, and in parentheses the source's."""
    return f"{part.split} ({part.name})" if part.name not in ("", part.split) else part.name


def _only_name(source: str, part: Part, wanted: tuple[str, ...], notes: list[str], no_splits: bool) -> str:
    """The name of the split of a source without splits."""
    if len(wanted) > 1:
        raise UserError(f"{source}: expected --split once for a source without splits, found {', '.join(wanted)}")
    if wanted:
        name = split_named(wanted[0])
        if not name or name.startswith(".") or "/" in name:
            raise UserError(f"--split: expected the name of a folder, found {wanted[0]!r}")
        if not no_splits:
            _check_name(source, name, part, notes)
        return name
    name = next((found for path in _names_of(source) if (found := _spoken(path, part))), None)
    if name not in (None, "train"):
        notes.append(f"packed as {name}, the word in the name of the source (--split NAME --no-splits gives another)")
    if name and not no_splits:
        _check_name(source, name, part, notes)
    return name or "train"


def _check_name(source: str, name: str, part: Part, notes: list[str]) -> None:
    """Raise UserError if `source`, or what it links to, is named after another split; test may stand in for val."""
    for path in _names_of(source):
        spoken = _spoken(path, part)
        if spoken == "test" and name == "val":
            notes.append(f"{files.name_of(path)} is packed as val")
        elif spoken not in (None, name) and name in SPLITS:
            kind = "folder" if part.files != ("",) else "file"
            link = "" if path == source else ", to which it links"
            raise UserError(
                f"{source}: expected the split {name}, found a {kind} named {files.name_of(path)}{link}; give the path "
                f"of the {name} images (--split {name} --no-splits packs these as {name} all the same)"
            )


def _names_of(source: str) -> list[str]:
    """`source`, and what it is without links."""
    real = os.path.realpath(files.filesystem(source)[1]) if files.is_local(source) else source
    return [source] if files.name_of(real) == files.name_of(source) else [source, real]


def _spoken(path: str, part: Part) -> str | None:
    """The split that the name of `path` speaks of, whose only part is `part`."""
    spoken = splits_in(stem(files.name_of(path)))
    return split_at_end(path) if part.files != ("",) else spoken.pop() if len(spoken) == 1 else None
