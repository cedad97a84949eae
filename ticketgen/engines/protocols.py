"""What a job gives an engine, and what it expects of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.ticketgen.engines.kinds import Met
from vit_tickets.ticketgen.engines.work import Progress, Settings


class Task(Protocol):
    """A shard and the files that are still missing for it; it can be sent to another process."""

    @property
    def samples(self) -> int: ...

    @property
    def name(self) -> str: ...

    def process(self, network: Any, settings: Settings, progress: Progress) -> None:
        """Write the files atomically, with what the engine's spec has built."""


@dataclass(frozen=True)
class Finished:
    """A shard that an engine has finished.

    Attributes:
        task: the shard.
        error: why it failed; None if it did not.
        batch_size: that it was processed with.
        is_last: whether the other shards would fail for the same reason.
    """

    task: Task
    error: str | None = None
    batch_size: int | None = None
    is_last: bool = False


class ShardBar(Bar):
    """A progress bar over images that also counts errors and retried shards."""

    errors = retries = 0

    def count(self, images: int, errors: int) -> None:
        if errors:
            self.errors += errors
            self._show_counts()
        self.update(images)

    def retried(self) -> None:
        self.retries += 1
        self._show_counts()

    def _show_counts(self) -> None:
        counts = {"errors": self.errors, "retries": self.retries}
        self.set_postfix({name: count for name, count in counts.items() if count}, refresh=False)


class Engine(Protocol):
    """Runs shard tasks. `name` goes into the index.

    batch_size: images per pass that it begins with.
    """

    name: str
    batch_size: int

    def run(self, tasks: list[Task], bar: ShardBar, started: Callable[[Met], None]) -> Iterator[Finished]:
        """Process every task exactly once, in any order; `bar` shows images, errors and retries.

        `started` is told of each worker before it gets its first task.
        """
        ...
