"""Check a dataset or a manifest against the contract (manifests/README.md). Every finding is one line.

A finding says which file (and row, with its key), what was expected and what was found; of many findings of one kind
in a file the first is shown and the rest are counted. Only UserError is raised, whatever the files contain.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vit_tickets.pipeline.manifests import manifest as manifests
from vit_tickets.pipeline.manifests.index import PER_SPLIT, true_of
from vit_tickets.pipeline.manifests.manifest import CROP_RANKS, Manifest
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.rows import schema
from vit_tickets.pipeline.manifests.tables import PER_SHARD, difference
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.files import check_splits, schema_fault
from vit_tickets.pipeline.verification.findings import Tally
from vit_tickets.pipeline.verification.rows import check_rows, layout_of


def verify_manifest(root: str, dataset: str | None = None, progress: bool = False) -> Iterator[str]:
    """Findings about the manifest at `root`; with `dataset` also whether its rows are those of the dataset's shards.

    Raises UserError where there is no ticket.json that can be read, or no dataset at `dataset`.
    """
    manifest = Manifest.unchecked(root)
    try:
        splits = manifest.ticket.splits
    except UserError as error:
        yield f"{manifests.INDEX}: {error}"
        return
    yield from check_splits(_Tickets(manifest), splits, dataset, progress)


@dataclass(frozen=True)
class _Tickets:
    """A manifest, as `check_splits` needs it."""

    manifest: Manifest
    index: str = manifests.INDEX
    holds: str = "tickets"
    joined: tuple[str, ...] = ("key", "label")

    @property
    def root(self) -> str:
        return self.manifest.root

    def metadata_faults(self, split: str, metadata: dict[str, Any]) -> Iterator[str]:
        shared = {name for name in metadata if name not in (*PER_SHARD, *PER_SPLIT, CROP_RANKS)}
        shared |= {"format_version", "num_patches", "counts", "image_size", "mask_seed", "dataset", *METHOD_ENTRIES}
        own = (*PER_SPLIT, CROP_RANKS)
        manifest = self.manifest
        of_split = true_of(manifest.record, manifest.view(split))
        for record, names in ((of_split, shared), (manifest.record["splits"][split], own)):
            expected, found = (
                {name: entries[name] for name in names if name in entries} for entries in (record, metadata)
            )
            if differs := difference(expected, found):
                yield differs

    def schema_fault(self, split: str, found: pa.Schema) -> str | None:
        return schema_fault(schema(layout_of(self.manifest, split, found)), found)

    def check_rows(self, tally: Tally, split: str, table: pa.Table, keys: set[str | None]) -> None:
        check_rows(tally, self.manifest, split, table, keys)
