"""The commands of the contract: pack, inspect, verify."""

import click

from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("manifest")
@click.option("--split", help="Only this split.  [default: all; for --gallery the first]")
@click.option("--dataset", help="The dataset that the tickets are of; --gallery takes the pixels from it.")
@click.option("--gallery", metavar="FILE.png", help="Draw images with tickets, random counterparts, stages, scores.")
@click.option("--images", type=click.IntRange(1), default=8, show_default=True, help="How many --gallery shows.")
def inspect(manifest, split, dataset, gallery, images):
    """Summarise the tickets, or label maps, in the folder MANIFEST, split by split.

    Says how many images have a ticket, which selector chose how many patches, where in the image they lie, and how
    far they overlap their random counterparts. --gallery draws a contact sheet: image, ticket, random counterpart, the
    stage that dropped each patch (where there are several) and score. Of label maps: which annotator saw how many
    cells, and how sure it is of them.

    \b
    vit-tickets inspect manifests/digits-deit_micro-s0.75
    vit-tickets inspect manifests/digits-deit_micro-s0.75 --split val --dataset data/digits --gallery val.png
    vit-tickets inspect manifests/labels/digits-deit_micro
    """
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.inspection import labels as summary_labels
    from vit_tickets.pipeline.inspection import tickets as summary
    from vit_tickets.pipeline.inspection.gallery import write_gallery
    from vit_tickets.pipeline.manifests import labels
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.system import files

    if gallery and not dataset:
        raise UserError("--gallery: expected --dataset DATASET, to take the pixels from, found none")
    if files.exists(files.join(manifest, labels.INDEX)):
        if gallery:
            raise UserError(f"--gallery: expected a manifest, found label maps in {manifest}")
        maps = labels.LabelMaps.open(manifest)
        for line in summary_labels.describe(maps, [split] if split else maps.splits):
            click.echo(line)
        return
    opened = Manifest.open(manifest)
    shown = [split] if split else opened.splits
    for line in summary.describe_manifest(opened, shown):
        click.echo(line)
    for name in shown:
        for line in summary.describe_split(name, summary.summarise_split(opened, name)):
            click.echo(line)
    if gallery:
        count = write_gallery(gallery, opened, Dataset.open(dataset), shown[0], images)
        click.echo(f"{gallery}: {count} images of {shown[0]}")
