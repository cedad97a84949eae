"""Options that the commands of stage 1 share: how shards are worked on, and by how many workers."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from vit_tickets.pipeline.commands.options import DEVICE
from vit_tickets.pipeline.geometry.images import MAX_PIXELS
from vit_tickets.pipeline.system.cluster import AUTO, ENGINES, RAY, Engine, choose_engine
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import COUNT, option

if TYPE_CHECKING:  # torch takes seconds to import, and help needs none
    from vit_tickets.ticketgen.engines.processor import Spec

CPU_BATCH = 16
SELECTOR_BATCH = 256
ANNOTATOR_BATCH = 64  # larger networks, larger squares


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """The engine that runs a network over shards."""

    engine: str = option(
        "ray: actors on this machine or a cluster; local: this process alone; auto: ray where there are several GPUs, "
        "an address (--ray-address, RAY_ADDRESS) or a job of Ray, else local. All write the same bytes.",
        section="Engine",
        default=AUTO,
        choices=ENGINES,
        show_default=True,
    )
    ray_address: str | None = option("Join this Ray cluster instead of starting one here.", default=None)
    workers: int | None = option(
        "Actors (ray) or threads (local).  [default: one per GPU, or all CPUs]", default=None, type=COUNT
    )
    batch_size: int | None = option(
        f"Images per forward pass.  [default: {CPU_BATCH} on CPU; on GPU {SELECTOR_BATCH} of a selector, "
        f"{ANNOTATOR_BATCH} of an annotator]",
        default=None,
        type=COUNT,
    )
    device: str = option("auto, cpu or cuda.", default="auto", type=DEVICE, show_default=True)
    precision: str = option(
        "Precision of the forward pass.", default="fp32", choices=("fp32", "bf16"), show_default=True
    )
    max_pixels: int = option(
        "Images of more pixels are recorded as errors.", default=MAX_PIXELS, type=COUNT, show_default=True
    )

    def opener(self, spec: "Spec", gpu_batch: int) -> Callable[[], contextlib.AbstractContextManager]:
        """Opens the engine on the network that `spec` builds; a line says which, unless it was asked for.

        gpu_batch: images per pass of a GPU, by default.
        """
        from vit_tickets.ticketgen.engines.opening import engine_of
        from vit_tickets.ticketgen.engines.work import Batches

        batches, engine = Batches(self.batch_size, gpu_batch, CPU_BATCH), self._engine
        if engine.why is not None:
            click.echo(str(engine))
        return engine_of(engine.name, spec, batches, self._device, self.precision, self.workers, engine.address)

    def check_device(self) -> None:
        """Raise UserError for a device that is not there, before a network is loaded."""
        _ = self._device

    @property
    def _engine(self) -> Engine:
        """The engine that does the work."""
        import torch

        gpus = 0 if self.device == "cpu" else 1 if ":" in self.device else torch.cuda.device_count()
        return choose_engine(self.engine, self.ray_address, gpus)

    @property
    def _device(self) -> str:
        """The device of this machine; unresolved where the workers are on others."""
        from vit_tickets.ticketgen.engines.processor import resolve_device

        engine = self._engine
        if engine.name == RAY and ":" in self.device:
            raise UserError(
                f"--device: expected auto, cpu or cuda with --engine ray, found {self.device}; pass --engine local, or "
                "set CUDA_VISIBLE_DEVICES"
            )
        is_elsewhere = engine.name == RAY and engine.address is not None
        return self.device if is_elsewhere else resolve_device(self.device)


def check_weights(path: str | None) -> None:
    """Raise UserError unless the file of `--weights` is there."""
    from vit_tickets.pipeline.system import files

    if path is not None and not files.exists(path):
        raise UserError(f"--weights: expected a file of weights, found no {path}")
