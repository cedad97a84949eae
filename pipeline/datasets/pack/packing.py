"""`pack`: write a source as a dataset of shards, in a fixed random order that mixes the classes.

`spill` shuffles sources that can only be read from first to last.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from vit_tickets.pipeline.datasets.embedded import FOLDER, NAME
from vit_tickets.pipeline.datasets.pack.planning import Plan, SplitLine, plan, plan_in_place
from vit_tickets.pipeline.datasets.pack.spill import spilled
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, Sample, Shard, write_shard
from vit_tickets.pipeline.datasets.sources.split import Reading, Split
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
    #: the summary of each split that was packed
    lines: list[SplitLine]
    #: what was planned
    plan: Plan


def pack(
    source: str,
    root: str,
    *,
    split: str | Sequence[str] | None = None,
    shard_size: int = 1000,
    shorter_side: int | None = None,
    quality: int = 90,
    overwrite: bool = False,
    progress: bool = True,
    reading: Reading | None = None,
) -> PackResult:
    """Write `source` as a dataset at `root`. New splits are added to a dataset that exists there.

    Args:
        source: Path or URL of an image folder, Parquet or WebDataset tars, or `digits`.
        root: Folder of the dataset.
        split: The split or splits to pack (default: all with labels). If the source has no splits, the name of the new
            one.
        shard_size: Samples per tar.
        shorter_side: Shrink larger images to this shorter side. By default, bytes are unchanged.
        quality: JPEG quality of images that are shrunk.
        overwrite: Replace splits that exist.
        progress: Show a progress bar.
        reading: How the source is read, where it leaves a choice.

    Raises:
        UserError: The source is of none of the known kinds, can be read in two ways, or the split exists.
    """
    planned = plan(source, root, split, reading, overwrite)
    existing, classes = planned.existing, planned.classes
    dataset = Dataset(root, files.name_of(root), classes, planned.kind, dict(existing.splits) if existing else {})
    dataset.left_out.update(existing.left_out if existing else {})

    unshrunk: list[str] = []
    for split_name, part in planned.splits.items():
        files.remove_leftovers(files.join(root, split_name))
        with Bar(total=len(part), desc=f"pack {split_name}", unit="img", disable=not progress) as bar:
            samples = _in_order(part, shard_size, root)
            samples = _labelled(samples, part.classes, classes, source)
            if shorter_side:
                samples = _shrunk(samples, shorter_side, quality, unshrunk)
            shards = _write_shards(root, split_name, samples, shard_size, bar.update)
        _remove_surplus(root, split_name, shards)
        dataset.splits[split_name], dataset.left_out[split_name] = shards, list(part.left_out)
    _record_left_out(dataset, planned)
    dataset.save()
    return PackResult(dataset, unshrunk, _lines(dataset, planned), planned)


def pack_in_place(source: str, split: str | Sequence[str] | None = None, reading: Reading | None = None) -> Dataset:
    """Write dataset.json for the tars in `source`, and nothing else. Raises UserError if there are none."""
    return write_index(source, plan_in_place(source, split, reading)).dataset


def write_index(source: str, planned: Plan) -> PackResult:
    """Write dataset.json for the tars in `source` that `plan_in_place` found."""
    dataset = Dataset(source, files.name_of(source), planned.classes, "webdataset")
    for name, part in planned.splits.items():
        dataset.splits[name], dataset.left_out[name] = planned.shards[name], list(part.left_out)
    _record_left_out(dataset, planned)
    dataset.save()
    return PackResult(dataset, [], _lines(dataset, planned), planned)


def _record_left_out(dataset: Dataset, planned: Plan) -> None:
    """Add what belongs to no split to what the dataset says of earlier sources; splits that came since are packed."""
    earlier = planned.existing.passed_over if planned.existing else []
    still = [entry for entry in earlier if not (entry.what == "split" and set(entry.examples) & set(dataset.splits))]
    dataset.passed_over.extend(dict.fromkeys([*still, *planned.left_out]))


def _lines(dataset: Dataset, planned: Plan) -> list[SplitLine]:
    return [
        SplitLine(
            name, dataset.samples(name), len(dataset.splits[name]), len(part.classes), dataset.left_out.get(name, [])
        )
        for name, part in planned.splits.items()
    ]


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
