"""`join`: an archive's tickets as a manifest of somebody's own copy of the data, matched by split and key."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vit_tickets.pipeline.datasets.shards import Dataset, Shard, parse_label, read_members
from vit_tickets.pipeline.geometry.patches import random_subset, ticket_of
from vit_tickets.pipeline.manifests.index import PER_SPLIT, true_of
from vit_tickets.pipeline.manifests.keyed import OTHER_LABELS, KeyedRows, check_fixed_view
from vit_tickets.pipeline.manifests.manifest import INDEX
from vit_tickets.pipeline.manifests.methods import ENTRIES as METHOD_ENTRIES
from vit_tickets.pipeline.manifests.rows import Layout, Row, write_rows
from vit_tickets.pipeline.publish.archive import RANKS, Archive
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.bars import Bar
from vit_tickets.pipeline.system.errors import UserError

NO_TICKET = "no ticket in the archive"
JOINED = "joined"
# Of what an archive says of its origin: what determines tickets, and what ticket.json alone says.
KEPT = (
    "format_version", "selector", "weights_sha256", *METHOD_ENTRIES, "sparsity", "keep_rate", "stages", "counts",
    "num_patches", "grid", "patch_size", "image_size", "mask_seed", "precision", "max_pixels",
)  # fmt: skip
ABOUT = ("selector_seconds", "wall_time_s", "engine", "device", "versions")


@dataclass
class SplitReport:
    """What was found in a split. images: of the dataset. tickets: rows that have one.

    missing: keys of the archive that the dataset lacks. without_ticket: keys of the dataset that the archive lacks.
    failed: keys whose row in the archive has an error. repeated: keys that the dataset has again; the first gets the
    ticket. other_label: entries {key, archive, dataset}.
    """

    images: int = 0
    tickets: int = 0
    missing: list[str] = field(default_factory=list)
    without_ticket: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    other_label: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What `join` found. archive_only, dataset_only: splits that one of the two lacks."""

    splits: dict[str, SplitReport]
    archive_only: list[str]
    dataset_only: list[str]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self) | {"splits": {split: vars(found) for split, found in self.splits.items()}}


@dataclass(frozen=True, slots=True)
class Match:
    """An image of a shard: its row in the archive, or why it gets no ticket."""

    key: str
    label: int | None
    row: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class SplitJoin:
    """A split of archive and dataset, matched: images of each shard, in its order."""

    rows: KeyedRows
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
    """Write a manifest of `dataset` at `out`: the images' rows in the dataset's order, with the archive's tickets.

    Images without one keep their rows, with an error. `score` is 1 - rank / N, as an archive holds no scores. An image
    with another label gets no ticket unless `any_label`. Raises UserError, before anything is written, where the
    archive is not sound, or holds masks alone, where no split or no key is in both or more than 1% of the labels
    differ, and where `out` holds a manifest.
    """
    manifest = archive.manifest
    if archive.holds != RANKS:
        raise UserError(
            f"expected ranks, which training sends through every crop, found masks alone in {archive.path}; export "
            "without --masks"
        )
    splits = [split for split in manifest.splits if split in dataset.splits]
    if not splits:
        raise UserError(
            f"expected a split that both have, found {', '.join(manifest.splits)} in {archive.path} and "
            f"{', '.join(dataset.splits)} in {dataset.root}"
        )
    if files.exists(files.join(out, INDEX)) and not overwrite:
        raise UserError(f"{out} holds a manifest; pass --overwrite or another --out")
    joins = {split: match(archive, dataset, split, any_label, progress) for split in splits}
    _withdraw(out)
    made = {"dataset": dataset.name, "predictions": False}
    made[JOINED] = {"dataset": manifest.ticket.dataset, "sha256": {split: archive.sha256[split] for split in splits}}
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
    return Report(
        {split: joined.found for split, joined in joins.items()},
        [split for split in manifest.splits if split not in dataset.splits],
        [split for split in dataset.splits if split not in manifest.splits],
    )


def match(archive: Archive, dataset: Dataset, split: str, any_label: bool, progress: bool) -> SplitJoin:
    """Find the archive's row of every image of a split. Raises UserError as `join` does."""
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
            f"theirs are like {_first(list(matcher.row_of))}, yours like {_first(found.without_ticket)}"
        )
    if len(found.other_label) > OTHER_LABELS * seen.sum() and not any_label:
        raise UserError(
            f"{split}: expected keys that name the same images, found another label for {len(found.other_label):,} of "
            f"{seen.sum():,}; pass --any-label if your classes are merely numbered otherwise"
        )
    found.missing = [key for key, row in matcher.row_of.items() if not seen[row]]
    return SplitJoin(matcher.rows, shards, found)


class _Matcher:
    """Finds the rows of images one by one, each row once. seen: bool, rows that were found."""

    def __init__(self, rows: KeyedRows, any_label: bool):
        self.rows, self.any_label, self.found = rows, any_label, SplitReport()
        self.row_of = {key: row for row, key in enumerate(rows.keys.to_pylist())}
        self.seen = np.zeros(len(rows), dtype=bool)

    def match(self, key: str, label: int | None) -> Match:
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
    """Delete the manifest at `out`, its index first; where there is none, nothing but what killed writers left."""
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
    """What `join` found, in lines."""
    for split, found in report.splits.items():
        yield f"{split}: {found.tickets:,} of {found.images:,} images have a ticket"
        for keys, what in (
            (found.without_ticket, "not in the archive"),
            (found.missing, "in the archive alone"),
            (found.failed, "with an error in the archive"),
            (found.repeated, "with a key that an earlier image has"),
            ([entry["key"] for entry in found.other_label], "with another label than in the archive"),
        ):
            if keys:
                yield f"  {len(keys):,} {what}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}"
    for splits, of in ((report.archive_only, "dataset"), (report.dataset_only, "archive")):
        for split in splits:
            yield f"{split}: not in the {of}, left out"
