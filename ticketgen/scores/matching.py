"""Which name of a source belongs to which key of a dataset."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.system.errors import UserError

STRIPPED = SUFFIXES | {"npy", "xml"}


@dataclass
class Matched:
    """What was found for the keys of a split.

    Attributes:
        names: key -> name in the source.
        refused: key -> why it has none, where several names or keys are alike.
        without: the keys that have no name, these among them.
        alone: how many were matched by their last part alone, without folders.
    """

    names: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    alone: int = 0


def match(names: Sequence[str], keys: Mapping[str, Sequence[str]]) -> dict[str, Matched]:
    """The name of each key of each split in `keys`.

    A name belongs to a key if it is equal to it, or to `SPLIT/KEY`, with or without the suffix of a file, with dots as
    `pack` writes them; otherwise if both end with the same part after the last `/`, which no other name and no other
    key has. Raises UserError where a key is in two splits and no name says which is meant.
    """
    by_name, by_last = _by_form(names, lambda form: form), _by_form(names, _last)
    splits_of: dict[str, list[str]] = {}
    for split, of_split in keys.items():
        for key in of_split:
            splits_of.setdefault(key, []).append(split)
    called = Counter(map(_last, splits_of))

    def find(split: str, key: str, matched: Matched) -> list[str]:
        if of_both := by_name.get(f"{split}/{key}"):
            return of_both
        if plain := by_name.get(key):
            if len(set(splits_of[key])) > 1:
                expected = " and ".join(f"{each}/{key}" for each in splits_of[key])
                raise UserError(
                    f"--scores: expected {expected}, since the splits share keys, found {plain[0]}; or --split"
                )
            return plain
        found = by_last.get(_last(key), [])
        if found and called[_last(key)] > 1:
            matched.refused[key] = f"{called[_last(key)]} images are called {_last(key)}"
            return []
        matched.alone += len(found) == 1
        return found

    result = {split: Matched() for split in keys}
    for split, of_split in keys.items():
        matched = result[split]
        for key in of_split:
            found = find(split, key, matched)
            if len(found) == 1:
                matched.names[key] = found[0]
                continue
            if found:
                matched.refused[key] = f"{len(found)} are called alike: {', '.join(found[:2])}"
            matched.without.append(key)
    return result


def _by_form(names: Sequence[str], reduced: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        for form in dict.fromkeys(map(reduced, _forms(name))):
            found.setdefault(form, []).append(name)
    return found


def _forms(name: str) -> list[str]:
    """What the key of `name` may be: itself, without suffixes, and with dots as underscores."""
    forms, stem = [name], name
    while (parts := os.path.splitext(stem))[1][1:].lower() in STRIPPED:
        stem = parts[0]
        forms.append(stem)
    return list(dict.fromkeys([*forms, stem.replace(".", "_")]))


def _last(key: str) -> str:
    return key.rpartition("/")[2]
