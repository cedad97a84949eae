"""The files in a tar, read from first to last, so that a damaged or hostile tar is an error of one line."""

import contextlib
import gzip
import hashlib
import math
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

MAX_HEADER = 1 << 20  # bytes of a long name or of pax records
MAX_COMPRESSED = 1 << 30  # bytes of one file in a compressed tar
GZIP = b"\x1f\x8b"
# Types of members that hold a long name or pax records.
HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
COMPRESSED = (GZIP, b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def read_tar(
    path: str, wanted: Callable[[str], bool], *, gzipped: bool = False, hashed: "HashedStream | None" = None
) -> Iterator[tuple[str, bytes | None]]:
    """Names and contents of the regular files in the tar at `path`, in order.

    Args:
        path: Path or URL.
        wanted: Which names are read; the others have None instead of their content. In a local tar they are skipped.
        gzipped: Accept a tar that is compressed by gzip.
        hashed: Is given every byte of the tar.

    Raises UserError if the tar cannot be read to its end. Compressed tars and sparse members are refused, because a few
    bytes could expand to any size.
    """
    with files.open_read(path) as stream, reported(path):
        start = stream.read(max(map(len, COMPRESSED)))
        stream.seek(0)
        is_gzip = gzipped and start.startswith(GZIP)
        if start.startswith(COMPRESSED) and not is_gzip:
            raise ValueError("expected a plain tar, found a compressed one")
        source: Any = gzip.GzipFile(fileobj=stream) if is_gzip else stream
        if hashed is not None:
            hashed.source = source
            source = hashed
        in_one_pass = is_gzip or hashed is not None or not files.is_local(path) or wanted("")
        most = MAX_COMPRESSED if is_gzip else math.inf
        yield from _members(source, "r|" if in_one_pass else "r:", wanted, most)
        while hashed is not None and source.read(1 << 20):
            pass


@contextlib.contextmanager
def reported(path: str) -> Iterator[None]:
    """Turn whatever goes wrong in reading the tar at `path` into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # tarfile raises anything from ValueError to RecursionError
        why = error.args[0] if error.args else type(error).__name__
        raise UserError(f"{path} cannot be read as a WebDataset shard: {why}") from None


def _members(stream: Any, mode: Any, wanted: Callable[[str], bool], most: float) -> Iterator[tuple[str, bytes | None]]:
    with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Header) as tar:
        for member in tar:
            if member.size < 0 or member.issparse():
                raise ValueError(f"{member.name}: expected a plain member, found a sparse one or a negative size")
            if member.size > most:
                raise ValueError(
                    f"{member.name}: expected at most {most} bytes in a compressed tar, found {member.size}"
                )
            is_meta = member.name.startswith("__") and member.name.endswith("__")  # of webdataset
            if member.isreg() and ("/" in member.name or not is_meta):
                if not is_text(member.name):
                    raise ValueError(f"expected names in UTF-8 without null characters, found {member.name}")
                data = tar.extractfile(member) if wanted(member.name) else None
                yield member.name, None if data is None else data.read()
            # otherwise tarfile keeps all of them in memory
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]


class _Header(tarfile.TarInfo):
    """A header that ends a tar only at the end-of-archive block; tarfile also stops at a damaged or truncated header.

    It refuses negative sizes, which would make tarfile read backwards, and long names or pax records larger than
    `MAX_HEADER`, which tarfile would read into memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} before the end-of-archive block") from None
        most = MAX_HEADER if header.type in HEADERS else math.inf
        if not 0 <= header.size <= most:
            raise tarfile.ReadError(f"{header.name}: expected a size of 0 to {most} bytes, found {header.size}")
        return header


def is_text(name: str) -> bool:
    """Whether `name` is valid UTF-8 without null characters, so that tables and tars can store it."""
    return "\0" not in name and (name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name))


class HashedStream:
    """Passes on what is written to or read from `source`, and computes its SHA-256 and length."""

    def __init__(self, source: Any = None):
        self.source, self._hash, self.length = source, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._count(data)
        return self.source.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self.length += len(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
