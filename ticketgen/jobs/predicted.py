"""Whether the predictions of a selector are of the dataset's classes."""

import numpy as np

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.pipeline.runs.class_order import doubt

FILES = 20  # of a split that are read: the first
COLUMNS = ["label", "prediction", "confidence"]


def doubts(folder: str, dataset: Dataset, splits: list[str], num_classes: int) -> list[str]:
    """A sentence for each of `splits` of the manifest in `folder` whose predictions look like those of other classes.

    num_classes: of the selector.
    """
    manifest, found = Manifest.open(folder), []
    for split in splits:
        paths = [manifest.path_of(split, shard) for shard in dataset.shards(split)[:FILES]]
        tables = [read_table(path, COLUMNS)[0].drop_null() for path in paths]
        labels, predicted, confidences = (np.concatenate([t[name].to_numpy() for t in tables]) for name in COLUMNS)
        if doubted := doubt(labels, predicted, confidences, dataset.classes, num_classes):
            found.append(f"{split}: {doubted}")
    return found
