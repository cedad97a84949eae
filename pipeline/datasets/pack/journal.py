"""The shards that an interrupted `pack` has finished, so that the next call keeps them."""

import json
import os
from dataclasses import asdict, dataclass

from vit_tickets.pipeline.datasets.index import Shard
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

JOURNAL = ".packing.jsonl"


@dataclass(frozen=True)
class Finished:
    """A shard that was written, and the keys in it that could not be shrunk."""

    shard: Shard
    unshrunk: list[str]


class Journal:
    """A line for each finished shard of the split `split` of the dataset `root`: what was written, and from what.

    A shard is kept only if its stamp, a hash of all that it is made from, is the same again. There is no journal on
    remote storage, where nothing can be appended.
    """

    def __init__(self, root: str, split: str):
        self._root = root
        folder = files.join(root, split)
        self._path = os.path.join(files.filesystem(folder)[1], JOURNAL) if files.is_local(root) else None
        self._known: dict[tuple[str, str], Finished] = {}
        if self._path and os.path.exists(self._path):
            self._read(files.read_bytes(self._path))

    def _read(self, lines: bytes) -> None:
        for line in lines.splitlines():
            try:
                entry = json.loads(line)
                finished = Finished(Shard.read(entry["shard"]), [str(key) for key in entry["unshrunk"]])
                self._known[entry["shard"]["file"], entry["stamp"]] = finished
            except (ValueError, KeyError, TypeError, UserError):
                continue  # the last line of a process that was killed

    def find(self, file: str, stamp: str | None) -> Finished | None:
        """The shard `file`, if it was made from what `stamp` says and lies there."""
        known = self._known.get((file, stamp)) if stamp else None
        path = files.join(self._root, file)
        return known if known and files.exists(path) and files.size(path) == known.shard.bytes else None

    def add(self, finished: Finished, stamp: str | None) -> None:
        """Note a shard. Raises `files.cannot_write` if the disk fails."""
        if self._path is None or stamp is None:
            return
        entry = {"shard": asdict(finished.shard), "stamp": stamp, "unshrunk": finished.unshrunk}
        try:
            with open(self._path, "ab") as stream:
                stream.write(f"\n{json.dumps(entry)}".encode())  # behind a line that may be torn
        except OSError as error:
            raise files.cannot_write(self._path, error) from None

    def remove(self) -> None:
        """Delete the journal: the dataset's index lists all shards."""
        if self._path and os.path.exists(self._path):
            files.remove(self._path)
