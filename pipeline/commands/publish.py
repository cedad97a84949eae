"""The export and join commands."""

import click

from vit_tickets.pipeline.commands.options import overwrite_option, splits_option
from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("manifest")
@click.argument("file")
@splits_option
@click.option("--masks", is_flag=True, help="Store tickets (1 bit per patch) without ranks. `join` cannot read them.")
@click.option(
    "--tables",
    is_flag=True,
    help="Make FILE a folder instead, for pandas and load_dataset: any view, all columns, the rows of many shards in a "
    "file. `join` cannot read it.",
)
@overwrite_option
def export(manifest: str, file: str, splits: tuple[str, ...], masks: bool, tables: bool, overwrite: bool) -> None:
    """Export the tickets of MANIFEST as one Parquet FILE for publication.

    FILE holds keys, labels, ranks and provenance, but no images. pandas can read it. Scores are left out, and so are
    random subsets, which follow from the keys. The same tickets give the same bytes, however the dataset was packed.
    With a copy of the images, `vit-tickets join` turns FILE back into a manifest.

    \b
    vit-tickets export manifests/digits-deit_micro-s0.75 digits-tickets.parquet
    vit-tickets export manifests/digits-deit_micro-s0.75 digits-tickets --tables --masks
    """
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.publish.archive import MASKS, RANKS, write_archive
    from vit_tickets.pipeline.publish.tables import check_folder, write_tables
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in

    opened = Manifest.open(manifest)
    for split in splits:
        opened.split_record(split)
    chosen = list(dict.fromkeys(splits)) or opened.splits
    if tables:
        check_folder(file, overwrite)
        with alone_in(file):
            files.remove_leftovers(file)
            made = write_tables(file, opened, chosen, masks)
        for split, number in made.items():
            images = opened.split_record(split).samples
            click.echo(f"{file}/{split}: {images:,} images in {number:,} file{'' if number == 1 else 's'}")
        return
    if files.exists(file) and not overwrite:
        raise UserError(f"{file} exists; pass --overwrite or another name")
    written = write_archive(file, opened, chosen, MASKS if masks else RANKS)
    for split, (rows, errors) in written.rows.items():
        click.echo(f"{split}: {rows:,} images, {errors:,} without a ticket")
    images = max(1, sum(rows for rows, _ in written.rows.values()))
    held = "masks" if masks else "ranks"
    click.echo(f"{file}: {held}, {written.num_bytes:,} bytes, {written.num_bytes / images:.1f} per image")


@click.command()
@click.argument("file")
@click.argument("dataset")
@click.option("--out", required=True, help="Folder in which to write the manifest.")
@click.option("--any-label", is_flag=True, help="Match by key only. Use it if your classes are numbered differently.")
@click.option("--report", "report_file", metavar="FILE.json", help="Write all keys that did not match to this file.")
@overwrite_option
def join(file: str, dataset: str, out: str, any_label: bool, report_file: str | None, overwrite: bool) -> None:
    """Write a manifest for DATASET with the tickets in FILE, which `vit-tickets export` wrote.

    Images are matched by split and key. An image without a ticket in FILE, or with another label than in FILE, gets an
    error in its row and is left out of training. FILE is checked completely before anything is written.

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
