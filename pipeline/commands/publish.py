"""The export and join commands."""

import click

from vit_tickets.pipeline.commands.options import check_ticket, check_unused, overwrite_option, splits_option
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
    """Export the tickets of MANIFEST as one Parquet FILE for publication, or a weight ticket as one safetensors FILE.

    FILE holds keys, labels, ranks and provenance, but no images. pandas can read it. Scores are left out, and so are
    random subsets, which follow from the keys. The same tickets give the same bytes, however the dataset was packed.
    With a copy of the images, `vit-tickets join` turns FILE back into a manifest.

    Of a weight ticket, FILE.safetensors holds the masks and provenance, but no weights.

    \b
    vit-tickets export manifests/digits-deit_micro-s0.75 digits-tickets.parquet
    vit-tickets export manifests/digits-deit_micro-s0.75 digits-tickets --tables --masks
    vit-tickets export masks/digits-deit_micro-dense-seed0-w0.2 digits-masks.safetensors
    """
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.publish.archive import MASKS, RANKS, write_archive
    from vit_tickets.pipeline.publish.tables import check_folder, write_tables
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in
    from vit_tickets.pipeline.weights.ticket import is_weight_ticket

    check_ticket(manifest, "a manifest or weight ticket")
    if is_weight_ticket(manifest):
        check_unused({"--split": splits, "--masks": masks, "--tables": tables}, manifest)
        export_weights(manifest, file, overwrite)
        return
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
    check_new(file, overwrite)
    written = write_archive(file, opened, chosen, MASKS if masks else RANKS)
    for split, (rows, errors) in written.rows.items():
        click.echo(f"{split}: {rows:,} images, {errors:,} without a ticket")
    images = max(1, sum(rows for rows, _ in written.rows.values()))
    held = "masks" if masks else "ranks"
    click.echo(f"{file}: {held}, {written.num_bytes:,} bytes, {written.num_bytes / images:.1f} per image")


@click.command()
@click.argument("file")
@click.argument("dataset", metavar="[DATASET|WEIGHTS]", required=False)
@click.option("--out", required=True, help="Folder in which to write the manifest or weight ticket.")
@click.option("--any-label", is_flag=True, help="Match by key only. Use it if your classes are numbered differently.")
@click.option("--report", "report_file", metavar="FILE.json", help="Write all keys that did not match to this file.")
@overwrite_option
def join(file: str, dataset: str | None, out: str, any_label: bool, report_file: str | None, overwrite: bool) -> None:
    """Write a manifest for DATASET with the tickets in FILE, which `vit-tickets export` wrote.

    Images are matched by split and key. An image without a ticket in FILE, or with another label than in FILE, gets an
    error in its row and is left out of training. FILE is checked completely before anything is written.

    If FILE is a weight ticket (.safetensors), DATASET is instead the safetensors file of the weights that training
    starts from, which must have the SHA-256 that FILE names. Without it, the ticket holds masks alone.

    \b
    vit-tickets join digits-tickets.parquet data/digits --out manifests/digits-joined
    vit-tickets join digits-masks.safetensors --out masks/digits-joined
    """
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.publish import joining
    from vit_tickets.pipeline.publish.archive import Archive
    from vit_tickets.pipeline.publish.weights import is_published
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in

    if files.is_dir(file):
        raise UserError(f"expected the FILE that `vit-tickets export` writes, found the folder {file}")
    if is_published(file):
        check_unused({"--any-label": any_label, "--report": report_file}, file)
        join_weights(file, dataset, out, overwrite)
        return
    if dataset is None:
        raise UserError("expected a DATASET to join the tickets of images to, found none")
    archive, copy = Archive.open(file), Dataset.open(dataset)
    with alone_in(out):
        report = joining.join(archive, copy, out, any_label, overwrite)
    for line in joining.describe(report):
        click.echo(line)
    if report_file:
        files.write_json(report_file, report.record())
    click.echo(f"{out}: a manifest of {dataset}")


def check_new(path: str, overwrite: bool) -> None:
    """Raise UserError if there is something at `path` that was not to be replaced."""
    from vit_tickets.pipeline.system import files

    if files.exists(path) and not overwrite:
        raise UserError(f"{path} exists; pass --overwrite or another name")


def export_weights(root: str, file: str, overwrite: bool) -> None:
    """Write the weight ticket in the folder `root` as one file."""
    from vit_tickets.pipeline.publish.weights import publish
    from vit_tickets.pipeline.weights import ticket as tickets
    from vit_tickets.pipeline.weights.ticket import REWIND

    ticket = tickets.read(root)
    check_new(file, overwrite)
    click.echo(f"{file}: masks of {len(ticket.counts)} layers, {publish(ticket, file):,} bytes")
    if ticket.rewind_sha256:
        click.echo(f"{root}/{REWIND} is not in it: publish it too, or name its source; `join` knows it by its SHA-256")


def join_weights(file: str, weights: str | None, out: str, overwrite: bool) -> None:
    """Write the published weight ticket in `file` to the folder `out`."""
    from vit_tickets.pipeline.manifests.manifest import INDEX
    from vit_tickets.pipeline.publish import weights as published
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.system.locks import alone_in

    check_new(files.join(out, INDEX), overwrite)
    with alone_in(out):
        ticket = published.join(file, weights, out)
    counted = f"{ticket.alive:,} of {ticket.size:,} weights alive"
    click.echo(f"{out}: a weight ticket of {ticket.model}, {counted}, {'with' if weights else 'without'} weights")
