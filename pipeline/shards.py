"""WebDataset shards and the `dataset.json` that lists them: what `pack` writes and everything else reads."""

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import IO

from webdataset.tariterators import group_by_keys, meta_prefix, meta_suffix, tar_file_iterator
from webdataset.writer import TarWriter

from vit_tickets.pipeline import files
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.images import SUFFIXES

INDEX = "dataset.json"
VERSION = 1


@dataclass(frozen=True)
class Sample:
    """One image of a shard: its key, class index, and bytes as they are in the source."""

    key: str
    label: int | None
    data: bytes | None
    suffix: str = "jpg"


@dataclass(frozen=True)
class Shard:
    """An entry of `dataset.json`; `file` is relative to the dataset's folder, `bytes` and `sha256` are the tar's."""

    file: str
    samples: int
    bytes: int
    sha256: str

    @property
    def stem(self) -> str:
        return os.path.splitext(os.path.basename(self.file))[0]


@dataclass(frozen=True)
class Dataset:
    """A folder of shards: `Dataset.open(path)`."""

    root: str
    name: str
    classes: list[str]
    source: str
    splits: dict[str, list[Shard]] = field(default_factory=dict)

    @classmethod
    def open(cls, root: str) -> "Dataset":
        """Read DATASET/dataset.json; raises UserError if it is missing, malformed or of an unknown version."""
        path = files.join(root, INDEX)
        if not files.exists(path):
            raise UserError(f"expected a dataset written by `vit-tickets pack`, found no {INDEX} in {root}")
        record = files.read_json(path)
        try:
            if record["version"] != VERSION:
                raise UserError(f"{path}: expected version {VERSION}, found {record['version']!r}")
            splits = {split: [Shard(**shard) for shard in entry["shards"]] for split, entry in record["splits"].items()}
            return cls(root, record["name"], list(record["classes"]), record["source"], splits)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} does not have the fields of a dataset index: {error!r}") from None

    def save(self) -> None:
        splits = {
            split: {
                "samples": sum(shard.samples for shard in shards),
                "shards": [asdict(shard) for shard in shards],
            }
            for split, shards in self.splits.items()
        }
        record = {"name": self.name, "classes": self.classes, "source": self.source, "version": VERSION}
        files.write_json(files.join(self.root, INDEX), record | {"splits": splits})

    def shards(self, split: str) -> list[Shard]:
        if split not in self.splits:
            raise UserError(f"{self.root} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split]

    def samples(self, split: str) -> int:
        return sum(shard.samples for shard in self.shards(split))

    def path_of(self, shard: Shard) -> str:
        return files.join(self.root, shard.file)


def read_shard(path: str) -> Iterator[Sample]:
    """The samples of the tar at `path`, in order; raises UserError where the tar cannot be read to its end."""
    for fields in read_members(path):
        suffix = next((name for name in fields if name in SUFFIXES), None)
        yield Sample(
            key=fields["__key__"],
            label=parse_label(fields.get("cls")),
            data=None if suffix is None else fields[suffix],
            suffix=suffix or "jpg",
        )


def read_members(path: str) -> Iterator[dict]:
    """The samples of the tar at `path` as webdataset groups them: `__key__` and a bytes value per suffix."""
    with files.open_read(path) as stream:
        ends = _EndsKept(stream)
        members = (member | {"__url__": path} for member in tar_file_iterator(ends, skip_meta=None))
        try:
            yield from group_by_keys(members)
            if ends.first[257:262] == b"ustar" and any(ends.last):
                raise EOFError("it ends before its end-of-archive block")
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            raise _unreadable(path, error) from None


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as a WebDataset shard: {error.args[0] if error.args else error}")


def read_keys(path: str) -> list[str]:
    """The keys of `read_shard(path)`; of a local tar only the headers are read, the rest is skipped."""
    if not files.is_local(path):
        return [member["__key__"] for member in read_members(path)]
    with files.open_read(path) as stream:
        try:
            return [member["__key__"] for member in group_by_keys(_headers(stream, path))]
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            raise _unreadable(path, error) from None


def _headers(stream: IO[bytes], path: str) -> Iterator[dict]:
    """The regular members of a tar as `tar_file_iterator` gives them, without their data."""
    with tarfile.open(fileobj=stream) as tar:
        for member in tar:
            is_meta = member.name.startswith(meta_prefix) and member.name.endswith(meta_suffix)
            if member.isreg() and ("/" in member.name or not is_meta):
                yield {"fname": member.name, "data": None, "__url__": path}
            tar.members = []  # which it would gather


class _EndsKept:
    """Passes reads on and keeps the first and last block; tarfile alone takes a tar cut inside a header for whole."""

    def __init__(self, stream):
        self._stream, self.first, self.last = stream, b"", b""

    def read(self, size: int = -1) -> bytes:
        if data := self._stream.read(size):
            self.first, self.last = self.first or data[: tarfile.BLOCKSIZE], data[-tarfile.BLOCKSIZE :]
        return data


def parse_label(text: bytes | None) -> int | None:
    """The class index in a `.cls` member; None if there is none or it is not an integer."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


class _HashedStream:
    """Passes writes on and keeps their SHA-256 and length."""

    def __init__(self, stream):
        self._stream, self._hash, self.length = stream, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.length += len(data)
        return self._stream.write(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def write_tar(path: str, members: Iterable[dict]) -> tuple[int, int, str]:
    """Write webdataset samples (`__key__`, bytes per suffix) as one tar; equal samples give equal bytes.

    Returns how many samples, bytes of the tar, its SHA-256.
    """
    count = 0
    with files.atomic_write(path) as stream:
        hashed = _HashedStream(stream)
        with TarWriter(hashed, encoder=False, mtime=0, format="PAX_FORMAT") as writer:
            for member in members:
                writer.write(member)
                count += 1
    return count, hashed.length, hashed.hexdigest()


def write_shard(root: str, file: str, samples: Iterable[Sample]) -> Shard:
    """Write `samples` as the tar `root`/`file` and return its index entry."""
    members = ({"__key__": s.key, s.suffix: s.data, "cls": str(s.label).encode()} for s in samples)
    return Shard(file, *write_tar(files.join(root, file), members))


def sha256_of(path: str) -> str:
    """SHA-256 of the file at `path`, as 64 hexadecimal digits."""
    with files.open_read(path) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
