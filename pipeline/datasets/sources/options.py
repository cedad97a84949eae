"""Where the images and labels of a source lie, if not where they are expected."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.fields import option


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """The options of `pack` that say what a sample is."""

    image_column: str | None = option(
        "Parquet: the column with the images.  [default: image, or the only one that holds bytes]",
        default=None,
        metavar="NAME",
    )
    label_column: str | None = option(
        "Parquet: the column with the labels.  [default: label, or the only one with classes]",
        default=None,
        metavar="NAME",
    )
    label_field: str | None = option(
        "Tars: the field of each sample's .json that holds its label, a number or the name of a class.  "
        "[default: the label is in .cls]",
        default=None,
        metavar="NAME",
    )
    tar_classes: bool = option(
        "Tars without labels: each tar is a class, with the name of the tar.", default=False, is_flag=True
    )
    labels_file: str | None = option(
        "Labels of images that lie in no class folders: a CSV of names and classes, LOC_val_solution.csv, "
        "val_annotations.txt, or ILSVRC2012_validation_ground_truth.txt.",
        default=None,
        metavar="FILE",
    )
    class_list: str | None = option(
        "The classes that numbers in --labels-file stand for, one per line, in their order.",
        default=None,
        metavar="FILE",
    )


def stamp_of(paths: Iterable[str], options: SampleOptions) -> str | None:
    """Names, sizes and times of change of local files, and how they are read; None if one is remote."""
    found = []
    for path in paths:
        if not files.is_local(path):
            return None
        about = os.stat(files.filesystem(path)[1])
        found.append((path, about.st_size, about.st_mtime_ns))
    return repr((options, found))
