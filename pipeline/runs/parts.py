"""Parts of config.json: label maps, where a run was carried out, and what an image costs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.records import is_count, shown


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The label maps that a run was trained with."""

    #: Name of the model that made them.
    annotator: str | None = None
    #: SHA-256 of its weights.
    weights_sha256: str | None = None
    #: Cells along a side of a map.
    map_size: int | None = None
    #: Classes recorded per cell.
    places: int | None = None
    #: Side of the annotator's input in pixels.
    image_size: int | None = None
    #: Arithmetic of the annotator.
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where and how a run was carried out: two runs that differ in nothing else are the same run."""

    #: Name of the GPU, or the number of CPU cores.
    hardware: str | None = None
    #: Processes that shared every step.
    ranks: int | None = None
    #: Loader processes per rank.
    workers: int | None = None
    #: Parts in which the batch of a step was passed.
    grad_accum: int | None = None
    #: Whether network and images were in this memory format.
    channels_last: bool | None = None
    #: Whether the training pass was compiled.
    compile: bool | None = None
    #: Versions of Python and packages by name.
    versions: dict[str, str] | None = None

    @property
    def speed(self) -> tuple[Any, ...]:
        """What the time of a run depends on; runs that differ in it took times that cannot be compared."""
        return self.hardware, self.ranks, self.grad_accum, self.channels_last, self.compile


@dataclass(frozen=True, kw_only=True)
class ImageMacs:
    """Multiply-adds of classifying one image, and of choosing its ticket; None where they are unknown."""

    #: A pass of the model over all patches.
    forward: int | None = None
    #: A pass over the k patches that are kept; `forward` again in models that cannot drop patches.
    forward_kept: int | None = None
    #: Choosing the ticket of one image with the manifest's selector, up to the last identification; 0 for methods that
    #: run no network.
    selection: int | None = None
    #: Images of the split that is trained on whose tickets the manifest has.
    selected: int | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ImageMacs":
        """What the entry `macs` holds; raises UserError for what is no count."""
        own = {each.name: record.get(each.name) for each in fields(cls)}
        for name, value in own.items():
            if value is not None and not is_count(value):
                raise UserError(f"macs: {name}: expected a count, found {shown(value)}")
        return cls(**own)
