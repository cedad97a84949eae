"""What a worker makes of errors: want of GPU memory halves the batch, in every form; others fail the shard."""

from dataclasses import dataclass, field

import pytest
import torch

from vit_tickets.ticketgen.engines.processor import Processor
from vit_tickets.ticketgen.engines.work import Settings


class NoSpec:
    state = b""

    def build(self, device, precision):
        return None


@dataclass
class Failing:
    """A shard that fails with `error` unless batches are of at most 2."""

    error: Exception
    sizes: list = field(default_factory=list)
    samples: int = 8
    name: str = "train/000000.tar"

    def process(self, network, settings, progress):
        self.sizes.append(settings.batch_size)
        if settings.batch_size > 2:
            raise self.error


def processed(error):
    task = Failing(error)
    finished = Processor(NoSpec(), Settings(batch_size=8), "cpu", "fp32").process(task, lambda *_: None)
    return finished, task.sizes


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    ],
)
def test_every_form_of_want_of_memory_halves_the_batch(error):
    finished, sizes = processed(error)
    assert finished.error is None
    assert (sizes, finished.batch_size) == ([8, 4, 2], 2)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. A non-contiguous input?"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: out of memory"),
        MemoryError("out of memory"),
        ValueError("CUDA out of memory"),
    ],
)
def test_any_other_error_fails_the_shard(error):
    finished, sizes = processed(error)
    assert sizes == [8]
    assert finished.error.startswith(type(error).__name__)
