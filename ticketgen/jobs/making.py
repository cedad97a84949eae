"""On which kinds of workers the files of a folder are made: recorded while they are, so that what resumes can tell."""

from dataclasses import dataclass, field
from typing import Any

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.ticketgen.engines.kinds import Kind

RECORD = ".making.json"  # hidden, and gone when the index is written


def kinds_of_index(index: dict[str, Any]) -> list[Kind]:
    """The kinds that an index records; one for each version or device that it lists."""
    versions, devices = index.get("versions"), index.get("device")
    if not isinstance(versions, dict) or devices is None:
        return []
    lists = {name: of if isinstance(of, list) else [of] for name, of in versions.items()}
    devices = devices if isinstance(devices, list) else [devices]
    found = []
    for place in range(max(map(len, [*lists.values(), devices]))):
        of = tuple((name, str(versions[min(place, len(versions) - 1)])) for name, versions in lists.items() if versions)
        device, _, processor = str(devices[min(place, len(devices) - 1)]).partition(" ")
        if device != "cpu":
            device, processor = str(devices[min(place, len(devices) - 1)]), ""
        found.append(Kind(of, device, processor))
    return found


@dataclass
class Making:
    """The kinds of a folder's files: those of earlier calls, and those that are met.

    Attributes:
        root: the folder.
        earlier: of the files that are there.
        kinds: of all, in the order in which they were met.
    """

    root: str
    earlier: list[Kind] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)

    @classmethod
    def open(cls, root: str, index: dict[str, Any]) -> "Making":
        """Those of the unfinished files in `root`, and of the files that `index` stands for."""
        path = files.join(root, RECORD)
        try:
            records = files.read_json(path) if files.exists(path) else []
            earlier = [*kinds_of_index(index), *(Kind.from_record(record) for record in records)]
        except (UserError, KeyError, TypeError, ValueError):
            earlier = kinds_of_index(index)  # a record of another version, or a damaged one
        earlier = list(dict.fromkeys(earlier))
        return cls(root, earlier, list(earlier))

    def meet(self, kind: Kind) -> str | None:
        """Record a worker's kind before it makes a file; a warning if it differs from those of earlier files."""
        differences = [kind.difference(other) for other in self.earlier]
        if kind not in self.kinds:
            self.kinds.append(kind)
            files.write_json(files.join(self.root, RECORD), [each.record() for each in self.kinds])
        if not differences or None in differences:
            return None
        return (
            f"warning: {self.root} was begun with another kind of worker: {differences[0]}; bits may differ between "
            "files, and both kinds are recorded; --overwrite makes all anew"
        )

    def forget(self) -> None:
        """Delete the record: the index has the kinds, or the files are replaced."""
        files.remove(files.join(self.root, RECORD))
