"""Which tars or Parquet files of a folder make which split: as `_info.json` lists them, or as their names say."""

import re

from vit_tickets.pipeline.datasets.layouts.listing import Listing
from vit_tickets.pipeline.datasets.layouts.part import Aside, Part
from vit_tickets.pipeline.datasets.sources.names import SPLIT_OF, listed, split_named, splits_in, stem, words_in
from vit_tickets.pipeline.datasets.sources.parquet import has_images
from vit_tickets.pipeline.datasets.sources.split import Reading
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

INFO = ("_info.json", "info.json")  # in timm's order
ARCHIVES = (".tar.gz", ".tgz")
OF = re.compile(r"-of-0*(\d+)$")


def of_splits(folder: Listing) -> list[str]:
    """Tars and Parquet files directly in `folder` whose names speak of a split."""
    return [name for name in (*folder.tars, *folder.tables) if splits_in(stem(name)) and not name.endswith(ARCHIVES)]


def kept(folder: Listing, beside_classes: bool, aside: Aside) -> list[str]:
    """The tars or the Parquet files of `folder` that hold its images; empty if its class folders do.

    Tables without images, such as img2dataset writes beside its tars, and archives beside what was unpacked from them
    are left out. Raises UserError where both may be meant.
    """
    tars = [name for name in folder.tars if not (beside_classes and name.lower().endswith(ARCHIVES))]
    stems = {stem(name) for name in tars}
    tables = [name for name in folder.tables if stem(name) not in stems]
    if tables and (tars or folder.full) and not any(has_images(files.join(folder.path, name)) for name in tables):
        tables = []
    found = [names[0] for names in (tars, tables, [f"{folder.full[0].name}/"] if beside_classes else []) if names]
    if len(found) > 1:
        raise UserError(
            f"{folder.path}: expected one kind of source, found {' and '.join(found)}; give the path of one"
        )
    for name in (*folder.tars, *folder.tables):
        if name not in tars and name not in tables:
            kind = "table" if name in folder.tables else "archive"
            aside.left_out.add(kind, "beside the images", files.join(folder.below, name))
    return tars or tables


def parts(
    folder: Listing,
    names: list[str],
    within: str | None,
    wanted: tuple[str, ...],
    reading: Reading,
    aside: Aside,
) -> list[Part]:
    """The parts that `names` make. Raises UserError where a name says nothing, or speaks of two splits."""
    if reading.no_splits:
        return [Part(within, "", folder.path, tuple(names))]
    if within is None and (listing := _read_info(folder, names, aside)):
        return listing
    by_word: dict[str, list[str]] = {}
    unclear = []
    for name in names:
        spoken = splits_in(stem(name))
        if len(spoken) == 1:
            by_word.setdefault(words_in(stem(name))[0], []).append(name)
        elif spoken or within is None:
            unclear.append(name)
    if within is not None:
        if other := [name for name in names if splits_in(stem(name)) - {within}]:
            raise UserError(f"{folder.path}: expected files of the split {within}, found {listed(other)}")
        return [Part(within, "", folder.path, tuple(names))]
    if not by_word and not any(splits_in(stem(name)) for name in unclear):
        return [Part(None, "", folder.path, tuple(names))]
    if unclear and not set(map(split_named, wanted)) & {SPLIT_OF[word] for word in by_word}:
        kind, suffix = ("Parquet file", "parquet") if unclear[0].lower().endswith(".parquet") else ("tar", "tar")
        raise UserError(
            f"{folder.path}: expected every {kind} to be named <split>-*.{suffix}, found {listed(unclear)} beside "
            f"{listed([names[0] for names in by_word.values()])}; --no-splits takes all of them for one split"
            if by_word
            else f"{folder.path}: expected every {kind} to be named <split>-*.{suffix}, found {listed(unclear)}, which "
            "speak of two splits; --no-splits takes all of them for one split"
        )
    for word, of_word in by_word.items():
        _check_complete(word, of_word, aside)
    return [Part(SPLIT_OF[word], word, folder.path, tuple(of_word)) for word, of_word in by_word.items()]


def _check_complete(word: str, names: list[str], aside: Aside) -> None:
    """Say how many files are not there, where their names count them: `train-00003-of-00294`."""
    totals = {int(total[1]) for name in names if (total := OF.search(stem(name)))}
    if len(totals) == 1 and len(names) < (total := totals.pop()):
        aside.notes.append(f"{word}: {len(names)} of {total} files are here")


def _read_info(folder: Listing, names: list[str], aside: Aside) -> list[Part]:
    """The parts that timm's `_info.json` lists, if it lies in `folder` and lists any of `names`."""
    for info in INFO:
        if info not in folder.files:
            continue
        record = files.read_json(files.join(folder.path, info))
        splits = record.get("splits") if isinstance(record, dict) else None
        listed_in = {}
        for word, entry in splits.items() if isinstance(splits, dict) else ():
            filenames = entry.get("filenames") if isinstance(entry, dict) else None
            filenames = filenames if isinstance(filenames, list) else []
            listed_in[word] = [name for name in filenames if isinstance(name, str)]
        if not any(set(of_word) & set(names) for of_word in listed_in.values()):
            continue
        known = {name for of_word in listed_in.values() for name in of_word}
        if missing := len(known - set(names)):
            aside.notes.append(f"{info}: {len(known) - missing} of {len(known)} files that it lists are here")
        for name in names:
            if name not in known:
                aside.left_out.add("file", f"not listed in {info}", name)
        found = {word: tuple(name for name in of_word if name in names) for word, of_word in listed_in.items()}
        return [Part(split_named(word), word, folder.path, of_word) for word, of_word in found.items() if of_word]
    return []
