"""The commands of the contract: pack, inspect, verify."""

import click

from vit_tickets.pipeline.system.errors import UserError, WorkFailed

# Options that several commands share live here, so that they read the same everywhere.
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace what is there.")


@click.command()
@click.argument("source")
@click.argument("dataset", required=False)
@click.option(
    "--split",
    help="Pack only this split; the name of the split where SOURCE has none.  [default: all, train]",
)
@click.option("--shard-size", type=click.IntRange(1), default=1000, show_default=True, help="Samples per tar.")
@click.option("--shorter-side", type=click.IntRange(1), help="Shrink larger images to this shorter side (as JPEG).")
@click.option("--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="Of those JPEGs.")
@click.option("--in-place", is_flag=True, help="SOURCE holds WebDataset tars: write only dataset.json over them.")
@overwrite_option
def pack(source, dataset, split, shard_size, shorter_side, quality, in_place, overwrite):
    """Write SOURCE as the folder DATASET of WebDataset shards.

    SOURCE is an image folder (class/image), a Parquet file or folder in the Hugging Face layout (image, label), a
    folder of WebDataset tars, or the word digits for the embedded dataset. Folders train and val (or files
    train-*.parquet ...) become splits. Every path may be a URL that fsspec understands. Bytes are packed as they are,
    unless --shorter-side asks to shrink them.

    \b
    vit-tickets pack imagenet/ data/imagenet --shorter-side 256
    vit-tickets pack cifar10/ data/cifar10
    vit-tickets pack my-tars/ --in-place
    """
    from vit_tickets.pipeline.datasets import pack as packing
    from vit_tickets.pipeline.system.locks import alone_in

    if in_place:
        if dataset not in (None, source):
            raise UserError(f"--in-place: expected no DATASET but SOURCE, found {dataset}")
        written, unshrunk = packing.pack_in_place(source, split), []
    elif dataset is None:
        raise UserError("expected a folder DATASET to write to, found none")
    else:
        with alone_in(dataset):
            result = packing.pack(
                source, dataset, split=split, shard_size=shard_size, shorter_side=shorter_side, quality=quality,
                overwrite=overwrite,
            )  # fmt: skip
        written, unshrunk = result.dataset, result.unshrunk
    for name, shards in written.splits.items():
        click.echo(f"{written.root}: {name} has {written.samples(name):,} images in {len(shards)} shards")
    click.echo(f"{written.root}: {len(written.classes)} classes")
    if unshrunk:
        shown = ", ".join(unshrunk[:5]) + (" ..." if len(unshrunk) > 5 else "")
        click.echo(f"{len(unshrunk)} images could not be decoded and went in unshrunk: {shown}", err=True)


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


@click.command()
@click.argument("path")
@click.option(
    "--dataset", help="PATH is a manifest or label maps: compare keys, labels, order and hashes with this dataset too."
)
def verify(path, dataset):
    """Check the dataset, manifest or label maps in the folder PATH; print what is wrong, one finding to a line.

    Of a dataset: that its tars are those of dataset.json, byte for byte, with unique keys, an image and a valid class
    index per sample. Of a manifest: columns and types, provenance, ranks, tickets, random counterparts, scores, sums.
    Of label maps: columns and types, provenance, classes, logits, sums.
    Exits with 1 if anything is found.

    \b
    vit-tickets verify data/digits
    vit-tickets verify manifests/digits-deit_micro-s0.75 --dataset data/digits
    vit-tickets verify manifests/labels/digits-deit_micro --dataset data/digits
    """
    from vit_tickets.pipeline.datasets import shards
    from vit_tickets.pipeline.manifests import labels
    from vit_tickets.pipeline.manifests import manifest as manifests
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.verification.labels import verify_labels
    from vit_tickets.pipeline.verification.manifests import verify_dataset, verify_manifest

    if files.exists(files.join(path, manifests.INDEX)):
        index, findings = manifests.INDEX, verify_manifest(path, dataset, progress=True)
        checked = "columns, provenance, ranks, tickets, random counterparts, scores, sums"
    elif files.exists(files.join(path, labels.INDEX)):
        index, findings = labels.INDEX, verify_labels(path, dataset, progress=True)
        checked = "columns, provenance, classes, logits, sums"
    elif files.exists(files.join(path, shards.INDEX)):
        if dataset:
            raise UserError(
                f"--dataset: expected a manifest or label maps to compare with it, found the dataset {path}"
            )
        index, findings = shards.INDEX, verify_dataset(path, progress=True)
        checked = "files, hashes, counts, keys, images, labels"
    else:
        expected = f"a dataset ({shards.INDEX}), a manifest ({manifests.INDEX}) or label maps ({labels.INDEX})"
        raise UserError(f"expected {expected} in {path}, found none")
    count = 0
    for count, finding in enumerate(findings, 1):  # noqa: B007 (used below)
        click.echo(finding)
    if count:
        raise WorkFailed(f"{path}: {count} finding{'s' if count > 1 else ''}")
    splits = files.read_json(files.join(path, index))["splits"]
    sizes = ", ".join(f"{name} {entry['samples']:,} images" for name, entry in splits.items())
    against = f"; compared with {dataset}" if dataset else ""
    click.echo(f"ok: {path}: {sizes}: {checked}{against}")
