"""Check a folder of label maps against the contract (manifests/README.md), as `verify` does a manifest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests import labels
from vit_tickets.pipeline.manifests.contract import columns_of
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.tables import PER_SHARD, difference
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.files import check_splits, schema_fault
from vit_tickets.pipeline.verification.findings import Rows, Tally, check_columns, check_keys

REQUIRED = ("format_version", "dataset", "map_size", "places", "num_classes", "image_size", "preprocessing")


def verify_labels(root: str, dataset: str | None = None, progress: bool = False) -> Iterator[str]:
    """Findings about the label maps at `root`; with `dataset` also whether its rows are those of the dataset's shards.

    Raises UserError where there is no labels.json that can be read, or no dataset at `dataset`.
    """
    maps = LabelMaps.unchecked(root)
    try:
        splits = maps.labels.splits
    except UserError as error:
        yield f"{labels.INDEX}: {error}"
        return
    if dataset is not None and (expected := len(Dataset.open(dataset).classes)) != maps.num_classes:
        yield f"{labels.INDEX}: num_classes: expected {expected} as in {dataset}, found {maps.num_classes}"
    yield from check_splits(_Labels(maps), splits, dataset, progress)


@dataclass(frozen=True)
class _Labels:
    """Label maps, as `check_splits` needs them."""

    maps: LabelMaps
    index: str = labels.INDEX
    holds: str = "label maps"
    joined: tuple[str, ...] = ("key",)

    @property
    def root(self) -> str:
        return self.maps.root

    def metadata_faults(self, split: str, metadata: dict[str, Any]) -> Iterator[str]:
        names = {*REQUIRED, *metadata} - {*PER_SHARD}
        record = {name: self.maps.record.get(name) for name in names}
        if differs := difference(record, {name: metadata.get(name) for name in names}):
            yield differs

    def schema_fault(self, split: str, found: pa.Schema) -> str | None:
        return schema_fault(labels.SCHEMA, found)

    def check_rows(self, tally: Tally, split: str, table: pa.Table, keys: set[str | None]) -> None:
        rows = Rows(tally, table)
        check_keys(rows, table, keys)
        check_columns(rows, table, self.maps.labels, columns_of(labels.LabelRow))
