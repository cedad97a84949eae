"""Read and write whole files on any storage that fsspec supports. A partly written file is never visible.

A path can be a URL. `remote.reported` turns the errors of remote storage into one line.
"""

import contextlib
import datetime
import errno
import io
import json
import os
import posixpath
import secrets
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from vit_tickets.pipeline.system import remote
from vit_tickets.pipeline.system.errors import DiskFailed, UserError

LEFTOVER = ".part"
STORAGE_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def filesystem(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of `path` (a local path or a URL such as `s3://bucket/key`) and the path on it."""
    return remote.connect(os.fspath(path))


def is_local(path: str) -> bool:
    """Whether `path` is on the local disk."""
    return isinstance(filesystem(path)[0], LocalFileSystem)


@contextlib.contextmanager
def _storage(path: str, verb: str = "access") -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """As `filesystem`. Errors of remote storage in the block are reported, those of the local disk passed on."""
    fs, inner = filesystem(path)
    with contextlib.nullcontext() if isinstance(fs, LocalFileSystem) else remote.reported(verb, path):
        yield fs, inner


def absolute(path: str) -> str:
    """A local path from the root of the file system, wherever a process that reads it was started; a URL as it is."""
    fs, inner = filesystem(path)
    return inner if isinstance(fs, LocalFileSystem) else path


def join(root: str, *parts: str) -> str:
    """`root`, a path or URL, with `parts` below it."""
    return posixpath.join(os.fspath(root), *parts)


def name_of(path: str) -> str:
    """Last component of a path or URL: `name_of("s3://b/data/imagenet/") == "imagenet"`."""
    return posixpath.basename(filesystem(path)[1].rstrip("/"))


def exists(path: str) -> bool:
    """Whether there is a file or folder at `path`."""
    with _storage(path) as (fs, inner):
        return fs.exists(inner)


def is_dir(path: str) -> bool:
    """Whether there is a folder at `path`."""
    with _storage(path) as (fs, inner):
        return fs.isdir(inner)


def size(path: str) -> int:
    """Size of the file at `path` in bytes."""
    with _storage(path) as (fs, inner):
        return fs.size(inner)


def modified(path: str) -> datetime.datetime:
    """The time at which the file at `path` was last written."""
    with _storage(path) as (fs, inner):
        return fs.modified(inner)


def list_names(folder: str) -> list[str]:
    """Sorted names of the files and folders directly in `folder`; empty if there is no such folder."""
    with _storage(folder) as (fs, inner):
        fs.invalidate_cache(inner)
        found = fs.ls(inner, detail=False) if fs.isdir(inner) else []
    inner = inner.rstrip("/")  # an object store also lists the folder itself if somebody created a key for it
    return sorted(posixpath.basename(entry.rstrip("/")) for entry in found if entry.rstrip("/") != inner)


def list_kinds(folder: str) -> dict[str, bool]:
    """Sorted names of what lies directly in `folder`, and whether each is a folder; links are followed.

    Raises UserError if a local folder cannot be read.
    """
    with _storage(folder) as (fs, inner):
        if isinstance(fs, LocalFileSystem):
            return dict(sorted((entry.name, _leads_to_folder(entry)) for entry in _entries(inner)))
        fs.invalidate_cache(inner)
        found = {entry["name"].rstrip("/"): entry["type"] == "directory" for entry in fs.ls(inner, detail=True)}
    return {posixpath.basename(name): found[name] for name in sorted(found) if name != inner.rstrip("/")}


def iter_files(folder: str, unfollowed: dict[str, str] | None = None) -> Iterator[str]:
    """Paths, relative to `folder`, of all files below it, without hidden files, pipes and devices.

    In any order, but those of one first-level folder follow one another. Links are followed. Those that cannot be,
    since they lead back to a folder around them or nowhere, are added to `unfollowed`, each with the reason. Raises
    UserError if a local folder cannot be read.
    """
    with _storage(folder) as (fs, root):
        if isinstance(fs, LocalFileSystem):
            yield from _walk(root, {} if unfollowed is None else unfollowed)
            return
        root = root.rstrip("/")
        below = dict(fs.find(root, detail=True))
        found = sorted(path[len(root) + 1 :] for path, entry in below.items() if entry["type"] != "other")
    visible = (path for path in found if not any(part.startswith(".") for part in path.split("/")))
    yield from (path for path in visible if posixpath.basename(path))  # a key `folder/` is no file


def _entries(folder: str) -> list[os.DirEntry]:
    """What lies directly in `folder`. Raises UserError if it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from None


def _leads_to_folder(entry: os.DirEntry) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # False for a link to itself


def _walk(root: str, unfollowed: dict[str, str]) -> Iterator[str]:
    """Paths, relative to `root`, of all visible files below it, in any order.

    A link to a folder is followed once from each first-level folder, and never to a folder around it. Links that are
    not followed, and those that lead nowhere, are added to `unfollowed` with the reason.
    """
    seen: set[tuple[str, str]] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(root),))]
    while waiting:
        below, around = waiting.pop()
        for entry in _entries(os.path.join(root, below)):
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith("."):
                continue
            if not entry.is_symlink():
                if entry.is_dir():
                    waiting.append((path, (*around[:-1], os.path.join(around[-1], entry.name))))
                elif entry.is_file():
                    yield path
                continue
            target, first = os.path.realpath(entry.path), path.split("/")[0]
            if os.path.isfile(target):
                yield path
            elif not os.path.exists(target):
                unfollowed[path] = "a link to nothing"
            elif os.path.isdir(target):
                if any(real == target or real.startswith(target.rstrip("/") + "/") for real in around):
                    unfollowed[path] = "a link to a folder around it"
                elif (first, target) in seen:
                    unfollowed[path] = "a second link to one folder"
                else:
                    seen.add((first, target))
                    waiting.append((path, (*around, target)))


