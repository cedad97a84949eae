"""What a run reads: the shards of a split, the tickets that belong to them, and which samples take part."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from vit_tickets.pipeline.datasets.shards import Dataset, Sample, Shard, read_keys, read_shard
from vit_tickets.pipeline.geometry.views import View
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.crop_rows import CropRows, read_crop_rows
from vit_tickets.pipeline.manifests.folds import Fold, hash_word
from vit_tickets.pipeline.manifests.labels import LabelMaps, label_arrays
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.train.data.substitutes import FixedMask, Given, Images, Swap
from vit_tickets.train.runtime.distributed import is_main_process


@dataclass(frozen=True)
class ShardRows:
    """What is stored about the images of one shard, row by row, beside the images themselves."""

    keys: list[str]  #: keys of the images
    rank: np.ndarray | None = None  #: (samples, N), of a manifest
    rc: np.ndarray | None = None  #: (samples, k), of a manifest: the stored random subsets
    crops: CropRows | None = None  #: crops with their masks, of a manifest of view crops:V
    classes: np.ndarray | None = None  #: (samples, M * M, P), of label maps
    logits: np.ndarray | None = None  #: (samples, M * M, P), of label maps
    given: np.ndarray | None = None  #: (samples, N): ranks that images get in place of their own


def read_tickets(manifest: Manifest, split: str, shard: Shard, columns: tuple[str, ...] = ("rank", "rc")) -> ShardRows:
    """Rows of `shard`, of `columns` only; raises UserError if manifest and dataset do not belong together."""
    path, view, num_patches = manifest.path_of(split, shard), manifest.view(split), manifest.num_patches_of(split)
    if view.num_views:
        table = manifest.read(split, shard, ["key", "box", "flip", "lt"])
        crops = read_crop_rows(table, view.num_views, num_patches, path)
        return ShardRows(table["key"].to_pylist(), crops=crops)
    table = manifest.read(split, shard, ["key", *columns])
    rank = list_matrix(table["rank"], num_patches, path)[0] if "rank" in columns else None
    rc = list_matrix(table["rc"], manifest.kept_of(split), path)[0] if "rc" in columns else None
    return ShardRows(table["key"].to_pylist(), rank, rc)


def read_labels(labels: LabelMaps, split: str, shard: Shard) -> ShardRows:
    """Label maps of `shard`; raises UserError if they and the dataset do not belong together."""
    table = labels.read(split, shard, ["key", "classes", "logits"])
    arrays = label_arrays(table, labels.map_size, labels.places, labels.path_of(split, shard))
    return ShardRows(table["key"].to_pylist(), classes=arrays.classes, logits=arrays.logits)


@dataclass(frozen=True)
class SplitData:
    """One split, with or without tickets and label maps. Images for which one of them has an error are left out."""

    dataset: Dataset
    split: str
    manifest: Manifest | None = None
    #: a part of the images, and whether only they take part (True) or all others (False)
    holdout: tuple["Holdout | Fold", bool] | None = None
    fold: Fold | None = None  #: only the images of this fold
    limit: int | None = None  #: only this many samples, from the first of the split on
    labels: LabelMaps | None = None
    substitute: FixedMask | Swap | None = None  #: what images get in place of their own ticket
    spread: int | None = None  #: only this many of the samples that take part, at even distances

    @property
    def shards(self) -> list[Shard]:
        return self.dataset.shards(self.split)

    @cached_property
    def members(self) -> list[np.ndarray | None]:
        """For each shard, which samples take part: bool (samples,), or None for all."""
        chosen, before = [], 0
        # without a manifest the keys are in the tars only: on ImageNet, reading them takes minutes
        shards = Bar(self.shards, desc=f"images of {self.split}", unit="shard", delay=1, disable=not is_main_process())
        for shard in shards:
            mask = np.ones(shard.samples, dtype=bool)
            if self.limit is not None:
                mask[max(0, self.limit - before) :] = False
            before += shard.samples
            stored = (self.manifest, self.labels, self.holdout, self.fold)
            if mask.any() and any(part is not None for part in stored):
                mask &= self._taking_part(shard)
            chosen.append(None if mask.all() else mask)
        return chosen if self.spread is None else self._spread(chosen, self.spread)

    def _spread(self, chosen: list[np.ndarray | None], count: int) -> list[np.ndarray | None]:
        """`chosen` with `count` of its samples: number n of them is number floor(n * samples / count)."""
        masks = [
            np.ones(shard.samples, dtype=bool) if mask is None else mask
            for shard, mask in zip(self.shards, chosen, strict=True)
        ]
        taking_part = np.flatnonzero(np.concatenate(masks))
        if len(taking_part) <= count:
            return chosen
        thinned = np.zeros(sum(map(len, masks)), dtype=bool)
        thinned[taking_part[np.arange(count) * len(taking_part) // count]] = True
        return list(np.split(thinned, np.cumsum([len(mask) for mask in masks])[:-1]))

    def _taking_part(self, shard: Shard) -> np.ndarray:
        mask, keys = np.ones(shard.samples, dtype=bool), None
        for stored in (self.manifest, self.labels):
            if stored is not None:
                table = stored.read(self.split, shard, ["key", "error"])
                keys = table["key"].to_pylist()
                mask &= np.asarray(table["error"].is_null())
        parts = (self.holdout, None if self.fold is None else (self.fold, True))
        for part, wanted in filter(None, parts):
            if keys is not None:
                held_out = _held_out(keys, part)
            else:
                held_out = _held_out_of(self.dataset.path_of(shard), shard, part)
            mask &= held_out == wanted
        return mask

    @cached_property
    def given(self) -> Given | None:
        """What images get in place of their own ticket; None if they keep it."""
        return None if self.substitute is None or self.manifest is None else self.substitute.among(self.images)

    @property
    def images(self) -> Images:
        """Those that take part, with their tickets; raises ValueError without a manifest."""
        if self.manifest is None:
            raise ValueError(f"expected tickets of {self.split}, found none")
        return Images(self.manifest, self.split, self.shards, self.members)

    @cached_property
    def counts(self) -> list[int]:
        """Samples of each shard that take part. All that reads them first counts them, so that `given` is made before
        loader workers are forked, and shared by them."""
        _ = self.given
        return [
            shard.samples if mask is None else int(mask.sum())
            for shard, mask in zip(self.shards, self.members, strict=True)
        ]

    @cached_property
    def stored_view(self) -> View:
        """The view that the split's tickets were computed on."""
        return self.manifest.view(self.split)

    @cached_property
    def left_out(self) -> int:
        """Number of images of the split for which the manifest has an error."""
        return 0 if self.manifest is None else self.manifest.split_record(self.split).errors

    def read(
        self, shard_number: int, members: np.ndarray, columns: tuple[str, ...] = ("rank", "rc")
    ) -> Iterator[tuple[int, Sample, ShardRows | None]]:
        """Yield (row, sample, rows or None) for `members` of a shard, ascending, counted among its samples that take
        part; of the tickets only `columns` are read. `row` is the index of the sample in `rows`.

        Raises UserError if the shard's keys are not those of the stored rows.
        """
        if len(members) == 0:
            return
        shard, mask = self.shards[shard_number], self.members[shard_number]
        rows = iter((members if mask is None else np.flatnonzero(mask)[members]).tolist())
        stored = self._rows(shard_number, columns)
        row, wanted = -1, next(rows)
        for row, sample in enumerate(read_shard(self.dataset.path_of(shard))):
            if stored is not None and stored.keys[row] != sample.key:
                origin = (self.manifest or self.labels).root
                raise UserError(
                    f"{shard.file} row {row}: expected key {stored.keys[row]} as in {origin}, found {sample.key}"
                )
            if row == wanted:
                self._check(sample, shard)
                yield row, sample, stored
                wanted = next(rows, None)
                if wanted is None:
                    return
        raise UserError(f"{shard.file}: expected {shard.samples} samples as in dataset.json, found {row + 1}")

    def _rows(self, shard_number: int, columns: tuple[str, ...]) -> ShardRows | None:
        shard = self.shards[shard_number]
        rows = None if self.manifest is None else read_tickets(self.manifest, self.split, shard, columns)
        if rows is not None and self.given is not None:
            rows = replace(rows, given=self.given.of_shard(shard_number))
        if self.labels is None:
            return rows
        labels = read_labels(self.labels, self.split, shard)
        if rows is None:
            return labels
        if rows.keys != labels.keys:
            row = next(i for i, (ours, theirs) in enumerate(zip(rows.keys, labels.keys, strict=True)) if ours != theirs)
            raise UserError(
                f"{shard.file} row {row}: expected key {rows.keys[row]} as in {self.manifest.root}, found "
                f"{labels.keys[row]} in {self.labels.root}"
            )
        return replace(rows, classes=labels.classes, logits=labels.logits)

    def _check(self, sample: Sample, shard: Shard) -> None:
        if sample.label is None or not 0 <= sample.label < len(self.dataset.classes):
            raise UserError(
                f"{shard.file} {sample.key}: expected a class in 0 .. {len(self.dataset.classes) - 1}, "
                f"found {sample.label}"
            )


