"""The inspect command."""

import click

from vit_tickets.pipeline.commands.options import check_ticket, check_unused
from vit_tickets.pipeline.system.errors import UserError, say


@click.command()
@click.argument("manifest")
@click.option("--split", help="Only this split.  [default: all; for --gallery the first]")
@click.option("--dataset", help="The dataset that the tickets were selected on. --gallery reads its images.")
@click.option(
    "--gallery", metavar="FILE.png", help="Draw images with their tickets, random subsets, stages and scores."
)
@click.option("--images", type=click.IntRange(1), default=8, show_default=True, help="Number of images in --gallery.")
def inspect(manifest: str, split: str | None, dataset: str | None, gallery: str | None, images: int) -> None:
    """Summarise the tickets, label maps or weight ticket in the folder MANIFEST.

    For tickets, this prints how many images have one, which selector chose how many patches, how often each patch of
    the image is kept, and how far tickets overlap random subsets of the same size. It says so where corners or a ring
    of patches are kept far more often than those beside them: these are probably attention sinks. For label maps, it
    prints the annotator, how many classes come first in some cell, and how probable the first class is. For a weight
    ticket, it prints how many weights of each layer are alive, and how many heads, neurons and channels.

    The option --gallery draws a contact sheet. Each row shows an image, its ticket, its random subset, the stage that
    dropped each patch (if there are several stages) and the score of each patch.

    \b
    vit-tickets inspect manifests/digits-deit_micro-s0.75
    vit-tickets inspect manifests/digits-deit_micro-s0.75 --split val --dataset data/digits --gallery val.png
    vit-tickets inspect manifests/labels/digits-deit_micro
    vit-tickets inspect masks/digits-deit_micro-dense-seed0-w0.2
    """
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.inspection import labels as label_summary
    from vit_tickets.pipeline.inspection import tickets as ticket_summary
    from vit_tickets.pipeline.inspection.gallery import check_name, write_gallery
    from vit_tickets.pipeline.manifests import labels
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.weights.ticket import is_weight_ticket

    if is_weight_ticket(manifest):
        check_unused({"--split": split, "--dataset": dataset, "--gallery": gallery}, manifest)
        describe_weights(manifest)
        return
    if gallery and not dataset:
        raise UserError("--gallery: expected --dataset DATASET, to read the images from, found none")
    has_labels = files.exists(files.join(manifest, labels.INDEX))
    if not has_labels:
        check_ticket(manifest, "a manifest, label maps or weight ticket")
    if gallery and has_labels:
        raise UserError(f"--gallery: expected a manifest, found label maps in {manifest}")
    if gallery:
        check_name(gallery)
    images_of = Dataset.open(dataset) if dataset else None
    if images_of and not gallery:
        say("--dataset is not used: --gallery alone reads images")
    if has_labels:
        maps = labels.LabelMaps.open(manifest)
        for line in label_summary.describe(maps, [split] if split else maps.splits):
            click.echo(line)
        return
    opened = Manifest.open(manifest)
    shown = [split] if split else opened.splits
    for line in ticket_summary.describe_manifest(opened, shown):
        click.echo(line)
    for name in shown:
        for line in ticket_summary.describe_split(
            name, ticket_summary.summarise_split(opened, name), opened.ticket.scored_by
        ):
            click.echo(line)
    if gallery and images_of:
        count = write_gallery(gallery, opened, images_of, shown[0], images)
        click.echo(f"{gallery}: {count} images of {shown[0]}")


def describe_weights(root: str) -> None:
    """Print the summary of the weight ticket in the folder `root`."""
    from vit_tickets.pipeline.inspection.weights import describe
    from vit_tickets.pipeline.weights import ticket as tickets

    ticket = tickets.read(root)
    for line in describe(ticket, ticket.masks()):
        click.echo(line)
