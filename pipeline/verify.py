"""Check a dataset or a manifest against the contract (manifests/README.md). Every finding is one line.

A finding says which file (and row, with its key), what was expected and what was found; of many findings of one kind
in a file the first is shown and the rest are counted. Whatever lies on disk, nothing but UserError is raised.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from vit_tickets.pipeline import files, manifests
from vit_tickets.pipeline.bars import Bar
from vit_tickets.pipeline.crops import stored_crops
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.images import SUFFIXES
from vit_tickets.pipeline.manifests import CROP_RANKS, PER_SHARD, PER_SPLIT, Manifest, difference
from vit_tickets.pipeline.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.methods import Method, scored_by
from vit_tickets.pipeline.patches import Budget
from vit_tickets.pipeline.shards import INDEX, Dataset, Shard, parse_label, read_members, sha256_of
from vit_tickets.pipeline.verify_files import check_splits, is_count, schema_fault, sums_fault, visible
from vit_tickets.pipeline.verify_findings import Tally
from vit_tickets.pipeline.verify_rows import check_rows, schema_of
from vit_tickets.pipeline.views import View


def verify_dataset(root: str, progress: bool = False) -> Iterator[str]:
    """Findings about the dataset at `root`: its index against its tars.

    Raises UserError where there is no dataset index that can be read.
    """
    dataset = Dataset.open(root)
    recorded = files.read_json(files.join(root, INDEX))["splits"]
    listed = {shard.file for shards in dataset.splits.values() for shard in shards}
    for split, shards in dataset.splits.items():
        malformed = [fault for shard in shards if (fault := _entry_fault(shard))]
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


def _entry_fault(shard: Shard) -> str | None:
    if not isinstance(shard.file, str) or shard.file.startswith("/") or ".." in shard.file.split("/"):
        return f"file: expected a path below the dataset, found {shard.file!r}"
    for name in ("samples", "bytes"):
        if not is_count(getattr(shard, name)):
            return f"{shard.file}: {name}: expected a count, found {getattr(shard, name)!r}"
    if not isinstance(shard.sha256, str) or not re.fullmatch("[0-9a-f]{64}", shard.sha256):
        return f"{shard.file}: sha256: expected 64 hexadecimal digits, found {shard.sha256!r}"
    return None


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
            if not SUFFIXES & fields.keys():
                tally.add("image", f"{key}: expected an image member, found {_members(fields)}")
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
    manifest = Manifest.open(root)
    if fault := record_fault(manifest):
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


def record_fault(manifest: Manifest) -> str | None:
    """What is wrong with what ticket.json says; None if it can be worked with."""
    record, counts, N = manifest.record, manifest.record["counts"], manifest.record["num_patches"]
    if not is_count(N) or not 0 < N <= 1 << 16:
        return f"num_patches: expected a count in 1..65536, found {N!r}"
    if not isinstance(counts, list) or not counts or not all(is_count(count) and count for count in counts):
        return f"counts: expected a list of counts, found {counts!r}"
    if counts != sorted(counts, reverse=True) or counts[0] > N:
        return f"counts: expected at most {N}, not increasing, found {counts}"
    if not isinstance(record["mask_seed"], int):
        return f"mask_seed: expected an integer, found {record['mask_seed']!r}"
    try:
        Method(scored_by(record), record.get("block"))
    except UserError as error:
        return f"method: {error}"
    if fault := sums_fault(record["splits"], PER_SPLIT):
        return fault
    for split, entry in record["splits"].items():
        if fault := _view_fault(entry):
            return f"splits: {split}: {fault}"
    if (sparsity := record.get("sparsity")) is not None:
        try:
            (kept,) = Budget(sparsity=sparsity).stage_counts(N, 1)
        except (UserError, TypeError, ValueError):
            return f"sparsity: expected a number in [0, 1), found {sparsity!r}"
        if kept != counts[-1]:
            return f"counts: expected the last to be {kept} at sparsity {sparsity:g}, found {counts[-1]}"
    for split in record["splits"]:
        try:
            manifest.record_of(split)
        except (UserError, TypeError, ValueError) as error:
            return f"splits: {split}: expected a grid and a budget that can be doubled: {error}"
    return None


def _view_fault(entry: dict) -> str | None:
    """What is wrong with a split's `view` and `preprocessing`; None where they say what was seen."""
    try:
        view = View.from_record(entry["view"], entry["preprocessing"])
        expected = view.preprocessing()
        if view.num_crops:
            stored_crops(replace(view, kind="crops:1"), "", 2, 2)
    except (UserError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
        return f"view, preprocessing: expected what can be drawn again: {error}"
    if view.num_crops and (differs := difference(expected, entry["preprocessing"])):
        return f"preprocessing: {differs}"
    return None
