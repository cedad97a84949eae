"""The pack command."""

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.system.errors import UserError


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
