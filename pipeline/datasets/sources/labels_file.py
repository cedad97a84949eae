"""Labels that lie in a file beside a folder of images: the forms that public datasets have."""

import csv
import posixpath
import re
from collections import Counter
from dataclasses import dataclass

from vit_tickets.pipeline.datasets.sources.names import listed
from vit_tickets.pipeline.datasets.sources.options import SampleOptions
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

WNID = re.compile(r"n\d{8}")
NAMES = re.compile(r"(image|img|file)?_?(id|name|path)?|filename|imageid|filepath")
CLASSES = re.compile(r"labels?|class(es|_name|_id)?|category|target|predictionstring|y|wnid")
FORMS = (
    "a CSV of names and classes, LOC_val_solution.csv, val_annotations.txt, or ILSVRC2012_validation_ground_truth.txt"
)
KIT_FOX = "in the order of meta.mat (1 is n02119789, kit fox)"


@dataclass(frozen=True)
class Labels:
    """Classes by name of image, or by the order of the names."""

    path: str
    #: what was recognised, for the user
    form: str
    #: class of each image; empty if the file has no names
    by_name: dict[str, str]
    #: class of each image in the sorted order of names, if the file has no names
    in_order: tuple[str, ...] = ()


def read_labels(options: SampleOptions) -> Labels:
    """The labels of `options.labels_file`. Raises UserError if it is of none of the known forms."""
    path = options.labels_file or ""
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a text in UTF-8, found other bytes") from None
    lines = [line.strip(" \r") for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{path}: expected {FORMS}, found no line")
    names = _class_list(options.class_list) if options.class_list else None
    if all(line.strip().isdecimal() for line in lines):
        return _in_order(path, [int(line) for line in lines], names)
    form, rows = _rows(path, lines)
    by_name: dict[str, str] = {}
    for name, label in rows:
        known = by_name.setdefault(posixpath.basename(name), label)
        if known != label:
            raise UserError(f"{path}: expected one class for {posixpath.basename(name)}, found {known} and {label}")
    if names and all(label.isdecimal() for label in by_name.values()):
        first = _first_number(path, [int(label) for label in by_name.values()], len(names))
        by_name = {name: names[int(label) - first] for name, label in by_name.items()}
        form += f", numbered from {first} in {options.class_list}"
    elif options.class_list:
        raise UserError(f"--class-list: expected numbers in {path}, found {next(iter(by_name.values()))}")
    return Labels(path, form, by_name)


def _rows(path: str, lines: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """What the lines are, and the name and the class in each."""
    separator = next((each for each in ("\t", ",", ";") if each in lines[0]), None)
    rows = [line.split() for line in lines] if separator is None else list(csv.reader(lines, delimiter=separator))
    rows = [[cell.strip() for cell in row] for row in rows]
    head = [cell.lower() for cell in rows[0]]
    if len(head) == 2 and head[1] == "predictionstring":
        return "LOC_val_solution.csv", [(row[0], _of_boxes(path, row)) for row in rows[1:]]
    if separator == "\t" and all(len(row) == 6 and _are_numbers(row[2:]) for row in rows):
        return "val_annotations.txt of Tiny-ImageNet", [(row[0], row[1]) for row in rows]
    if wrong := next((number for number, row in enumerate(rows, 1) if len(row) != 2), None):
        raise UserError(f"{path}: expected {FORMS}, found {len(rows[wrong - 1])} columns in line {wrong}")
    header = bool(head[0] and NAMES.fullmatch(head[0])) or bool(CLASSES.fullmatch(head[1]))
    rows = rows[1:] if header else rows
    if empty := next((row for row in rows if not row[0] or not row[1]), None):
        raise UserError(f"{path}: expected a name and a class in every line, found {', '.join(empty)}")
    return f"names and classes{', with a header' if header else ''}", [(row[0], row[1]) for row in rows]


def _of_boxes(path: str, row: list[str]) -> str:
    """The class of a PredictionString, `n01440764 111 108 441 381`, maybe of several boxes."""
    found = list(dict.fromkeys((row[1] if len(row) > 1 else "").split()[::5]))
    if len(found) != 1:
        raise UserError(f"{path}: expected one class for {row[0]}, found {' and '.join(found) or 'none'}")
    return found[0]


def _are_numbers(cells: list[str]) -> bool:
    return all(cell.lstrip("-").isdecimal() for cell in cells)


def _in_order(path: str, numbers: list[int], names: list[str] | None) -> Labels:
    """The labels of a file with a number in each line and no names."""
    if names is None:
        names = _synsets(files.join(posixpath.dirname(path), "meta.mat"), path)
    elif len(names) == 1000 and names == sorted(names) and all(map(WNID.fullmatch, names)):
        raise UserError(f"--class-list: expected synsets {KIT_FOX}, which {path} numbers, found them sorted by name")
    if wrong := [number for number in numbers if not 1 <= number <= len(names)]:
        raise UserError(f"{path}: expected numbers in 1..{len(names)}, the classes that are listed, found {wrong[0]}")
    ordered = tuple(names[number - 1] for number in numbers)
    return Labels(path, "a number in each line, for the images in the order of their names", {}, ordered)


def _synsets(meta: str, path: str) -> list[str]:
    """The synsets of ILSVRC2012 by their ids, from the development kit's meta.mat."""
    expected = f"{path}: expected the synsets that its numbers stand for, {KIT_FOX}"
    instead = "--class-list FILE names them, one per line"
    if not files.exists(meta):
        raise UserError(f"{expected}, found no meta.mat beside it; {instead}")
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError(f"{expected}, found no scipy to read meta.mat (pip install scipy); {instead}") from None
    with files.open_read(meta) as stream:
        try:
            synsets = loadmat(stream, squeeze_me=True)["synsets"]
            by_id = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
        except Exception as error:  # scipy raises anything for a damaged file
            raise UserError(f"{meta} cannot be read as the meta.mat of ILSVRC2012: {error}") from None
    return [by_id[number] for number in range(1, len(by_id) + 1) if number in by_id]


def _class_list(path: str) -> list[str]:
    """The classes in a file, one per line: of `n01440764 tench, Tinca tinca` the synset."""
    lines = [line.strip() for line in files.read_bytes(path).decode("utf-8-sig", "replace").splitlines()]
    names = [match[0] if (match := WNID.match(line)) else line for line in lines if line]
    if again := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{path}: expected every class once, found {listed(again)} again")
    return names


def _first_number(path: str, numbers: list[int], classes: int) -> int:
    """Whether the numbers of `classes` begin with 0 or 1. Raises UserError if they do not say."""
    lowest, highest = min(numbers), max(numbers)
    first = 0 if lowest == 0 else 1 if highest == classes else None
    if first is None or highest >= classes + first:
        found = f"{lowest} to {highest}"
        raise UserError(f"{path}: expected numbers in 0..{classes - 1} or 1..{classes} that say which, found {found}")
    return first
