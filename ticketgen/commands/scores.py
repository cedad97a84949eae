"""What `generate --scores` is asked for and what it says: which scores belong to which images, and which to none."""

from collections.abc import Iterator, Sequence

import click

from vit_tickets.pipeline.datasets.embedded import NAME as DIGITS
from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.datasets.shards import Dataset, read_keys
from vit_tickets.pipeline.datasets.sources.names import listed
from vit_tickets.pipeline.manifests.columns import list_matrix
from vit_tickets.pipeline.manifests.manifest import Manifest
from vit_tickets.pipeline.manifests.tables import read_table
from vit_tickets.pipeline.system import files
from vit_tickets.pipeline.system.errors import UserError, say
from vit_tickets.ticketgen.scores.given import ScoresSpec
from vit_tickets.ticketgen.scores.matching import Matched, match
from vit_tickets.ticketgen.scores.reading import Boxes, UnusableScores
from vit_tickets.ticketgen.scores.source import BOXES, Source, open_source
from vit_tickets.ticketgen.scores.tables import OF_IMAGE

#: Image size, patch size and crop_pct of the default students: DeiT, and deit_micro on the built-in dataset.
SIZES = {DIGITS: (48, 8, 1.0)}
DEFAULT_SIZES = (224, 16, 0.9)
STAGES = (4, 7, 10)  # of the default selector, so that a keep rate keeps equally many


def open_scores(
    place: str,
    dataset: Dataset,
    splits: Sequence[str],
    image_size: int | None = None,
    patch_size: int | None = None,
    stages: tuple[int, ...] | None = None,
) -> ScoresSpec:
    """The scores at `place`, matched with the images of `splits`; lines say what was matched.

    Raises UserError for sizes that do not fit, and for a split without any scores.
    """
    own = SIZES.get(dataset.source, DEFAULT_SIZES)
    image_size, patch_size = image_size or own[0], patch_size or own[1]
    if image_size % patch_size:
        raise UserError(f"--image-size: expected a multiple of the {patch_size} px of a patch, found {image_size}")
    path = files.absolute(place).rstrip("/")
    source = open_source(path)
    if source.left_out:
        shown = ", ".join(f"{count:,} .{suffix}" for suffix, count in source.left_out.items())
        say(f"--scores: files that are no {source.kind} are not read: {shown}")
    keys = {
        split: [key for shard in dataset.shards(split) for key in read_keys(dataset.path_of(shard))] for split in splits
    }
    found = match(source.names, keys)
    name = files.name_of(path)
    _check_sizes(source, name, found, dataset)
    sha256 = source.sha256()
    click.echo(
        f"scores: {name} ({source.kind} of {counted(len(source.names), 'image')}, SHA-256 {sha256[:12]}), on "
        f"{(image_size // patch_size) ** 2} patches of {patch_size} px"
    )
    for line in _report(source, name, found, keys):
        say(line)
    return ScoresSpec(
        model=name,
        weights_sha256=sha256,
        path=path,
        kind=source.kind,
        image_size=image_size,
        patch_size=patch_size,
        crop_pct=own[2],
        stages=stages or STAGES,
        names={split: matched.names for split, matched in found.items()},
        refused={split: matched.refused for split, matched in found.items()},
    )


def _check_sizes(source: Source, name: str, found: dict[str, Matched], dataset: Dataset) -> None:
    """Raise UserError for boxes without a size on images that pack shrank: they may be of those before, or after."""
    for split, matched in found.items():
        side = dataset.shorter_side.get(split)
        if source.kind != BOXES or not side:
            continue
        for key, of_key in matched.names.items():
            if _lacks_size(source, of_key):
                raise UserError(
                    f"--scores: expected columns {','.join(OF_IMAGE)} (or the <size> of VOC) of the images that the "
                    f"boxes in {name} were drawn on, for pack shrank those of {split} to a shorter side of {side} px, "
                    f"found none of {key}"
                )


def _lacks_size(source: Source, name: str) -> bool:
    """Whether the boxes called `name` do not say of which size their image was."""
    try:
        found = source.read(name)
    except UnusableScores:  # its row says why
        return False
    return isinstance(found, Boxes) and found.size is None


def _report(source: Source, name: str, found: dict[str, Matched], keys: dict[str, list[str]]) -> Iterator[str]:
    """What was matched, split by split, and what was not. Raises UserError for a split without any."""
    for split, matched in found.items():
        total = len(keys[split])
        if not matched.names:
            raise UserError(
                f"--scores: {split}: expected names in {name} that are keys of the dataset, found none; a name is "
                f"{next(iter(source.names), None)!r}, a key {next(iter(keys[split]), None)!r}; --split selects splits"
            )
        alone = f", {matched.alone:,} of them by file name without folders" if matched.alone else ""
        yield f"{split}: scores of {len(matched.names):,} of {counted(total, 'image')}{alone}"
        if matched.without:
            none = counted(len(matched.without), "image")
            yield f"{split}: none of {none}, of which the row has an error: {listed(matched.without)}"
    used = {each for matched in found.values() for each in matched.names.values()}
    if unknown := [each for each in source.names if each not in used]:
        yield f"{name}: {counted(len(unknown), 'name')} of no image of {' and '.join(found)}: {listed(unknown)}"


def notes_on_scores(folder: str, spec: ScoresSpec, splits: Sequence[str]) -> Iterator[str]:
    """Lines about the manifest in `folder`: rows whose scores cannot be used, and those that say nothing."""
    manifest = Manifest.open(folder)
    for split in splits:
        odd, equal, layout = [], 0, manifest.layout(split)
        has_scores = layout.scores and not layout.num_views
        for name in files.list_names(files.join(folder, split)):
            path = files.join(folder, split, name)
            table, _ = read_table(path, ["key", "error", *(["score"] if has_scores else [])])
            for row in table.select(["key", "error"]).filter(table["error"].is_valid()).to_pylist():
                if row["key"] in spec.names[split]:
                    odd.append(f"{row['key']} ({row['error']})")
            if has_scores:
                score_RN, valid_R = list_matrix(table["score"], layout.num_patches, path)
                equal += int((valid_R & (score_RN == score_RN[:, :1]).all(axis=1)).sum())
        if odd:
            yield f"{split}: {counted(len(odd), 'image')} with scores but an error: {listed(odd)}"
        if equal:
            said = f"the scores of {counted(equal, 'image')} are equal in the whole view"
            yield f"{split}: {said}; {'its ticket is' if equal == 1 else 'their tickets are'} its centre"
