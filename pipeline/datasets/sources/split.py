"""A split of a source, whatever it is stored as."""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vit_tickets.pipeline.datasets.left_out import Omissions
from vit_tickets.pipeline.datasets.shards import Sample
from vit_tickets.pipeline.datasets.sources.options import SampleOptions
from vit_tickets.pipeline.system.errors import UserError


class Unlabelled(UserError):
    """A split without a single label. `reason` is why it is left out where others have labels."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple:
        return UserError, (self.message,)


@dataclass(frozen=True)
class Reading:
    """How a source is read, where it leaves a choice."""

    #: names of folders and files say nothing about splits
    no_splits: bool = False
    #: the folder that names the class where folders are nested: the first, or the last with its path; None: refuse
    class_folder: Literal["first", "last"] | None = None
    #: the source's own tars become the dataset
    in_place: bool = False
    #: where images and labels lie
    samples: SampleOptions = field(default_factory=SampleOptions)


def empty_of(classes: list[str], labels: Set[int | str]) -> list[str]:
    """`Split.empty`, for samples of the class indices `labels`."""
    numbered = all(name == str(number) for number, name in enumerate(classes))
    return [name for number, name in enumerate(classes) if number not in labels] if numbered else []


class Split(Protocol):
    """One split of a source: its classes, the number of its samples, and the samples themselves."""

    @property
    def kind(self) -> str: ...

    @property
    def root(self) -> str:
        """The folder or file that it lies in."""
        ...

    @property
    def classes(self) -> list[str]:
        """Raises Unlabelled if no sample has a label."""
        ...

    @property
    def empty(self) -> list[str]:
        """Those of `classes` that have no sample, if classes are nothing but the numbers from 0 to the highest."""
        ...

    @property
    def readers(self) -> int:
        """How many threads may call `read` at once, each for samples of its own; 0: it is read from first to last."""
        ...

    @property
    def left_out(self) -> Omissions:
        """What the split holds that `read` does not yield. Complete when `read` has come to its end."""
        ...

    def __len__(self) -> int:
        """The number of samples that `read` yields, without those left out."""
        ...

    def read(self, order: Iterable[int]) -> Iterator[Sample]:
        """The samples with the numbers `order`, which must be 0, 1, 2 ... if `readers` is 0."""
        ...

    def labelled(self) -> Iterator[tuple[str, int]]:
        """Key and class index of every sample, in the order of their numbers; no image is read."""
        ...

    def stamp(self, order: Iterable[int]) -> str | None:
        """A text that changes with the samples `order`, or, if `readers` is 0, with any; None: it cannot be told."""
        ...
