"""`pack`: write a source as a dataset of shards."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vit_tickets.pipeline.datasets.embedded import FOLDER, NAME
from vit_tickets.pipeline.datasets.index import HeldOut
from vit_tickets.pipeline.datasets.left_out import record_undecodable
from vit_tickets.pipeline.datasets.pack.holdout import TRAIN, VAL
from vit_tickets.pipeline.datasets.pack.planning import Plan, SplitLine, plan, plan_in_place, size_of_shards
from vit_tickets.pipeline.datasets.pack.writing import Storing, Writing
from vit_tickets.pipeline.datasets.shards import INDEX, Dataset, Shard
from vit_tickets.pipeline.datasets.sources.split import Reading
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.locks import alone_in


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
    #: shards that an interrupted call had finished, and that were kept
    kept: int = 0


def pack(
    source: str,
    root: str,
    *,
    split: str | Sequence[str] | None = None,
    shard_size: int | None = None,
    shorter_side: int | None = None,
    quality: int = 90,
    overwrite: bool = False,
    progress: bool = True,
    reading: Reading | None = None,
    val_share: float | None = None,
) -> PackResult:
    """Write `source` as a dataset at `root`. New splits are added to a dataset that exists there.

    If an earlier call was interrupted, the shards that it had finished are kept, if what they are made from is as it
    was: options, and paths, sizes and times of change of the source's files.

    Args:
        source: Path or URL of an image folder, Parquet or WebDataset tars, or `digits`.
        root: Folder of the dataset.
        split: The split or splits to pack (default: all with labels). If the source has no splits, the name of the new
            one.
        shard_size: Samples per tar (default: 1000, more for a split of over 10 million).
        shorter_side: Shrink larger images to this shorter side. By default, bytes are unchanged.
        quality: JPEG quality of images that are shrunk.
        overwrite: Replace splits that exist.
        progress: Show a progress bar.
        reading: How the source is read, where it leaves a choice.
        val_share: Hold out this share of train as val, where the source has none.

    Raises:
        UserError: The source is of none of the known kinds, can be read in two ways, or the split exists.
    """
    planned = plan(source, root, split, reading, overwrite, val_share)
    existing, classes = planned.existing, planned.classes
    dataset = Dataset(root, files.name_of(root), classes, planned.kind, dict(existing.splits) if existing else {})
    dataset.left_out.update(existing.left_out if existing else {})
    dataset.held_out.update(existing.held_out if existing else {})
    dataset.shorter_side.update(existing.shorter_side if existing else {})

    storing = Storing(source, classes, shorter_side, quality)
    writings = []
    for split_name, part in planned.splits.items():
        files.remove_leftovers(files.join(root, split_name))
        with Bar(total=len(part), desc=f"pack {split_name}", unit="img", disable=not progress) as bar:
            size = size_of_shards(len(part), shard_size)
            writing = Writing(part, root, split_name, size, storing, bar.update)
            shards = writing.run()
        writings.append(writing)
        _remove_surplus(root, split_name, shards)
        record_undecodable(files.join(root, split_name), writing.unshrunk)
        dataset.splits[split_name], dataset.left_out[split_name] = shards, list(part.left_out)
        dataset.held_out.pop(split_name, None)
        dataset.shorter_side.pop(split_name, None)
        if shorter_side:
            dataset.shorter_side[split_name] = shorter_side
    if planned.val_share is not None:
        dataset.held_out[VAL] = HeldOut(TRAIN, planned.val_share)
    _record_left_out(dataset, planned)
    dataset.save()
    for writing in writings:
        writing.finish()
    unshrunk = [key for writing in writings for key in writing.unshrunk]
    found = {name: len(writing.unshrunk) for name, writing in zip(planned.splits, writings, strict=True)}
    return PackResult(dataset, unshrunk, _lines(dataset, planned, found), planned, sum(each.kept for each in writings))


def pack_in_place(source: str, split: str | Sequence[str] | None = None, reading: Reading | None = None) -> Dataset:
    """Write dataset.json for the tars in `source`, and nothing else. Raises UserError if there are none."""
    return write_index(source, plan_in_place(source, split, reading)).dataset


def write_index(source: str, planned: Plan, index: str | None = None) -> PackResult:
    """Write dataset.json for the tars in `source` that `plan_in_place` found; or `index`, which says where they are."""
    tars = (files.filesystem(source)[1] if files.is_local(source) else source) if index else None
    dataset = Dataset(index or source, files.name_of(source), planned.classes, "webdataset", tars=tars)
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


def _lines(dataset: Dataset, planned: Plan, undecodable: Mapping[str, int] | None = None) -> list[SplitLine]:
    return [
        SplitLine(
            name,
            dataset.samples(name),
            len(dataset.splits[name]),
            len(part.classes),
            dataset.left_out.get(name, []),
            (undecodable or {}).get(name, 0),
        )
        for name, part in planned.splits.items()
    ]


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
