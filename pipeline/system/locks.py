"""One job at a time in a folder."""

import contextlib
import datetime
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from typing import IO

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError

LOCK = ".lock"
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def alone_in(*folders: str, wait: bool = False) -> Iterator[bool]:
    """Holds `folders`, made where they are missing, until the block ends; whether all of them are locked.

    Raises UserError where another process holds one (who, and since when), and `files.cannot_write` where one cannot be
    made.

    wait: until it lets go, instead. The lock is the system's, on FOLDER/.lock, and ends with its process, however that
    ends. There is none, and two jobs are not kept apart, on object stores, on file systems without locks, and in a
    folder that cannot be written to. It does not keep one process from holding a folder twice.
    """
    with contextlib.ExitStack() as held:
        locked = True
        for folder in folders:
            if files.is_local(folder):
                locked &= held.enter_context(_held(folder, files.filesystem(folder)[1], wait))
            else:
                locked = False
        yield locked


@contextlib.contextmanager
def _held(shown: str, folder: str, wait: bool) -> Iterator[bool]:
    made = _make(shown, folder)
    path = os.path.join(folder, LOCK)
    stream = None
    try:
        stream = _lock(shown, path, wait)
        if stream is not None:
            _sign(stream)
        yield stream is not None
    finally:
        if stream is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)  # before it is let go: whoever waits for this file looks again
            stream.close()
        for empty in made:
            with contextlib.suppress(OSError):
                os.rmdir(empty)


def _make(shown: str, folder: str) -> list[str]:
    """Make `folder`; it and those above it that were missing, innermost first."""
    missing = []
    above = folder
    while not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise files.cannot_write(shown, error) from None
    return missing


def _lock(shown: str, path: str, wait: bool) -> IO[bytes] | None:
    """The file at `path`, locked; None where there are no locks."""
    while True:
        try:
            stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except FileNotFoundError:  # who held the folder has removed it
            _make(shown, os.path.dirname(path))
            continue
        except OSError as error:
            if error.errno in READ_ONLY:
                return None
            raise files.cannot_write(path, error) from None
        try:
            # a POSIX lock: forked processes that outlive this one, such as a loader's, do not hold it
            fcntl.lockf(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            with stream:
                holder = stream.read(200).decode(errors="replace").strip() or "another process"
            raise UserError(f"{shown} is in use by {holder}; wait for it, or name another folder") from None
        except OSError:  # a file system without locks
            stream.close()
            return None
        except BaseException:  # a signal while it waits
            stream.close()
            raise
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # it was let go of, and removed, since it was opened


def _sign(stream: IO[bytes]) -> None:
    since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    with contextlib.suppress(OSError):  # on a full disk it is held namelessly
        stream.truncate()
        stream.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
