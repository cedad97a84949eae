"""Locks on folders, so that only one job at a time writes to each."""

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
    """Create `folders` if necessary and lock them until the block ends. Yields whether all of them could be locked.

    The lock is a POSIX lock on FOLDER/.lock, which ends with its process, however the process ends. Object stores, file
    systems without locks and folders that are not writable cannot be locked: two jobs are then not kept apart. One
    process may lock a folder twice.

    Args:
        folders: Local paths or URLs.
        wait: Block until another process releases its lock, instead of raising.

    Raises:
        UserError: Another process holds a lock. The message says which one, and since when.
        files.cannot_write: A folder cannot be created.
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
                os.unlink(path)  # before the lock is released: a process that waits for it then opens the path again
            stream.close()
        for empty in made:
            with contextlib.suppress(OSError):
                os.rmdir(empty)


def _make(shown: str, folder: str) -> list[str]:
    """Create `folder`. Return the folders that were missing, the innermost first."""
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
    """Open and lock the file at `path`; None if it cannot be locked."""
    while True:
        try:
            stream = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        except FileNotFoundError:  # the last holder of the lock removed the folder
            _make(shown, os.path.dirname(path))
            continue
        except OSError as error:
            if error.errno in READ_ONLY:
                return None
            raise files.cannot_write(path, error) from None
        try:
            # forked processes that outlive this one, such as loader workers, do not inherit a POSIX lock
            fcntl.lockf(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            with stream:
                holder = stream.read(200).decode(errors="replace").strip() or "another process"
            raise UserError(f"{shown} is in use by {holder}; wait for it, or name another folder") from None
        except OSError:  # a file system without locks
            stream.close()
            return None
        except BaseException:  # a signal while waiting
            stream.close()
            raise
        if os.fstat(stream.fileno()).st_nlink:
            return stream
        stream.close()  # the file was removed after it was opened


def _sign(stream: IO[bytes]) -> None:
    since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    with contextlib.suppress(OSError):  # if the disk is full, the lock is held without owner information
        stream.truncate()
        stream.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
