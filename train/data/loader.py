"""Loader workers: processes that read shares of batches for the training process."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from vit_tickets.pipeline.system.errors import WorkFailed, first_line
from vit_tickets.train.data.batches import BatchT, Share
from vit_tickets.train.runtime import interrupts

PREFETCH = 4
HANDING_OVER = (ConnectionError, EOFError, FileNotFoundError)  # from the socket of a worker that is gone
SHARED_MEMORY = "/dev/shm"  # noqa: S108
FEWER = "fewer --workers need less memory"
NO_DESCRIPTORS = ("Too many open files", "items of ancillary data")  # the latter where they arrive in this process


def shares_of(dataset: "IterableDataset[Share[BatchT]]", workers: int) -> Iterator[Share[BatchT]]:
    """What `workers` loader processes yield, in turn; 0 reads in this process.

    Raises the UserError that a worker yields as its failure, and WorkFailed if a worker died.
    """
    shares = iter(_loader(dataset, workers))
    if workers and threading.current_thread() is threading.main_thread():
        # torch's handler raises for a dead worker wherever the main thread is; without it the next share does
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for share in shares:
            if share.failure is not None:
                raise share.failure
            yield share
    except MemoryError:
        raise WorkFailed(f"a DataLoader worker found no memory; {FEWER}") from None
    except (RuntimeError, OSError, EOFError) as error:
        raise _why(error, shares, workers) or error from None
    finally:
        if workers:  # now, not when the last traceback that holds them is gone
            shares._shutdown_workers()


def _why(error: Exception, shares: Any, workers: int) -> WorkFailed | None:
    """What became of a worker or of its share, by the error that it caused in this process; None for other errors."""
    text = first_line(error).strip()
    if workers and any(words in text for words in NO_DESCRIPTORS):
        return WorkFailed(f"a share of a DataLoader worker cannot be taken over: {text}; {_MORE_FILES}")
    if isinstance(error, HANDING_OVER) and workers:
        lost = f"a DataLoader worker was lost while it handed over a share ({type(error).__name__})"
    elif "DataLoader worker" in text:
        lost = text
    else:
        return None
    return WorkFailed(lost + _cause(worker.exitcode for worker in getattr(shares, "_workers", ())))


def _cause(exit_codes: Iterable[int | None]) -> str:
    """What ended the workers, by their exit codes, and what helps."""
    ended = {-code for code in exit_codes if code is not None and code < 0}
    if signal.SIGBUS in ended:
        return f": {_no_room(0)}"
    if signal.SIGKILL in ended:
        return f", killed by SIGKILL, as where memory ran out; {FEWER}"
    return f"; {FEWER}"


_MORE_FILES = "expected more open files (`ulimit -n`), or --workers 0, which needs none"


def _no_room(num_bytes: int) -> str:
    """The message for a share that does not fit in shared memory."""
    try:
        found = os.statvfs(SHARED_MEMORY)
        free, size = (blocks * found.f_frsize / 2**20 for blocks in (found.f_bavail, found.f_blocks))
        there = f"{free:.1f} MiB free of {size:.1f} MiB"
    except OSError:
        there = "none"
    each = f" ({num_bytes / 2**20:.1f} MiB each)" if num_bytes else ""
    return (
        f"expected room in {SHARED_MEMORY} for the shares that loader workers hand over{each}, found {there}; pass "
        "--workers 0, or give the container more (docker run --shm-size 8g)"
    )


def _loader(dataset: IterableDataset, workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_begin,
        collate_fn=_handed_over,
        multiprocessing_context="fork" if workers else None,
    )


def _begin(_: int) -> None:
    torch.set_num_threads(1)
    interrupts.outlive()


def _handed_over(share: Any) -> Any:
    """The Share `share` with its tensors in shared memory, or the failure that says why they cannot be.

    Otherwise torch moves them in a thread of the worker, where an error loses the share and the trainer waits for it.
    """
    if torch.utils.data.get_worker_info() is None or share.batch is None:
        return share
    try:
        return Share(share.batch.shared(), share.skipped)
    except RuntimeError as error:
        why = first_line(error)
    if any(words in why for words in NO_DESCRIPTORS):
        return Share(failure=WorkFailed(f"a DataLoader worker cannot hand over a share: {why}; {_MORE_FILES}"))
    return Share(failure=WorkFailed(_no_room(share.batch.num_bytes)))
