"""`pack`: a source becomes a dataset of shards, in one class-mixed order that is the same every time.

A source that can only be read from first to last is shuffled through a spill: every sample is appended to the file of
its shard-to-be, and each shard is then put in order by itself. Memory stays at `SPILL_BYTES` plus one shard.
"""

import glob
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from vit_tickets.pipeline.datasets.digits import FOLDER, NAME
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, Sample, Shard, sha256_of, write_shard
from vit_tickets.pipeline.datasets.sources import Split, open_source
from vit_tickets.pipeline.datasets.tars import TarSplit
from vit_tickets.pipeline.geometry.images import UndecodableImage, shrink
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError

ORDER_SEED = 0
SPILL = ".spill-"
SPILL_BYTES = 256 << 20
RECORD = struct.Struct("<qiIIQ")  # place in the shard, label, lengths of key, suffix and data


@dataclass
class PackResult:
    """The dataset, and the keys of the images that were to be shrunk but could not be decoded."""

    dataset: Dataset
    unshrunk: list[str]


def pack(
    source: str,
    root: str,
    *,
    split: str | None = None,
    shard_size: int = 1000,
    shorter_side: int | None = None,
    quality: int = 90,
    overwrite: bool = False,
    progress: bool = True,
) -> PackResult:
    """Write `source` as a dataset at `root`; a split that `root` lacks is added to what is there.

    Args:
        split: which split of the source to pack (default: all); the name to give it where the source has none.
        shard_size: samples per tar.
        shorter_side: reduce larger images to this shorter side, as JPEG of `quality`; by default bytes are untouched.

    Raises UserError where the source is none of the known kinds, or a split is packed already.
    """
    if (files.filesystem(root)[1].rstrip("/") + "/").startswith(files.filesystem(source)[1].rstrip("/") + "/"):
        raise UserError(f"expected a DATASET outside SOURCE, found {root}; --in-place is for WebDataset tars")
    chosen = choose_splits(open_source(source), source, split)
    name = files.name_of(root)
    existing = Dataset.open(root) if files.exists(files.join(root, INDEX)) else None
    taken = sorted(set(chosen) & set(existing.splits)) if existing and not overwrite else []
    if taken:
        raise UserError(f"{root} has split {taken[0]} already; pass --overwrite to pack it again")
    kind = next(iter(chosen.values())).kind
    classes = merge_classes({split_name: part.classes for split_name, part in chosen.items()}, existing)
    dataset = Dataset(root, name, classes, kind, dict(existing.splits) if existing else {})

    unshrunk: list[str] = []
    for split_name, part in chosen.items():
        files.remove_leftovers(files.join(root, split_name))
        with Bar(total=len(part), desc=f"pack {split_name}", unit="img", disable=not progress) as bar:
            samples = _in_order(part, shard_size, root)
            samples = _labelled(samples, part.classes, classes, source)
            if shorter_side:
                samples = _shrunk(samples, shorter_side, quality, unshrunk)
            shards = _write_shards(root, split_name, samples, shard_size, bar.update)
        _remove_surplus(root, split_name, shards)
        dataset.splits[split_name] = shards
    dataset.save()
    return PackResult(dataset, unshrunk)


def pack_in_place(source: str, split: str | None = None) -> Dataset:
    """Write only `source`/dataset.json over the tars that lie there. Raises UserError where there are none."""
    chosen = choose_splits(open_source(source), source, split)
    splits = {}
    for name, part in chosen.items():
        if not isinstance(part, TarSplit) or not files.is_dir(source):
            raise UserError(f"--in-place: expected a folder of WebDataset tars, found {part.kind} in {source}")
        splits[name] = []
        for file, samples in part.shard_counts.items():
            path = files.join(part.root, file)
            relative = file if part.root == source else files.join(files.name_of(part.root), file)
            splits[name].append(Shard(relative, samples, files.size(path), sha256_of(path)))
    classes = merge_classes({name: part.classes for name, part in chosen.items()}, None)
    dataset = Dataset(source, files.name_of(source), classes, "webdataset", splits)
    dataset.save()
    return dataset


def choose_splits(found: dict[str | None, Split], source: str, split: str | None) -> dict[str, Split]:
    """The splits to pack by name: all, the one asked for, or the only one under the name asked for (train)."""
    if None in found:
        return {split or "train": found[None]}
    if split is None:
        return found
    if split not in found:
        raise UserError(f"{source}: expected a split {split!r}, found {', '.join(found)}")
    return {split: found[split]}


def merge_classes(by_split: dict[str, list[str]], existing: Dataset | None) -> list[str]:
    """The classes of the dataset: the first split's; raises UserError where another split brings new ones."""
    known = list(existing.classes) if existing else []
    for split, classes in by_split.items():
        if not known:
            known = list(classes)
        elif new := [name for name in classes if name not in set(known)]:
            raise UserError(f"split {split}: expected the classes of the first split, found {new[0]!r} beside them")
    return known


