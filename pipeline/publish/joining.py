"""`join`: write a manifest for a copy of the images with the tickets of an archive, matched by split and key."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets.shards import Dataset, Shard, parse_label, read_members
from vit_tickets.pipeline.geometry.patches import KINDS_OF_BUDGET, random_subset, ticket_of
from vit_tickets.pipeline.manifests.card import write_card
from vit_tickets.pipeline.manifests.index import PER_SPLIT, true_of
from vit_tickets.pipeline.manifests.keyed import OTHER_LABELS, KeyedRows, check_fixed_view
from vit_tickets.pipeline.manifests.manifest import INDEX, Manifest
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.rows import Layout, Row, write_rows
from vit_tickets.pipeline.publish.archive import RANKS, Archive
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError

NO_TICKET = "no ticket in the archive"
JOINED = "joined"
# Entries that a manifest takes from an archive: those on which tickets depend, and those of ticket.json alone.
KEPT = ("format_version", "selector", "weights_sha256", *METHOD_ENTRIES, *KINDS_OF_BUDGET, "stages", "counts")
KEPT += ("num_patches", "grid", "patch_size", "image_size", "mask_seed", "precision", "max_pixels")
ABOUT = ("selector_seconds", "wall_time_s", "engine", "device", "versions")


@dataclass
class SplitReport:
    """How the images of a split matched."""

    #: number of images in the dataset
    images: int = 0
    #: number of images with a ticket
    tickets: int = 0
    #: keys of the archive that are not in the dataset
    missing: list[str] = field(default_factory=list)
    #: keys of the dataset that are not in the archive
    without_ticket: list[str] = field(default_factory=list)
    #: keys whose row in the archive has an error
    failed: list[str] = field(default_factory=list)
    #: keys that the dataset has more than once; the first image gets the ticket
    repeated: list[str] = field(default_factory=list)
    #: images whose labels differ, as {key, archive, dataset}
    other_label: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """The result of `join`."""

    splits: dict[str, SplitReport]
    #: splits that only the archive has
    archive_only: list[str]
    #: splits that only the dataset has
    dataset_only: list[str]

    def record(self) -> dict[str, Any]:
        """The report as a record for JSON."""
        return vars(self) | {"splits": {split: vars(found) for split, found in self.splits.items()}}


@dataclass(frozen=True, slots=True)
class Match:
    """An image of a shard: its row in the archive, or the reason why it gets no ticket."""

    key: str
    label: int | None
    row: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class SplitJoin:
    """A split that is in both archive and dataset, with its matches."""

    rows: KeyedRows
    #: the images of each shard, in the order of the shard
    shards: list[tuple[Shard, list[Match]]]
    found: SplitReport


def join(
    archive: Archive,
    dataset: Dataset,
    out: str,
    any_label: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Report:
    """Write a manifest of `dataset` at `out`, in the dataset's order, with the tickets of `archive`.

    The row of an image without a ticket has an error instead. An archive holds no scores, so `score` is 1 - rank / N.

    Args:
        archive: Tickets with ranks.
        dataset: A copy of the images.
        out: Folder of the manifest.
        any_label: Also use tickets of images whose label differs.
        overwrite: Replace a manifest at `out`.
        progress: Show a progress bar.

    Raises:
        UserError: The archive is not valid or holds only masks, there is no common split or key, more than 1% of the
            labels differ, or `out` holds a manifest. Nothing has been written then.
    """
    splits = _common_splits(archive, dataset)
    if files.exists(files.join(out, INDEX)) and not overwrite:
        raise UserError(f"{out} holds a manifest; pass --overwrite or another --out")
    joins = {split: match(archive, dataset, split, any_label, progress) for split in splits}
    _withdraw(out)
    _write(archive, dataset, out, joins)
    return Report(
        splits={split: joined.found for split, joined in joins.items()},
        archive_only=[split for split in archive.manifest.splits if split not in dataset.splits],
        dataset_only=[split for split in dataset.splits if split not in archive.manifest.splits],
    )


def _common_splits(archive: Archive, dataset: Dataset) -> list[str]:
    if archive.holds != RANKS:
        raise UserError(
            f"expected ranks, which training resamples to every crop, found only masks in {archive.path}; export "
            "without --masks"
        )
    splits = [split for split in archive.manifest.splits if split in dataset.splits]
    if not splits:
        raise UserError(
            f"expected a split that is in both, found {', '.join(archive.manifest.splits)} in {archive.path} and "
            f"{', '.join(dataset.splits)} in {dataset.root}"
        )
    return splits


def _write(archive: Archive, dataset: Dataset, out: str, joins: dict[str, SplitJoin]) -> None:
    """Write the files of all shards, and then ticket.json."""
    manifest = archive.manifest
    origin = {"dataset": manifest.ticket.dataset, "sha256": {split: archive.sha256[split] for split in joins}}
    made = {"dataset": dataset.name, "predictions": False, JOINED: origin}
    shared, about = (
        {name: manifest.record[name] for name in names if name in manifest.record} for names in (KEPT, ABOUT)
    )
    entries = {}
    for split, joined in joins.items():
        own = {name: manifest.record["splits"][split][name] for name in PER_SPLIT}
        metadata = true_of(shared, manifest.view(split)) | made | own
        layout = Layout(manifest.num_patches_of(split), manifest.kept_of(split))
        for shard, matches in joined.shards:
            rows = list(_rows(joined.rows, matches, layout, manifest.mask_seed))
            path = files.join(out, split, f"{shard.stem}.parquet")
            write_rows(path, rows, layout, metadata | {"shard_sha256": shard.sha256})
        found = joined.found
        entries[split] = {"samples": found.images, "errors": found.images - found.tickets, **own}
    files.write_json(files.join(out, INDEX), shared | made | {"splits": entries} | about)
    write_card(Manifest.open(out))


def match(archive: Archive, dataset: Dataset, split: str, any_label: bool, progress: bool) -> SplitJoin:
    """Find the row of every image of a split in the archive. Raises UserError as in `join`."""
    check_fixed_view(archive.manifest, split)
    matcher, shards = _Matcher(archive.read(split), any_label), []
    found, seen = matcher.found, matcher.seen
    bar = Bar(
        dataset.shards(split), desc=f"join {split}", unit="shard", leave=False, disable=None if progress else True
    )
    for shard in bar:
        members = read_members(dataset.path_of(shard))
        matches = [matcher.match(fields["__key__"], parse_label(fields.get("cls"))) for fields in members]
        if len(matches) != shard.samples:
            raise UserError(f"{shard.file}: expected {shard.samples} samples as in dataset.json, found {len(matches)}")
        shards.append((shard, matches))
    if not seen.any():
        raise UserError(
            f"{split}: expected images of {dataset.root} among those of {archive.path}, found no key in both; "
            f"a key of the archive is {_first(list(matcher.row_of))}, one of the dataset {_first(found.without_ticket)}"
        )
    if len(found.other_label) > OTHER_LABELS * seen.sum() and not any_label:
        raise UserError(
            f"{split}: expected keys that name the same images, found another label for {len(found.other_label):,} of "
            f"{seen.sum():,}; pass --any-label if your classes are numbered differently"
        )
    found.missing = [key for key, row in matcher.row_of.items() if not seen[row]]
    return SplitJoin(matcher.rows, shards, found)


class _Matcher:
    """Finds the rows of images one by one. Each row is used once."""

    def __init__(self, rows: KeyedRows, any_label: bool):
        self.rows, self.any_label, self.found = rows, any_label, SplitReport()
        self.row_of = {key: row for row, key in enumerate(rows.keys.to_pylist())}
        self.seen = np.zeros(len(rows), dtype=bool)  # rows that were found

    def match(self, key: str, label: int | None) -> Match:
        """Match one image, and count it in `found`."""
        rows, found, row = self.rows, self.found, self.row_of.get(key)
        found.images += 1
        if row is None:
            found.without_ticket.append(key)
            return Match(key, label, error=NO_TICKET)
        if self.seen[row]:
            found.repeated.append(key)
            return Match(key, label, error="a key that the split has before")
        self.seen[row] = True
        if not rows.valid_R[row]:
            found.failed.append(key)
            return Match(key, label, error=rows.errors[row])
        theirs = int(rows.label_R[row])
        if label != theirs:
            found.other_label.append({"key": key, "archive": theirs, "dataset": label})
            if label is None or not self.any_label:
                return Match(key, label, error=f"label {label} where the archive has {theirs}")
        found.tickets += 1
        return Match(key, label, row)


def _first(keys: list[str]) -> str:
    return repr(keys[0]) if keys else "none"


def _rows(rows: KeyedRows, matches: list[Match], layout: Layout, mask_seed: int) -> Iterator[Row]:
    N, k = layout.num_patches, layout.kept
    for image in matches:
        if image.row is None:
            yield Row(image.key, image.label, error=image.error)
            continue
        rank_N = rows.ranks(slice(image.row, image.row + 1), N)[0]
        yield Row(
            key=image.key,
            label=image.label,
            height=int(rows.height_R[image.row]),
            width=int(rows.width_R[image.row]),
            rank_N=rank_N,
            ticket_k=ticket_of(rank_N, k),
            random_k=random_subset(mask_seed, image.key, N, k),
            score_N=(1 - rank_N / N).astype(np.float32),
        )


def _withdraw(out: str) -> None:
    """Delete the manifest at `out`, its index first. Without one, delete only what killed writers left."""
    index = files.join(out, INDEX)
    splits = files.read_json(index).get("splits", {}) if files.exists(index) else {}
    files.remove(index)
    for split in files.list_names(out):
        folder = files.join(out, split)
        files.remove_leftovers(folder)
        for name in files.list_names(folder) if split in splits else ():
            if name.endswith(".parquet"):
                files.remove(files.join(folder, name))


def describe(report: Report) -> Iterator[str]:
    """The report as lines of text."""
    for split, found in report.splits.items():
        yield f"{split}: {found.tickets:,} of {found.images:,} images have a ticket"
        for keys, what in (
            (found.without_ticket, "not in the archive"),
            (found.missing, "only in the archive"),
            (found.failed, "with an error in the archive"),
            (found.repeated, "with the key of an earlier image"),
            ([entry["key"] for entry in found.other_label], "with another label in the archive"),
        ):
            if keys:
                yield f"  {len(keys):,} {what}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}"
    for splits, of in ((report.archive_only, "dataset"), (report.dataset_only, "archive")):
        for split in splits:
            yield f"{split}: not in the {of}, left out"
