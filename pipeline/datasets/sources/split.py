"""A split of a source, whatever it is stored as."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import Sample


class Split(Protocol):
    """One split of a source: its classes, the number of its samples, and the samples themselves."""

    @property
    def kind(self) -> str: ...

    @property
    def classes(self) -> list[str]: ...

    @property
    def random_access(self) -> bool: ...

    @property
    def left_out(self) -> Omissions:
        """What the split holds that `read` does not yield. Complete when `read` has come to its end."""
        ...

    def __len__(self) -> int:
        """The number of samples that `read` yields, without those left out."""
        ...

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        """The samples with the numbers `order`, which must be 0, 1, 2 ... if `random_access` is false."""
        ...
