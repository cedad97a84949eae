"""Batches of views, on their way from loader workers to the model.

Legend: B views, S side of a view in pixels, N patches of the grid that ranks are on, k kept of them, L operations after
crop and flip, M side of a label map, P classes that it names per cell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vit_tickets.pipeline.system.errors import CommandError

#: One view: values of a batch's fields by their names, without the leading dimension.
ViewFields = dict[str, npt.ArrayLike]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What all batches have."""

    pixels: Tensor  #: uint8 (B, 3, S, S)
    label: Tensor  #: int64 (B,)

    @classmethod
    def of(cls, views: Sequence[ViewFields]) -> Self:
        """The batch of `views`, which give values for the same fields; copies them."""
        return cls(**{name: _stacked([view[name] for view in views]) for name in views[0]})

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """`parts` one after the other; all of them have the same fields. One part alone is not copied."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{field.name: _joined([getattr(part, field.name) for part in parts]) for field in fields(cls)})

    def to(self, device: str) -> Self:
        """The batch with its tensors on `device`."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def reordered(self, order_B: Tensor) -> Self:
        """The batch with its images in another order: `order_B`, int64 (B,), names the present places."""
        return self._each(lambda tensor: tensor[order_B])

    def pin_memory(self) -> Self:
        """The batch with its tensors in pinned memory."""
        return self._each(Tensor.pin_memory)

    def shared(self) -> Self:
        """The batch with its tensors in shared memory; raises RuntimeError where that has no room for them."""
        return self._each(lambda tensor: tensor.share_memory_() if tensor.numel() else tensor)

    @property
    def num_bytes(self) -> int:
        """Bytes of its tensors."""
        values = (getattr(self, field.name) for field in fields(self))
        return sum(value.nbytes for value in values if isinstance(value, Tensor))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


def _stacked(values: list[Any]) -> Any:
    """The values of one field of several views: texts as a list, all others with a leading dimension."""
    return values if isinstance(values[0], str) else torch.from_numpy(np.stack(values))


def _joined(values: list[Any]) -> Any:
    """The values of one field, joined to one of the same type."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    return None if first is None else sum(values, type(first)())


@dataclass(frozen=True, kw_only=True)
class TrainBatch(Batch):
    """A batch of training views; a field is None if the run has no use for it."""

    #: uint8 or uint16 (B, N): ranks of the patches, on paths that drop some.
    rank: Tensor | None = None
    #: float32 (B, 2, 3): from the view's unit square to that of the view that `rank` belongs to. None if the ranks are
    #: those of the view's own cells.
    affine: Tensor | None = None
    #: float32 (B, L, 2, 3): see `alignment.resample`.
    through: Tensor | None = None
    #: int32 (B, 4): top, left, height and width of the box to erase, in pixels, all 0 for none.
    erased: Tensor | None = None
    #: int32 (B, M * M, P): classes of a label map.
    classes: Tensor | None = None
    #: float16 (B, M * M, P): logits of `classes`.
    logits: Tensor | None = None
    #: float32 (B, 2, 3): from the view's unit square to that of the whole image, which label maps belong to.
    label_affine: Tensor | None = None
    #: float32 (B, L, 2, 3): as `through`.
    label_through: Tensor | None = None
    #: float32 (B, T * T): Gumbel noise for the cells of each view, in runs on sampled tickets.
    noise: Tensor | None = None
    #: int64 (B,): a number for the image that each view is of, where several views of one may be mixed.
    image: Tensor | None = None
    #: images that could not be decoded and were left out of the batch.
    skipped: int = 0


@dataclass(frozen=True, kw_only=True)
class EvalBatch(Batch):
    """A batch of evaluation views; with a manifest it has `rank`, `affine` and `random`, for column `own` `given`."""

    key: list[str]  #: keys of the images
    place: Tensor  #: int64 (B, 2): shard and row of each image
    rank: Tensor | None = None  #: uint8 or uint16 (B, N): ranks of the patches
    affine: Tensor | None = None  #: float32 (B, 2, 3): see `TrainBatch.affine`
    random: Tensor | None = None  #: (B, k), any integer dtype: the random subset
    given: Tensor | None = None  #: uint8 or uint16 (B, N): ranks that the images get in place of their own
    given_affine: Tensor | None = None  #: float32 (B, 2, 3): the same as `affine`, for them


BatchT = TypeVar("BatchT", bound=Batch)


@dataclass(frozen=True)
class Share(Generic[BatchT]):
    """What a worker hands over at once: its part of a batch, or why it failed.

    Attributes:
        batch: None if all images of the share were left out, or if the worker failed.
        skipped: images that were left out.
        failure: ends the stream.
    """

    batch: BatchT | None = None
    skipped: int = 0
    failure: CommandError | None = None