@dataclass(frozen=True)
class Holdout:
    """The images whose key hashes to the `fraction` of train that is held out, the same for every run."""

    fraction: float

    def __contains__(self, key: str) -> bool:
        return hash_word(f"holdout:{key}") < self.fraction * 2**64


def _held_out(keys: list[str], part: Holdout | Fold) -> np.ndarray:
    return np.array([key in part for key in keys], dtype=bool)


@lru_cache(maxsize=1 << 16)
def _held_out_of(path: str, shard: Shard, part: Holdout | Fold) -> np.ndarray:
    """Which samples of the tar at `path` are held out, bool (samples,). Cached, as a run reads both parts."""
    keys = read_keys(path)
    if len(keys) != shard.samples:
        raise UserError(f"{shard.file}: expected {shard.samples} samples as in dataset.json, found {len(keys)}")
    return _held_out(keys, part)


def check_belongs(manifest: Manifest | LabelMaps, dataset: Dataset, splits: list[str]) -> None:
    """Raise UserError unless the manifest, or the label maps, were made from this dataset's shards."""
    if manifest.dataset != dataset.name:
        raise UserError(f"{manifest.root}: expected dataset {dataset.name!r}, found {manifest.dataset!r}")
    for split in splits:
        manifest.split_record(split)
        if dataset.shards(split):
            manifest.read(split, dataset.shards(split)[0], ["key"])
