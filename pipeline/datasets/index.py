"""What dataset.json must say."""

import re
from collections import Counter
from typing import Any

from vit_tickets.pipeline.system.records import is_count, shown

BLOCK = 512  # bytes: no member of a tar is shorter


def dataset_fault(record: dict[str, Any]) -> str | None:
    """What is wrong with the fields of dataset.json but its shards', which `shard_fault` is for; None if nothing."""
    for name in ("name", "source"):
        if not isinstance(record[name], str):
            return f"{name}: expected a text, found {record[name]!r}"
    if "/" in record["name"]:
        return f"name: expected one without a slash, found {record['name']!r}"
    classes = record["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        return f"classes: expected a list of names, found {shown(classes)}"
    for split in record["splits"]:
        if not split or split.startswith(".") or "/" in split:
            return f"splits: expected the name of a folder, found {split!r}"
    return None


def shard_fault(entry: dict[str, Any]) -> str | None:
    """What is wrong with a shard's entry in dataset.json; None if nothing."""
    file, sha256 = entry["file"], entry["sha256"]
    if not isinstance(file, str) or file.startswith("/") or ".." in file.split("/"):
        return f"file: expected a path below the dataset, found {file!r}"
    for name in ("samples", "bytes"):
        if not is_count(entry[name]):
            return f"{file}: {name}: expected a count, found {entry[name]!r}"
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        return f"{file}: sha256: expected 64 hexadecimal digits, found {sha256!r}"
    return None


def shards_fault(entries: list[dict[str, Any]]) -> str | None:
    """What is wrong with the entries of a split's shards: the first entry's fault, or names that clash."""
    for entry in entries:
        if fault := shard_fault(entry):
            return fault
        if entry["samples"] > entry["bytes"] // BLOCK:
            return f"{entry['file']}: samples: expected no more than blocks of the tar, found {entry['samples']}"
    stems = Counter(entry["file"].rpartition("/")[2].rpartition(".")[0] for entry in entries)
    twice = next((stem for stem, count in stems.items() if count > 1), None)
    return None if twice is None else f"file: expected a name of its own for every shard, found {twice} twice"
