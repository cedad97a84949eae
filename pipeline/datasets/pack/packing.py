"""`pack`: write a source as a dataset of shards, in a fixed random order that mixes the classes.

`spill` shuffles sources that can only be read from first to last.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from vit_tickets.pipeline.datasets.embedded import FOLDER, NAME
from vit_tickets.pipeline.datasets.pack.spill import spilled
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, Sample, Shard, sha256_of, write_shard
from vit_tickets.pipeline.datasets.sources.opening import open_source
from vit_tickets.pipeline.datasets.sources.split import Split
from vit_tickets.pipeline.datasets.sources.tars import TarSplit
from vit_tickets.pipeline.geometry.images import UndecodableImage, shrink
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.locks import alone_in

ORDER_SEED = 0


@dataclass
class PackResult:
    """The written dataset."""

    dataset: Dataset
    #: keys of the images that should have been shrunk but could not be decoded
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
    """Write `source` as a dataset at `root`. New splits are added to a dataset that exists there.

    Args:
        source: Path or URL of an image folder, Parquet or WebDataset tars, or `digits`.
        root: Folder of the dataset.
        split: The split to pack (default: all). If the source has no splits, the name of the new one.
        shard_size: Samples per tar.
        shorter_side: Shrink larger images to this shorter side. By default, bytes are unchanged.
        quality: JPEG quality of images that are shrunk.
        overwrite: Replace splits that exist.
        progress: Show a progress bar.

    Raises:
        UserError: The source is of none of the known kinds, or the split exists.
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
    dataset.left_out.update(existing.left_out if existing else {})

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
        dataset.splits[split_name], dataset.left_out[split_name] = shards, list(part.left_out)
    dataset.save()
    return PackResult(dataset, unshrunk)


def pack_in_place(source: str, split: str | None = None) -> Dataset:
    """Write dataset.json for the tars in `source`, and nothing else. Raises UserError if there are none."""
    chosen = choose_splits(open_source(source), source, split)
    splits, left_out = {}, {}
    for name, part in chosen.items():
        if not isinstance(part, TarSplit) or not files.is_dir(source):
            raise UserError(f"--in-place: expected a folder of WebDataset tars, found {part.kind} in {source}")
        splits[name] = []
        for file, samples in part.shard_counts.items():
            path = files.join(part.root, file)
            relative = file if part.root == source else files.join(files.name_of(part.root), file)
            splits[name].append(Shard(relative, samples, files.size(path), sha256_of(path)))
        left_out[name] = list(part.left_out)
    classes = merge_classes({name: part.classes for name, part in chosen.items()}, None)
    dataset = Dataset(source, files.name_of(source), classes, "webdataset", splits, left_out)
    dataset.save()
    return dataset


def choose_splits(found: dict[str | None, Split], source: str, split: str | None) -> dict[str, Split]:
    """The splits to pack, by name: all, or `split`. The only split of a source without splits is named `split`."""
    if None in found:
        return {split or "train": found[None]}
    named = {name: part for name, part in found.items() if name is not None}
    if split is None:
        return named
    if split not in named:
        raise UserError(f"{source}: expected a split {split!r}, found {', '.join(named)}")
    return {split: named[split]}


def merge_classes(by_split: dict[str, list[str]], existing: Dataset | None) -> list[str]:
    """The classes of the dataset, which are those of the first split. Raises UserError if another split has more."""
    known = list(existing.classes) if existing else []
    for split, classes in by_split.items():
        if not known:
            known = list(classes)
        elif new := [name for name in classes if name not in set(known)]:
            raise UserError(f"split {split}: expected only classes of the first split, found {new[0]!r}")
    return known


def _labelled(samples: Iterable[Sample], of_split: list[str], classes: list[str], source: str) -> Iterator[Sample]:
    """`samples` with class indices of the dataset instead of the split. Raises UserError for labels out of range."""
    labels = range(len(classes)) if classes == of_split else [classes.index(name) for name in of_split]
    for sample in samples:
        if sample.label is None or not 0 <= sample.label < len(labels):
            raise UserError(f"{source}: {sample.key}: expected a label in 0..{len(labels) - 1}, found {sample.label}")
        yield replace(sample, label=labels[sample.label])


def _in_order(part: Split, shard_size: int, root: str) -> Iterator[Sample]:
    """The samples of `part` in the dataset's order: a fixed permutation that depends only on their number."""
    order = np.random.default_rng(ORDER_SEED).permutation(len(part))
    return part.read(order.tolist()) if part.random_access else spilled(part, order, shard_size, root)


def _shrunk(samples: Iterable[Sample], shorter_side: int, quality: int, unshrunk: list[str]) -> Iterator[Sample]:
    def work(sample: Sample) -> Sample:
        try:
            data = shrink(sample.data or b"", shorter_side, quality)
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
    """Delete tars of an earlier, larger version of the split, which a glob over the folder would still find."""
    listed = {os.path.basename(shard.file) for shard in shards}
    folder = files.join(root, split)
    for name in files.list_names(folder):
        if name.endswith(".tar") and name not in listed:
            files.remove(files.join(folder, name))


def open_or_build(root: str) -> Dataset:
    """The dataset at `root`. For `digits`, without such a folder: data/digits, built if it is missing."""
    if root == NAME and not files.exists(files.join(root, INDEX)):
        root = FOLDER
        if not files.exists(files.join(root, INDEX)):
            with alone_in(root, wait=True):  # all ranks of torchrun call this
                if not files.exists(files.join(root, INDEX)):
                    return pack(NAME, root).dataset
    return Dataset.open(root)
