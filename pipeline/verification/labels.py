"""Check a folder of label maps against the contract (manifests/README.md), as `verify` does a manifest.

Legend: n rows of a file, N = M * M cells of a map, P places of a cell, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vit_tickets.pipeline.datasets.shards import Dataset
from vit_tickets.pipeline.manifests import labels
from vit_tickets.pipeline.manifests.labels import LabelMaps
from vit_tickets.pipeline.manifests.tables import PER_SHARD, difference
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.files import check_splits, schema_fault
from vit_tickets.pipeline.verification.findings import Rows, Tally, check_keys, check_nulls

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
    """Label maps, as `check_splits` wants to know them."""

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

    def check_rows(self, tally: Tally, split: str, table: pa.Table, keys: set[str]) -> None:
        rows = Rows(tally, table)
        check_keys(rows, table, keys)
        check_nulls(rows, table)
        M, P = self.maps.map_size, self.maps.places
        sizes_n = np.asarray(table["map_size"].fill_null(M))
        rows.report("map_size", sizes_n != M, f"{M}", sizes_n.item)
        for name, check in (("classes", self._check_classes), ("logits", _check_logits)):
            matrix, valid_n = rows.matrix(table[name], name, M * M * P)
            check(rows, matrix.reshape(len(matrix), M * M, P), valid_n)

    def _check_classes(self, rows: Rows, classes_nNP: np.ndarray, valid_n: np.ndarray) -> None:
        C = self.maps.num_classes
        highest_n = classes_nNP.max(axis=(1, 2))
        rows.report("classes", highest_n >= C, f"classes in 0..{C - 1}", highest_n.item)
        sorted_nNP = np.sort(classes_nNP, axis=2)
        twice_nN = (sorted_nNP[..., 1:] == sorted_nNP[..., :-1]).any(axis=2) & valid_n[:, None]
        _report(rows, "classes", twice_nN, "every class once in a cell", "one twice")


def _check_logits(rows: Rows, logits_nNP: np.ndarray, valid_n: np.ndarray) -> None:
    _report(rows, "logits", ~np.isfinite(logits_nNP).all(axis=2), "finite numbers", "others")
    rising_nN = (logits_nNP[..., 1:] > logits_nNP[..., :-1]).any(axis=2)
    _report(rows, "logits", rising_nN, "no increase along the places of a cell", "one")


def _report(rows: Rows, column: str, bad_nN: np.ndarray, expected: str, found: str) -> None:
    rows.report(column, bad_nN.any(axis=1), expected, lambda row: f"{found} in cell {np.flatnonzero(bad_nN[row])[0]}")
