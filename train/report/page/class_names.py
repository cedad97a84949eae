"""Names of classes from a file: one per line, `id name` pairs such as WordNet's lists, or JSON of either."""

import json
import re
from dataclasses import dataclass
from typing import Any

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

FORMS = (
    "one name per line in the order of classes, lines such as `n01440764 tench, Tinca tinca`, or JSON such as "
    '{"0": ["n01440764", "tench"]}'
)
WORDNET = re.compile(r"n\d{8}")
Pair = tuple[str, str]  # what a class is called in the dataset, or its number; its name


@dataclass(frozen=True)
class ClassNames:
    """The content of a file of class names.

    Attributes:
        path: of the file.
        lines: all that is there, in its order: (id, name), the id empty where there is none.
        numbers: by the number of a class, where the file has numbers.
    """

    path: str
    lines: list[Pair]
    numbers: dict[int, str]

    @classmethod
    def read(cls, path: str) -> "ClassNames":
        """Read a file; raises UserError if it holds no names of classes."""
        try:
            text = files.read_bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"--class-names: {path}: expected text in UTF-8: {FORMS}") from None
        if text.lstrip()[:1] in ("{", "["):
            return cls(path, *_of_json(path, text))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            raise UserError(f"--class-names: {path}: expected {FORMS}, found an empty file")
        pairs = [(first, rest.strip()) for first, _, rest in (line.replace("\t", " ").partition(" ") for line in lines)]
        if all(WORDNET.fullmatch(first) and rest for first, rest in pairs):
            return cls(path, pairs, {})
        if {first for first, _ in pairs} == {str(number) for number in range(len(pairs))} and all(r for _, r in pairs):
            return cls(path, [("", rest) for _, rest in pairs], {int(first): rest for first, rest in pairs})
        return cls(path, [("", line) for line in lines], {})

    def of(self, classes: list[str] | None, count: int) -> list[str]:
        """The name of every class, in their order.

        Args:
            classes: what the dataset calls them (its folders' names); None if it is not there.
            count: of classes.

        Raises UserError if the file does not have one for each.
        """
        known = classes or []
        for by_id in (dict(self.lines), self._pairs()):
            if any(name in by_id for name in known) and (len(by_id) == len(self.lines) or set(known) <= set(by_id)):
                return self._shortened([self._named(by_id, name, known) for name in known])
        if len(self.numbers) == count and set(range(count)) == self.numbers.keys():
            return self._shortened([self.numbers[number] for number in range(count)])
        if not self.numbers and not any(first for first, _ in self.lines) and len(self.lines) == count:
            return [name for _, name in self.lines]
        raise UserError(f"--class-names: {self.path}: {self._unfit(known, count)}")

    def _pairs(self) -> dict[str, str]:
        """The lines as ids and names where the first word is an id: of datasets whose ids are not WordNet's."""
        words = [name.partition(" ") for first, name in self.lines if not first]
        return {first: rest.strip() for first, _, rest in words if rest.strip()}

    def _named(self, by_id: dict[str, str], name: str, classes: list[str]) -> str:
        if name not in by_id:
            lacking = [other for other in classes if other not in by_id]
            more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
            raise UserError(f"--class-names: {self.path}: expected a name of every class, found none of {name!r}{more}")
        return by_id[name]

    def _unfit(self, classes: list[str], count: int) -> str:
        ids = [first for first, _ in self.lines if first]
        if ids and not self.numbers:
            called = f"classes called {classes[0]!r} and so on" if classes else "no dataset to match them with"
            return f"expected names by what the dataset calls its classes, found ids such as {ids[0]!r} and {called}"
        return f"expected {count:,} names, one for each class, found {len(self.lines):,}"

    @staticmethod
    def _shortened(names: list[str]) -> list[str]:
        """The first of several words for the same thing (`tench, Tinca tinca`), unless two classes share it."""
        first = [name.partition(",")[0].strip() for name in names]
        return [short if first.count(short) == 1 else name for short, name in zip(first, names, strict=True)]


def _of_json(path: str, text: str) -> tuple[list[Pair], dict[int, str]]:
    wrong = UserError(f"--class-names: {path}: expected {FORMS}")
    try:
        value = json.loads(text)
    except ValueError:
        raise wrong from None
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return [("", name) for name in value], {}
    if not isinstance(value, dict) or not value:
        raise wrong
    pairs = [_entry(key, entry) for key, entry in value.items()]
    if None in pairs:
        raise wrong
    found = [pair for pair in pairs if pair]
    numbers = {}
    if all(key.isdecimal() for key in value):
        numbers = {int(key): name for key, (_, name) in zip(value, found, strict=True)}
        found = [(first if first not in value else "", name) for first, name in found]
    return found, numbers


def _entry(key: str, entry: Any) -> Pair | None:
    """(id, name) of `"n01440764": "tench"`, `"0": "tench"` or `"0": ["n01440764", "tench"]`; None for others."""
    if isinstance(entry, str):
        return key, entry
    if isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry):
        return entry[0], entry[1]
    return None
