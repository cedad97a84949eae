"""What a source holds that is not packed: counted, named and given a reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import one_line
from vit_tickets.pipeline.system.records import Name, Positive

EXAMPLES = 3
UNDECODABLE = "undecodable.txt"


@dataclass(frozen=True)
class LeftOut:
    """Things of one kind that were left out for one reason, as `dataset.json` lists them."""

    #: one of them: image, row, sample, file, folder, split
    what: Name
    reason: Annotated[str, Meta(description="a text")]
    count: Positive
    #: the first of their names
    examples: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(self.examples) + (", ..." if self.count > len(self.examples) else "")
        return f"{counted(self.count, self.what)} left out, {self.reason}: {names}"


def counted(number: int, noun: str) -> str:
    """`1 image`, `2,000 images`, `3 classes`."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def record_undecodable(folder: str, keys: list[str]) -> None:
    """List the images of a split's folder that could not be decoded, and were packed as they are, by key; one a line.
    Without any there is no such file."""
    path = files.join(folder, UNDECODABLE)
    if not keys:
        files.remove(path)
        return
    with files.atomic_write(path) as stream:
        stream.write("".join(f"{one_line(key)}\n" for key in keys).encode())


def undecodable(folder: str) -> list[str]:
    """The keys of the images that `record_undecodable` listed."""
    path = files.join(folder, UNDECODABLE)
    return [line.decode() for line in files.read_bytes(path).splitlines()] if files.exists(path) else []


class Omissions:
    """Collects what is left out while a source is found and read, by kind and reason, in the order of the first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], LeftOut] = {}

    def add(self, what: str, reason: str, name: str, count: int = 1) -> None:
        """Leave out one `what` (or `count`) called `name`, because of `reason`."""
        name = one_line(name)
        known = self._found.get((what, reason), LeftOut(what, reason, 0, ()))
        names = (*known.examples, name) if len(known.examples) < EXAMPLES else known.examples
        self._found[what, reason] = LeftOut(what, reason, known.count + count, names)

    def merge(self, entry: LeftOut) -> None:
        """Add what was counted elsewhere."""
        known = self._found.get((entry.what, entry.reason), LeftOut(entry.what, entry.reason, 0, ()))
        names = (*known.examples, *entry.examples)[:EXAMPLES]
        self._found[entry.what, entry.reason] = LeftOut(entry.what, entry.reason, known.count + entry.count, names)

    def __iter__(self) -> Iterator[LeftOut]:
        return iter(self._found.values())

    def __len__(self) -> int:
        """The number of things left out, of all kinds."""
        return sum(entry.count for entry in self._found.values())
