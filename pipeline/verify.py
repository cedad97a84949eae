"""Check a dataset or a manifest against the contract (manifests/README.md). Every finding is one line.

A finding says which file (and row, with its key), what was expected and what was found; of many findings of one kind
in a file the first is shown and the rest are counted. Whatever lies on disk, nothing but UserError is raised.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from vit_tickets.pipeline import files, manifests
from vit_tickets.pipeline.crops import stored_crops
from vit_tickets.pipeline.errors import UserError
from vit_tickets.pipeline.images import SUFFIXES
from vit_tickets.pipeline.manifests import CROP_RANKS, PER_SHARD, PER_SPLIT, Manifest, difference
from vit_tickets.pipeline.patches import Budget
from vit_tickets.pipeline.shards import INDEX, Dataset, Shard, parse_label, read_members, sha256_of
from vit_tickets.pipeline.verify_findings import Tally
from vit_tickets.pipeline.verify_rows import check_rows, schema_fault
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
        for shard in tqdm(
            shards, desc=f"verify {split}", unit="shard", leave=False, disable=None if progress else True
        ):
            yield from _check_shard(dataset, shard, keys)
        for folder in sorted({shard.file.rpartition("/")[0] for shard in shards} or {split}):
            tars = [name for name in _visible(files.join(root, folder)) if name.endswith(".tar")]
            paths = (f"{folder}/{name}" if folder else name for name in tars)
            yield from (
                f"{path}: expected only tars that {INDEX} lists, found this one" for path in paths if path not in listed
            )


def _entry_fault(shard: Shard) -> str | None:
    if not isinstance(shard.file, str) or shard.file.startswith("/") or ".." in shard.file.split("/"):
        return f"file: expected a path below the dataset, found {shard.file!r}"
    for name in ("samples", "bytes"):
        if not _is_count(getattr(shard, name)):
            return f"{shard.file}: {name}: expected a count, found {getattr(shard, name)!r}"
    if not isinstance(shard.sha256, str) or not re.fullmatch("[0-9a-f]{64}", shard.sha256):
        return f"{shard.file}: sha256: expected 64 hexadecimal digits, found {shard.sha256!r}"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _visible(folder: str) -> list[str]:
    return [name for name in files.list_names(folder) if not name.startswith(".")]


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
    if fault := _record_fault(manifest):
        yield f"{manifests.INDEX}: {fault}"
        return
    data = None if dataset is None else Dataset.open(dataset)
    for split in manifest.splits:
        if data is not None and split not in data.splits:
            yield f"{split}: expected a split of {dataset}, which has {', '.join(data.splits)}"
            continue
        yield from _check_split(manifest, split, data, progress)


def _record_fault(manifest: Manifest) -> str | None:
    record, counts, N = manifest.record, manifest.record["counts"], manifest.record["num_patches"]
    if not _is_count(N) or not 0 < N <= 1 << 16:
        return f"num_patches: expected a count in 1..65536, found {N!r}"
    if not isinstance(counts, list) or not counts or not all(_is_count(count) and count for count in counts):
        return f"counts: expected a list of counts, found {counts!r}"
    if counts != sorted(counts, reverse=True) or counts[0] > N:
        return f"counts: expected at most {N}, not increasing, found {counts}"
    if not isinstance(record["mask_seed"], int):
        return f"mask_seed: expected an integer, found {record['mask_seed']!r}"
    if not isinstance(record["splits"], dict) or not record["splits"]:
        return f"splits: expected entries by name, found {record['splits']!r}"
    for split, entry in record["splits"].items():
        for name in ("samples", "errors", *PER_SPLIT):
            if not isinstance(entry, dict) or name not in entry:
                return f"splits: {split}: expected an entry {name}, found none"
        for name in ("samples", "errors"):
            if not _is_count(entry[name]):
                return f"splits: {split}: {name}: expected a count, found {entry[name]!r}"
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


def _check_split(manifest: Manifest, split: str, data: Dataset | None, progress: bool) -> Iterator[str]:
    names = _visible(files.join(manifest.root, split))
    stems = [name.removesuffix(".parquet") for name in names if name.endswith(".parquet")]
    yield from (f"{split}/{name}: expected Parquet files only, found this" for name in names if name[:-8] not in stems)
    shard_of = {shard.stem: shard for shard in data.shards(split)} if data else {}
    missing = sorted((set(shard_of) if data else set(_numbered(stems))) - set(stems))
    yield from (f"{split}/{stem}.parquet: expected tickets of a shard, found no such file" for stem in missing)
    surplus = [stem for stem in stems if data and stem not in shard_of]
    yield from (f"{split}/{stem}.parquet: expected a shard of that name in {data.root}, found none" for stem in surplus)

    keys: set[str] = set()
    entries: set[str] = set()
    samples = errors = 0
    complete = not missing and not surplus
    for stem in tqdm(stems, desc=f"verify {split}", unit="file", leave=False, disable=None if progress else True):
        tally = Tally(f"{split}/{stem}.parquet ")
        try:
            table, metadata = manifests.read_table(files.join(manifest.root, split, f"{stem}.parquet"))
            table.validate(full=True)
            entries = entries or set(metadata)
            _check_metadata(tally, manifest, split, metadata, entries)
            if fault := schema_fault(manifest, split, table.schema):
                tally.add("schema", fault)
                complete = False
            else:
                check_rows(tally, manifest, split, table, keys)
                if stem in shard_of:
                    _check_join(tally, data, shard_of[stem], table, metadata)
                samples += table.num_rows
                errors += table.num_rows - table["error"].null_count
        except (UserError, pa.ArrowException) as error:
            complete = False
            tally.add("file", f"cannot be checked: {str(error).splitlines()[0]}")
        yield from tally.lines()
    entry = manifest.split_record(split)
    for name, found in (("samples", samples), ("errors", errors)):
        if complete and entry[name] != found:
            yield f"{manifests.INDEX}: {split}: {name}: expected {found} as in its files, found {entry[name]}"


def _numbered(stems: list[str]) -> list[str]:
    """The stems that `pack` would have given up to the highest of `stems`; none where others named them."""
    if not stems or not all(re.fullmatch(r"[0-9]{6}", stem) for stem in stems):
        return []
    return [f"{number:06d}" for number in range(int(max(stems)) + 1)]


def _check_metadata(tally: Tally, manifest: Manifest, split: str, metadata: dict, entries: set[str]) -> None:
    shared = {name for name in metadata if name not in (*PER_SHARD, *PER_SPLIT, CROP_RANKS)}
    shared |= {"format_version", "num_patches", "counts", "image_size", "mask_seed", "dataset"}
    own = (*PER_SPLIT, CROP_RANKS)
    for record, names in ((manifest.record_of(split), shared), (manifest.split_record(split), own)):
        differs = difference({name: record.get(name) for name in names}, {name: metadata.get(name) for name in names})
        if differs:
            tally.add("metadata", f"metadata differs from {manifests.INDEX}: {differs}")
    if not isinstance(metadata.get("shard_sha256"), str):
        tally.add("shard_sha256", f"metadata: shard_sha256: expected a hash, found {metadata.get('shard_sha256')!r}")
    elif entries != set(metadata):
        odd = sorted(entries ^ set(metadata))[0]
        tally.add("entries", f"metadata: expected the same entries in every file, found {odd} in some only")


def _check_join(tally: Tally, data: Dataset, shard: Shard, table: pa.Table, metadata: dict) -> None:
    """Check that the rows are the samples of `shard`, in its order."""
    if metadata.get("shard_sha256") != shard.sha256:
        found = str(metadata.get("shard_sha256"))[:12]
        tally.add("shard", f"metadata: shard_sha256: expected {shard.sha256[:12]}..., {shard.file}, found {found}...")
    samples = [(fields["__key__"], parse_label(fields.get("cls"))) for fields in read_members(data.path_of(shard))]
    rows = list(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))
    if len(rows) != len(samples):
        tally.add("rows", f"expected {len(samples)} rows as in {shard.file}, found {len(rows)}")
    for row, (found, expected) in enumerate(zip(rows, samples, strict=False)):
        for name, of_row, of_sample in zip(("key", "label"), found, expected, strict=True):
            if of_row != of_sample:
                tally.add(
                    f"{name} of {shard.file}",
                    f"row {row}: {name}: expected {of_sample} as in {shard.file}, found {of_row}",
                )
