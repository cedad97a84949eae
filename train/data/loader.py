"""Loader workers: processes that read shares of batches for the training process."""

import signal
import threading
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, IterableDataset

from vit_tickets.pipeline.system.errors import WorkFailed
from vit_tickets.train.data.batches import BatchT, Share
from vit_tickets.train.runtime import interrupts

PREFETCH = 4
HANDING_OVER = (ConnectionError, EOFError, FileNotFoundError)  # from the socket of a worker that is gone


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
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkFailed(f"{str(error).splitlines()[0].strip()}; fewer --workers need less memory") from None
    except HANDING_OVER as error:
        if not workers:
            raise
        raise WorkFailed(
            f"a DataLoader worker was lost while it handed over a share ({type(error).__name__}); fewer --workers need "
            "less memory"
        ) from None
    finally:
        if workers:  # now, not when the last traceback that holds them is gone
            shares._shutdown_workers()


def _loader(dataset: IterableDataset, workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_begin,
        collate_fn=_as_it_is,
        multiprocessing_context="fork" if workers else None,
    )


def _begin(_: int) -> None:
    torch.set_num_threads(1)
    interrupts.outlive()


def _as_it_is(share: Share) -> Share:
    return share
