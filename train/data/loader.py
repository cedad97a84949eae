"""Loader workers: what crosses from them to the trainer, and how shares become batches."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from vit_tickets.pipeline.system.errors import UserError, WorkFailed
from vit_tickets.train.runtime import interrupts

PREFETCH = 4
HANDING_OVER = (ConnectionError, EOFError, FileNotFoundError)  # from the socket of a worker that is gone

Share = dict[str, Any]


def collate(views: list[Share], skipped: int = 0) -> Share:
    """Views as tensors with a leading dimension; `skipped` counts images left out of the share."""
    if not views:
        return {"skipped": skipped}
    arrays = {name: np.stack([view[name] for view in views]) for name in views[0] if name != "key"}
    share: Share = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if "key" in views[0]:
        share["key"] = [view["key"] for view in views]
    return share | {"skipped": skipped}


def shares_of(dataset: IterableDataset, workers: int) -> Iterator[Share]:
    """What `workers` loader processes yield, in turn; 0 reads in this one.

    Raises UserError for a failure that a worker yields, WorkFailed where a worker died.
    """
    shares = iter(_loader(dataset, workers))
    if workers and threading.current_thread() is threading.main_thread():
        # torch's handler raises for a dead worker wherever the main thread is; without it the next share does
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        for share in shares:
            if "failure" in share:
                raise share["failure"]
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


def join(parts: list[Share], pin_memory: bool = False) -> dict[str, Any]:
    """The shares of one step as one batch of tensors."""
    skipped = sum(part["skipped"] for part in parts)
    full = [part for part in parts if "label" in part]
    if not full:
        raise UserError("expected images that can be decoded, found none in a whole batch")
    batch: dict[str, Any] = {"skipped": skipped}
    for name in full[0]:
        if name == "key":
            batch[name] = [key for part in full for key in part[name]]
        elif name != "skipped":
            tensor = full[0][name] if len(full) == 1 else torch.cat([part[name] for part in full])
            batch[name] = tensor.pin_memory() if pin_memory else tensor
    return batch
