"""The engine without Ray: this process."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from vit_tickets.ticketgen.engines.kinds import Met
from vit_tickets.ticketgen.engines.processor import Processor, Spec, resolve_device
from vit_tickets.ticketgen.engines.protocols import Finished, ShardBar, Task
from vit_tickets.ticketgen.engines.work import Settings


class LocalEngine:
    """Processes shards one after the other; `workers` threads decode and (on CPU) do arithmetic."""

    name = "local"

    def __init__(self, spec: Spec, settings: Settings, device: str, precision: str, workers: int | None):
        threads = workers or os.cpu_count() or 1
        self.processor = Processor(spec, replace(settings, threads=threads), device, precision)
        self.device, self.batch_size = device, settings.batch_size

    def run(self, tasks: list[Task], bar: ShardBar, started: Callable[[Met], None]) -> Iterator[Finished]:
        started(Met.here(self.device))
        for task in tasks:
            yield self.processor.process(task, bar.count)


@contextlib.contextmanager
def local_engine(
    spec: Spec, settings: Settings, device: str, precision: str, workers: int | None
) -> Iterator[LocalEngine]:
    yield LocalEngine(spec, settings, resolve_device(device), precision, workers)
