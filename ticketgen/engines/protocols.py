"""What a job expects of an engine, and gives it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.ticketgen.engines.work import Progress, Settings


class Task(Protocol):
    """A shard and the files that are still missing for it; it can be sent to another process."""

    samples: int

    @property
    def name(self) -> str: ...

    def process(self, network: Any, settings: Settings, progress: Progress) -> None:
        """Write the files with what the engine's spec has built, each moved into place whole."""


@dataclass(frozen=True)
class Finished:
    """A shard that an engine has done, with which batch, or why it failed. is_last: others would fail for the same."""

    task: Task
    error: str | None = None
    batch_size: int | None = None
    is_last: bool = False


class Engine(Protocol):
    """Runs shard tasks. `device` and `name` go into the index."""

    name: str
    device: str

    def run(self, tasks: list[Task], bar: Bar) -> Iterator[Finished]:
        """Every task exactly once, in any order; moves `bar` by images, and tells it of errors and retries."""