def _labelled(samples: Iterable[Sample], of_split: list[str], classes: list[str], source: str) -> Iterator[Sample]:
    """`samples` with the dataset's class indices in place of the split's; raises UserError for a label out of range."""
    labels = range(len(classes)) if classes == of_split else [classes.index(name) for name in of_split]
    for sample in samples:
        if not 0 <= sample.label < len(labels):
            raise UserError(f"{source}: {sample.key}: expected a label in 0..{len(labels) - 1}, found {sample.label}")
        yield replace(sample, label=labels[sample.label])


def _in_order(part: Split, shard_size: int, root: str) -> Iterator[Sample]:
    """The samples of `part` in the dataset's order: one fixed permutation, the same for the same count."""
    order = np.random.default_rng(ORDER_SEED).permutation(len(part))
    return part.read(order.tolist()) if part.random_access else _spilled(part, order, shard_size, root)


def _spilled(part: Split, order: np.ndarray, shard_size: int, root: str) -> Iterator[Sample]:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    beside = root if files.is_local(root) else None
    try:
        if beside:
            beside = files.filesystem(beside)[1]
            os.makedirs(beside, exist_ok=True)
            for left in glob.glob(os.path.join(glob.escape(beside), f"{SPILL}*")):  # by a killed pack
                shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.mkdtemp(prefix=SPILL, dir=beside)
    except OSError as error:
        raise files.cannot_write(root, error) from None
    try:
        pending: dict[int, list[bytes]] = {}
        size = 0
        for index, sample in enumerate(part.read(range(len(part)))):
            bucket, within = divmod(int(place[index]), shard_size)
            pending.setdefault(bucket, []).append(_record(within, sample))
            size += len(sample.data) + 64
            if size > SPILL_BYTES:
                try:
                    _flush(folder, pending)
                except OSError as error:
                    raise files.cannot_write(folder, error) from None
                size = 0
        for bucket in range(-(-len(order) // shard_size)):
            path = os.path.join(folder, str(bucket))
            spilled = open(path, "rb").read() if os.path.exists(path) else b""  # noqa: SIM115
            records = dict(_records(spilled + b"".join(pending.pop(bucket, []))))
            yield from (records[within] for within in sorted(records))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _record(within: int, sample: Sample) -> bytes:
    key, suffix = sample.key.encode(), sample.suffix.encode()
    return RECORD.pack(within, sample.label, len(key), len(suffix), len(sample.data)) + key + suffix + sample.data


def _flush(folder: str, pending: dict[int, list[bytes]]) -> None:
    for bucket, records in pending.items():
        with open(os.path.join(folder, str(bucket)), "ab") as stream:
            stream.writelines(records)
    pending.clear()


def _records(data: bytes) -> Iterator[tuple[int, Sample]]:
    at = 0
    while at < len(data):
        within, label, key_size, suffix_size, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        key, at = data[at : at + key_size].decode(), at + key_size
        suffix, at = data[at : at + suffix_size].decode(), at + suffix_size
        yield within, Sample(key, label, data[at : at + size], suffix)
        at += size


def _shrunk(samples: Iterable[Sample], shorter_side: int, quality: int, unshrunk: list[str]) -> Iterator[Sample]:
    def work(sample: Sample) -> Sample:
        try:
            data = shrink(sample.data, shorter_side, quality)
        except UndecodableImage:
            unshrunk.append(sample.key)
            return sample
        return sample if data is None else replace(sample, data=data, suffix="jpg")

    samples = iter(samples)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(samples, 256)):
            yield from pool.map(work, chunk)


def _write_shards(
    root: str, split: str, samples: Iterator[Sample], shard_size: int, advance: Callable[[int], object]
) -> list[Shard]:
    shards: list[Shard] = []
    while chunk := list(islice(samples, shard_size)):
        shards.append(write_shard(root, files.join(split, f"{len(shards):06d}.tar"), chunk))
        advance(len(chunk))
    if not shards:
        raise UserError(f"expected samples in split {split}, found none")
    return shards


def _remove_surplus(root: str, split: str, shards: list[Shard]) -> None:
    """Delete tars of an earlier, longer packing, which a glob over the folder would still find."""
    listed = {os.path.basename(shard.file) for shard in shards}
    folder = files.join(root, split)
    for name in files.list_names(folder):
        if name.endswith(".tar") and name not in listed:
            files.remove(files.join(folder, name))


def open_or_build(root: str) -> Dataset:
    """The dataset at `root`; `digits`, where no such dataset is, means data/digits, built now if need be."""
    if root == NAME and not files.exists(files.join(root, INDEX)):
        root = FOLDER
        if not files.exists(files.join(root, INDEX)):
            from vit_tickets.pipeline.datasets.pack import pack
            from vit_tickets.pipeline.system.locks import alone_in

            with alone_in(root, wait=True):  # torchrun's ranks all come here
                if not files.exists(files.join(root, INDEX)):
                    return pack(NAME, root).dataset
    return Dataset.open(root)
