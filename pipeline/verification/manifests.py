"""Check a dataset or a manifest against the contract (manifests/README.md). Every finding is one line.

A finding says which file (and row, with its key), what was expected and what was found; of many findings of one kind
in a file the first is shown and the rest are counted. Whatever lies on disk, nothing but UserError is raised.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from vit_tickets.pipeline.datasets.index import shard_fault
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, Shard, parse_label, read_members, sha256_of
from vit_tickets.pipeline.geometry.images import SUFFIXES
from vit_tickets.pipeline.manifests import manifest as manifests
from vit_tickets.pipeline.manifests.index import PER_SPLIT, ticket_fault
from vit_tickets.pipeline.manifests.manifest import CROP_RANKS, Manifest
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.tables import PER_SHARD, difference
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.files import check_splits, schema_fault, visible
from vit_tickets.pipeline.verification.findings import Tally
from vit_tickets.pipeline.verification.rows import check_rows, schema_of


def verify_dataset(root: str, progress: bool = False) -> Iterator[str]:
    """Findings about the dataset at `root`: its index against its tars.

    Raises UserError where there is no dataset index that can be read.
    """
    dataset = Dataset.unchecked(root)
    recorded = files.read_json(files.join(root, INDEX))["splits"]
    listed = {str(shard.file) for shards in dataset.splits.values() for shard in shards}
    for split, shards in dataset.splits.items():
        malformed = [fault for shard in shards if (fault := shard_fault(asdict(shard)))]
        if malformed:
            yield from (f"{INDEX}: {split}: {fault}" for fault in malformed)
            continue
        total = sum(shard.samples for shard in shards)
        if (found := recorded[split].get("samples")) != total:
            yield f"{INDEX}: {split}: expected {total} samples, the sum of its shards, found {found}"
        keys: set[str] = set()
        for shard in Bar(shards, desc=f"verify {split}", unit="shard", leave=False, disable=None if progress else True):
            yield from _check_shard(dataset, shard, keys)
        for folder in sorted({shard.file.rpartition("/")[0] for shard in shards} or {split}):
            tars = [name for name in visible(files.join(root, folder)) if name.endswith(".tar")]
            paths = (f"{folder}/{name}" if folder else name for name in tars)
            yield from (
                f"{path}: expected only tars that {INDEX} lists, found this one" for path in paths if path not in listed
            )


def _check_shard(dataset: Dataset, shard: Shard, keys: set[str]) -> Iterator[str]:
    """Findings about one tar; `keys` are the split's so far, and grow."""
    path = dataset.path_of(shard)
    if not files.exists(path):
        yield f"{shard.file}: expected a tar, found no such file"
        return
    tally = Tally(f"{shard.file}: ")
    count = 0
    try:
        if (size := files.size(path)) != shard.bytes:
            tally.add("bytes", f"expected {shard.bytes} bytes as in {INDEX}, found {size}")
        elif (found := sha256_of(path)) != shard.sha256:
            tally.add("sha256", f"expected SHA-256 {shard.sha256[:12]}... as in {INDEX}, found {found[:12]}...")
        for fields in read_members(path):
            count += 1
            key, label = fields["__key__"], parse_label(fields.get("cls"))
            if key in keys:
                tally.add("key", f"{key}: expected a key once in the split, found it a second time")
            keys.add(key)
            if len(SUFFIXES & fields.keys()) != 1:
                tally.add("image", f"{key}: expected one image member, found {_members(fields)}")
            if label is None or not 0 <= label < len(dataset.classes):
                text = fields.get("cls", b"no such member")[:40].decode(errors="replace")
                tally.add("label", f"{key}.cls: expected a class index in 0..{len(dataset.classes) - 1}, found {text}")
        if count != shard.samples:
            tally.add("samples", f"expected {shard.samples} samples as in {INDEX}, found {count}")
    except UserError as error:
        tally.add("tar", f"expected a WebDataset shard: {error}")
    yield from tally.lines()


def _members(fields: dict) -> str:
    return ", ".join(name for name in fields if not name.startswith("__")) or "none"


def verify_manifest(root: str, dataset: str | None = None, progress: bool = False) -> Iterator[str]:
    """Findings about the manifest at `root`; with `dataset` also whether its rows are those of the dataset's shards.

    Raises UserError where there is no ticket.json that can be read, or no dataset at `dataset`.
    """
    manifest = Manifest.unchecked(root)
    if fault := ticket_fault(manifest.record):
        yield f"{manifests.INDEX}: {fault}"
        return
    yield from check_splits(_Tickets(manifest), manifest.record["splits"], dataset, progress)


@dataclass(frozen=True)
class _Tickets:
    """A manifest, as `check_splits` wants to know it."""

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
        for record, names in ((self.manifest.record_of(split), shared), (self.manifest.split_record(split), own)):
            expected, found = (
                {name: entries[name] for name in names if name in entries} for entries in (record, metadata)
            )
            if differs := difference(expected, found):
                yield differs

    def schema_fault(self, split: str, found: pa.Schema) -> str | None:
        return schema_fault(schema_of(self.manifest, split, found), found)

    def check_rows(self, tally: Tally, split: str, table: pa.Table, keys: set[str]) -> None:
        check_rows(tally, self.manifest, split, table, keys)
