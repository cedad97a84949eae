"""Remote storage through fsspec: connections, errors in one line, and streams that cannot end early unnoticed."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem, make_path_posix

from vit_tickets.pipeline.system.errors import StorageError, UserError
from vit_tickets.pipeline.system.redaction import HIDDEN, has_password

S3 = ("s3", "s3a")  # schemes of URLs
ATTEMPTS = 6  # per request to S3, at growing intervals; if asked to slow down, s3fs repeats all of them up to 5 times
BUFFER_BYTES = 1 << 18

# A forked loader worker drops its parent's file systems. If they were garbage collected there, each would wait a second
# for a thread that only the parent has, to close connections that belong to the parent.
_kept_alive: dict[int, fsspec.AbstractFileSystem] = {}


def connect(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of `path`, and the path on it. Without `://`, a path is local, whatever colons it has.

    Raises UserError for unknown schemes and URLs with passwords.
    """
    if "://" not in (local := path.removeprefix("file://").removeprefix("local://")):
        return LocalFileSystem(), _absolute(local)
    if has_password(path):
        raise UserError(f"expected credentials in the environment, such as AWS_ACCESS_KEY_ID, found them in {path}")
    if "://" in path and HIDDEN in path:
        raise UserError(f"expected a URL, found one that was stored without its secrets: {path}")
    options = {protocol: s3_options() for protocol in S3 if f"{protocol}://" in path}
    try:
        fs, inner = fsspec.core.url_to_fs(path, **options)
    except ImportError as error:
        need = "s3fs: pip install s3fs" if options else str(error)
        raise UserError(f"cannot open {path!r}, which needs {need}") from None
    except ValueError as error:
        raise UserError(f"cannot open {path!r}: {error}") from None
    if not isinstance(fs, LocalFileSystem):
        _kept_alive[id(fs)] = fs
    return fs, inner


def _absolute(path: str) -> str:
    """A local path as fsspec writes it. A leading ~ stands for a home unless something of that name lies here."""
    if path.startswith("~") and os.path.lexists(path):
        path = f"./{path}"
    return LocalFileSystem._strip_protocol(make_path_posix(path))


def s3_options() -> dict[str, Any]:
    """Options of s3fs. Listings are not cached, because other processes write, too.

    botocore tries each request `ATTEMPTS` times, unless AWS_MAX_ATTEMPTS, AWS_RETRY_MODE or fsspec's configuration
    override this.
    """
    retries = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
    if "AWS_MAX_ATTEMPTS" in os.environ:
        del retries["total_max_attempts"]
    if "AWS_RETRY_MODE" in os.environ:
        del retries["mode"]
    configured = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"use_listings_cache": False, "config_kwargs": {"retries": retries} | configured}


@contextlib.contextmanager
def reported(verb: str, path: str) -> Iterator[None]:
    """Report any error inside the block as `cannot VERB PATH: reason`.

    Raises UserError if the path is missing or access is denied, StorageError for all other errors.
    """
    try:
        yield
    except UserError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if isinstance(error, FileNotFoundError) and verb == "read":
            raise UserError(f"no such file: {path}") from None
        raise UserError(f"cannot {verb} {path}: {_reason(error)}") from None
    except Exception as error:  # OSError, and the exceptions of aiohttp, botocore and other clients
        raise StorageError(f"cannot {verb} {path}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """`error` in one line, or its cause: botocore's error, which also gives the number of attempts."""
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return text[:300] or type(error).__name__


def open_whole(fs: fsspec.AbstractFileSystem, inner: str, path: str) -> IO[bytes]:
    """A buffered stream of a remote file. A read that fails or ends early raises as in `reported`."""
    with reported("read", path):
        return io.BufferedReader(_Whole(fs.open(inner, "rb"), path), BUFFER_BYTES)


class _Whole(io.RawIOBase):
    """A raw stream that raises StorageError if the file ends before its known size."""

    def __init__(self, file: IO[bytes], path: str):
        self._file, self._path = file, path
        self._size = getattr(file, "size", None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(-1)

    def _read(self, length: int) -> bytes:
        with reported("read", self._path):
            at = self._file.tell()
            data = self._file.read(length)
        if self._size is not None:
            left = max(0, self._size - at)
            if len(data) < (left if length < 0 else min(length, left)):
                raise StorageError(f"cannot read {self._path}: it ended after {at + len(data)} of {self._size} bytes")
        return data

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
