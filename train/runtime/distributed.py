"""One process or many: torchrun's environment, and the few collectives that training needs."""

import contextlib
import inspect
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vit_tickets.pipeline.system.errors import UserError, WorkFailed

LOOPBACK = "lo"  # on Linux


def is_main_process() -> bool:
    """Whether this is rank 0, or the only process, for code that is handed no World."""
    return not dist.is_initialized() or dist.get_rank() == 0


@dataclass(frozen=True)
class World:
    """This process among those that torchrun started; rank 0 of 1 without it."""

    rank: int
    size: int
    device: str

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all ranks."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def least(self, value: int) -> int:
        """The smallest of all ranks' values."""
        return int(self._reduced([value], dist.ReduceOp.MIN)[0])

    def agrees(self, value: int) -> bool:
        """Whether all ranks have the same value."""
        return self.least(value) == -self.least(-value)

    def wait(self) -> None:
        """Return when all ranks have come here."""
        self.sum(0)

    def _reduced(self, values: Iterable[float], how) -> list[float]:
        if self.size == 1:
            return [float(value) for value in values]
        reduced = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        try:
            dist.all_reduce(reduced, how)
        except RuntimeError as error:  # a rank that fails says why itself
            raise WorkFailed(f"rank {self.rank} lost the others: {str(error).splitlines()[0][:200]}") from None
        return reduced.tolist()

    def parallel(self, model: nn.Module, image_size: int) -> nn.Module:
        """`model` with its gradients averaged over all ranks; buffers stay each rank's own until `share`.

        DistributedDataParallel rearranges its buckets in the second forward pass, together with the other ranks, and
        sums in another order from then on. Two passes are made here, so that a resumed run sums from its first step as
        one that never stopped, and that a rank may fail in its first step while the others go on.
        """
        if self.size == 1:
            return model
        devices = [self.device] if self.device.startswith("cuda") else None
        known = inspect.signature(DistributedDataParallel).parameters
        own_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch < 2.13
        parallel = DistributedDataParallel(model, device_ids=devices, **{own_buffers: False})
        parallel.eval()
        for _ in range(2):
            parallel(torch.zeros(1, 3, image_size, image_size, device=self.device)).sum().backward()
            parallel.zero_grad(set_to_none=True)
        return parallel

    def alone(self, parallel: nn.Module) -> contextlib.AbstractContextManager:
        """In it, passes through `parallel` (as `parallel` returns it) leave the gradients each rank's own; they are
        averaged with those of the next pass outside."""
        return contextlib.nullcontext() if self.size == 1 else parallel.no_sync()

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` by those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


@contextlib.contextmanager
def world(device: str) -> Iterator[World]:
    """Join the process group that torchrun's environment describes (nccl on GPUs, gloo on CPUs), and leave it.

    Ranks that share a machine talk through its loopback interface over gloo, unless GLOO_SOCKET_IFNAME says otherwise.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    local = int(os.environ.get("LOCAL_RANK", 0))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" or device.startswith("cuda:"):
        if not torch.cuda.is_available():
            raise UserError("expected a GPU for --device cuda, found none")
        if device == "cuda":
            device = f"cuda:{local}"
        torch.cuda.set_device(device)
    elif device != "cpu":
        raise UserError(f"expected a device among auto, cpu, cuda, found {device!r}")
    if size > 1:
        on_one_machine = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) == size
        if on_one_machine and any(name == LOOPBACK for _, name in socket.if_nameindex()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)  # else it listens where the host's name leads
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    yield World(rank, size, device)
    if size > 1:  # after a failure the others may not answer any more
        dist.destroy_process_group()
