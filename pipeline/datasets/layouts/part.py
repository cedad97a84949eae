"""Where a split lies, before it is opened."""

from dataclasses import dataclass, field, replace

from vit_tickets.pipeline.datasets.left_out import Omissions


@dataclass(frozen=True)
class Part:
    """One split of a source, or all of a source without splits."""

    #: train, val or test; None if the source has no splits
    split: str | None
    #: its name as folders and files have it, such as validation or dataset_train
    name: str
    #: the folder with its class folders or files; the file itself if `files` is [""]
    root: str
    #: its tars or Parquet files; None for a folder of images
    files: tuple[str, ...] | None = None
    #: why it has no classes, if its images lie in no class folders
    flat: str | None = None

    def of(self, split: str, name: str) -> "Part":
        return replace(self, split=split, name=name)


@dataclass
class Aside:
    """What the search for splits has to say beside the parts that it finds."""

    #: what belongs to no split
    left_out: Omissions = field(default_factory=Omissions)
    #: what the user should know
    notes: list[str] = field(default_factory=list)
