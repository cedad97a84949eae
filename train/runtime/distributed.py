"""One process or many: the environment that torchrun sets, and the collectives that training needs."""

import contextlib
import inspect
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vit_tickets.pipeline.system.errors import UserError, WorkFailed, first_line

LOOPBACK = "lo"  # on Linux


def is_main_process() -> bool:
    """Whether this is rank 0 or the only process, for code that has no `World`."""
    return not dist.is_initialized() or dist.get_rank() == 0


@dataclass(frozen=True)
class World:
    """This process among those that torchrun started. Without torchrun: rank 0 of 1."""

    rank: int
    size: int
    device: str

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Sum each value over all ranks."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def least(self, value: int) -> int:
        """The minimum of `value` over all ranks."""
        return int(self._reduced([value], dist.ReduceOp.MIN)[0])

    def agrees(self, value: int) -> bool:
        """Whether all ranks have the same value."""
        return self.least(value) == -self.least(-value)

    def wait(self) -> None:
        """Block until all ranks have called this."""
        self.sum(0)

    def _reduced(self, values: Iterable[float], operation: Any) -> list[float]:
        if self.size == 1:
            return [float(value) for value in values]
        reduced = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        try:
            dist.all_reduce(reduced, operation)
        except RuntimeError as error:  # the rank that failed reports the reason itself
            raise WorkFailed(f"rank {self.rank} lost the other ranks: {first_line(error)[:200]}") from None
        return reduced.tolist()

    def parallel(self, model: nn.Module, image_size: int, **passed: Any) -> nn.Module:
        """`model` with gradients averaged over all ranks. Buffers are not synchronised until `share`.

        DistributedDataParallel rearranges its buckets in the second forward pass, together with the other ranks, and
        sums in another order from then on. The two passes made here ensure that a resumed run sums in the same order
        from its first step as a run that was never interrupted, and that one rank can fail in its first step without
        blocking the others.

        Args:
            model: A network on this rank's device.
            image_size: Side of the images of the two passes, in pixels.
            passed: What else they give to the model, so that every parameter takes part.
        """
        if self.size == 1:
            return model
        devices = [self.device] if self.device.startswith("cuda") else None
        known = inspect.signature(DistributedDataParallel).parameters
        synchronise = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # torch < 2.13
        options: dict[str, Any] = {synchronise: False}
        parallel = DistributedDataParallel(model, device_ids=devices, **options)
        parallel.eval()
        for _ in range(2):
            parallel(torch.zeros(1, 3, image_size, image_size, device=self.device), **passed).sum().backward()
            parallel.zero_grad(set_to_none=True)
        return parallel

    def alone(self, parallel: nn.Module) -> contextlib.AbstractContextManager:
        """A context without synchronisation of gradients, for the network that `parallel` returned.

        The gradients of passes in this context are averaged together with those of the next pass outside it.
        """
        return contextlib.nullcontext() if self.size == 1 else parallel.no_sync()

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` in place with those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)


@contextlib.contextmanager
def world(device: str) -> Iterator[World]:
    """Join the process group of torchrun's environment (nccl on GPUs, gloo on CPUs), and leave it after the block.

    If all ranks share a machine, gloo uses the loopback interface unless GLOO_SOCKET_IFNAME names another one.
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
        if int(device.removeprefix("cuda:")) >= (found := torch.cuda.device_count()):
            raise UserError(f"--device: expected a card of cuda:0 to cuda:{found - 1}, found {device}")
        torch.cuda.set_device(device)
    elif device != "cpu":
        raise UserError(f"expected a device among auto, cpu, cuda, found {device!r}")
    if size > 1:
        on_one_machine = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) == size
        if on_one_machine and any(name == LOOPBACK for _, name in socket.if_nameindex()):
            os.environ.setdefault(
                "GLOO_SOCKET_IFNAME", LOOPBACK
            )  # by default it listens on the address of the host's name
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    yield World(rank, size, device)
    if size > 1:  # not in a `finally`: after a failure, the other ranks may no longer respond
        dist.destroy_process_group()
