"""The commands of publishing: export and join."""

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("manifest")
@click.argument("file")
@click.option("--split", "splits", multiple=True, help="Only this split; may be given again.  [default: all]")
@click.option("--masks", is_flag=True, help="Tickets alone, N bits per image, which cannot be joined to train on.")
@overwrite_option
def export(manifest, file, splits, masks, overwrite):
    """Write the tickets of MANIFEST as one Parquet FILE to publish: ranks, keys, labels, provenance, no images.

    pandas reads it. The same manifest gives the same bytes, however its dataset was packed. Random counterparts follow
    from the key, and scores are left out. `vit-tickets join` makes a manifest of it for a copy of the data.

    \b
    vit-tickets export manifests/digits-deit_micro-s0.75 digits-tickets.parquet
    """
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.publish.archive import MASKS, RANKS, write_archive
    from vit_tickets.pipeline.system import files

    opened = Manifest.open(manifest)
    for split in splits:
        opened.split_record(split)
    if files.exists(file) and not overwrite:
        raise UserError(f"{file} exists; pass --overwrite or another name")
    written = write_archive(file, opened, list(dict.fromkeys(splits)) or opened.splits, MASKS if masks else RANKS)
    for split, (rows, errors) in written.rows.items():
        click.echo(f"{split}: {rows:,} images, {errors:,} without a ticket")
    images = max(1, sum(rows for rows, _ in written.rows.values()))
    held = "masks" if masks else "ranks"
    click.echo(f"{file}: {held}, {written.num_bytes:,} bytes, {written.num_bytes / images:.1f} per image")


@click.command()
@click.argument("file")
@click.argument("dataset")
@click.option("--out", required=True, help="Folder of the manifest.")
@click.option("--any-label", is_flag=True, help="Match by key alone: your classes are numbered otherwise.")
@click.option("--report", "report_file", metavar="FILE.json", help="Write all keys that did not match to this file.")
@overwrite_option
def join(file, dataset, out, any_label, report_file, overwrite):
    """Make a manifest of DATASET from the tickets in FILE, which `vit-tickets export` wrote.

    Images are matched by split and key. Those that FILE has no ticket for, or with another label, keep their rows,
    with an error, and are left out of training. Everything in FILE is checked before anything is written.

    \b
    vit-tickets join digits-tickets.parquet data/digits --out manifests/digits-joined
    """
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.publish import joining
    from vit_tickets.pipeline.publish.archive import Archive
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in

    archive, copy = Archive.open(file), Dataset.open(dataset)
    with alone_in(out):
        report = joining.join(archive, copy, out, any_label, overwrite)
    for line in joining.describe(report):
        click.echo(line)
    if report_file:
        files.write_json(report_file, report.record())
    click.echo(f"{out}: a manifest of {dataset}")
