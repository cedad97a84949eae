"""Check a dataset against the contract."""

from collections.abc import Iterator
from typing import Any

from vit_tickets.pipeline.datasets.index import Shard
from vit_tickets.pipeline.datasets.shards import (
    INDEX,
    Dataset,
    image_suffix,
    parse_label,
    read_members,
    read_record,
    sha256_of,
)
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.verification.files import visible
from vit_tickets.pipeline.verification.findings import Tally


def verify_dataset(root: str, progress: bool = False) -> Iterator[str]:
    """Findings about the dataset at `root`: its index against its tars.

    Raises UserError where there is no dataset index that can be read.
    """
    record = read_record(root)
    dataset = Dataset(root, record.name, record.classes, record.source, tars=record.root)
    entries = [entry for split in record.splits.values() for entry in split.shards if isinstance(entry, dict)]
    listed = {str(entry.get("file")) for entry in entries}
    for split, entry in record.splits.items():
        shards, malformed = _sound(entry.shards)
        if malformed:
            yield from (f"{INDEX}: {split}: {fault}" for fault in malformed)
            continue
        total = sum(shard.samples for shard in shards)
        if entry.samples != total:
            yield f"{INDEX}: {split}: expected {total} samples, the sum of its shards, found {entry.samples}"
        keys: set[str] = set()
        for shard in Bar(shards, desc=f"verify {split}", unit="shard", leave=False, disable=None if progress else True):
            yield from _check_shard(dataset, shard, keys)
        for folder in sorted({shard.file.rpartition("/")[0] for shard in shards} or {split}):
            tars = [name for name in visible(files.join(record.root or root, folder)) if name.endswith(".tar")]
            paths = (f"{folder}/{name}" if folder else name for name in tars)
            yield from (
                f"{path}: expected only tars that {INDEX} lists, found this one" for path in paths if path not in listed
            )


def _sound(entries: list[Any]) -> tuple[list[Shard], list[str]]:
    """The shards among `entries`, and what is wrong with the others."""
    shards, faults = [], []
    for entry in entries:
        try:
            shards.append(Shard.read(entry))
        except UserError as error:
            faults.append(str(error))
    return shards, faults


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
            if not _has_one_image(fields, path):
                tally.add("image", f"{key}: expected one image member, found {_members(fields)}")
            if label is None or not 0 <= label < len(dataset.classes):
                text = fields.get("cls", b"no such member")[:40].decode(errors="replace")
                tally.add("label", f"{key}.cls: expected a class index in 0..{len(dataset.classes) - 1}, found {text}")
        if count != shard.samples:
            tally.add("samples", f"expected {shard.samples} samples as in {INDEX}, found {count}")
    except UserError as error:
        tally.add("tar", f"expected a WebDataset shard: {error}")
    yield from tally.lines()


def _has_one_image(fields: dict, path: str) -> bool:
    try:
        return image_suffix(fields, path) is not None
    except UserError:
        return False


def _members(fields: dict) -> str:
    return ", ".join(name for name in fields if not name.startswith("__")) or "none"