def open_read(path: str) -> IO[bytes]:
    """A binary stream of the file at `path`. Raises UserError if it is missing or cannot be read."""
    fs, inner = filesystem(path)
    if not isinstance(fs, LocalFileSystem):
        return remote.open_whole(fs, inner, path)
    try:
        return fs.open(inner, "rb")
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:  # a folder, no permission, a link to itself, a name too long ...
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def read_bytes(path: str) -> bytes:
    with open_read(path) as stream:
        return stream.read()


def remove(path: str) -> None:
    """Delete the file at `path`, if there is one."""
    with _storage(path, "delete") as (fs, inner), contextlib.suppress(FileNotFoundError):
        fs.rm_file(inner)


def read_json(path: str) -> Any:
    """The parsed JSON file. Raises UserError if it is missing or not JSON."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None


def write_json(path: str, value: Any) -> None:
    """Write `value` as JSON, with an indentation of 1. Raises as `atomic_write` does."""
    with atomic_write(path) as stream:
        stream.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def cannot_write(path: str, error: OSError) -> UserError | DiskFailed:
    """The exception to raise for `error` at `path`: DiskFailed if storage is full or broken, else UserError."""
    kind = DiskFailed if error.errno in STORAGE_FAILED else UserError
    return kind(f"cannot write {path}: {error.strerror or error}")


def check_writable(folder: str) -> None:
    """Create a local `folder`. Raise `cannot_write` if it is not writable. Remote folders are not checked."""
    fs, inner = filesystem(folder)
    if isinstance(fs, LocalFileSystem):
        try:
            os.makedirs(inner, exist_ok=True)
            with tempfile.TemporaryFile(dir=inner):
                pass
        except OSError as error:
            raise cannot_write(folder, error) from None


class _Output(io.FileIO):
    """A file that remembers the error of a failed write, even if the code that writes hides it."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise

    def move(self, path: str) -> None:
        """Rename the file to `path`, after all its data has reached the disk."""
        try:
            os.fsync(self.fileno())
            os.replace(self.name, path)
        except OSError as error:
            self.fault = error
            raise


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """A binary stream whose content appears at `path`, complete, if the block ends without an exception.

    On the local disk, the stream writes to `.<name>.<random>.part` in the same folder, which is then renamed. On remote
    storage, it writes to a local temporary file, which is then uploaded as one object. Raises `cannot_write` if the
    disk fails; an earlier file at `path` is then unchanged.
    """
    fs, inner = filesystem(path)
    if not isinstance(fs, LocalFileSystem):
        with tempfile.NamedTemporaryFile() as stream:
            yield stream
            stream.flush()
            with remote.reported("write", path):
                fs.put_file(stream.name, inner)
        return
    if os.path.exists(inner) and not os.path.isfile(inner):
        found = "folder" if os.path.isdir(inner) else "device"
        raise UserError(f"cannot write {path}: expected a file, found a {found}")
    folder, name = os.path.split(inner)
    try:
        os.makedirs(folder, exist_ok=True)
        output = _Output(os.path.join(folder, f".{name}.{secrets.token_hex(4)}{LEFTOVER}"), "w+")
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        with io.BufferedRandom(output) as stream:
            yield stream
            stream.flush()
            output.move(inner)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(output.name)
        if output.fault is not None:
            raise cannot_write(path, output.fault) from None
        raise


def remove_leftovers(folder: str) -> int:
    """Delete the temporary files that killed writers left in `folder`. Return their number."""
    leftovers = [name for name in list_names(folder) if name.startswith(".") and name.endswith(LEFTOVER)]
    for name in leftovers:
        remove(join(folder, name))
    return len(leftovers)
