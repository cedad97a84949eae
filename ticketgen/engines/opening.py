"""Where shards are processed: in this process, or by actors of a Ray cluster. The tasks are the same."""

import contextlib
from collections.abc import Callable

from vit_tickets.ticketgen.engines.local import local_engine
from vit_tickets.ticketgen.engines.processor import Spec
from vit_tickets.ticketgen.engines.work import Batches


def engine_of(
    name: str,
    spec: Spec,
    batches: Batches,
    device: str,
    precision: str,
    workers: int | None,
    ray_address: str | None,
) -> Callable[[], contextlib.AbstractContextManager]:
    """A function that opens the engine `name`, ray or local, with the network that `spec` builds.

    device: of this machine; with `ray_address` it may be `auto`, which the nodes of the cluster then decide.
    """
    if name == "local":
        return lambda: local_engine(spec, batches.on(device), device, precision, workers)
    from vit_tickets.ticketgen.engines.ray_cluster import ray_engine

    return lambda: ray_engine(spec, batches, device, precision, workers, ray_address)
