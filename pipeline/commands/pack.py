"""The pack command."""

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("source")
@click.argument("dataset", required=False)
@click.option(
    "--split",
    help="Pack only this split. If SOURCE has no splits: the name of the new one.  [default: all, or train]",
)
@click.option("--shard-size", type=click.IntRange(1), default=1000, show_default=True, help="Images per tar file.")
@click.option(
    "--shorter-side",
    type=click.IntRange(1),
    help="Shrink images whose shorter side is longer than this, and store them as JPEG.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=90,
    show_default=True,
    help="JPEG quality of the images that --shorter-side shrinks.",
)
@click.option(
    "--in-place", is_flag=True, help="SOURCE is a folder of WebDataset tars: keep them, and only add dataset.json."
)
@overwrite_option
def pack(
    source: str,
    dataset: str | None,
    split: str | None,
    shard_size: int,
    shorter_side: int | None,
    quality: int,
    in_place: bool,
    overwrite: bool,
) -> None:
    """Pack the images of SOURCE into WebDataset shards in the folder DATASET.

    SOURCE is one of: an image folder (class/image), a Parquet file or folder in the Hugging Face layout (columns image
    and label), a folder of WebDataset tars, or the word digits for the built-in dataset. Folders named train, val,
    validation and test (or files named train-*.parquet and so on) become splits; validation, or else test, is renamed
    to val if there is none. Any path can be a URL that fsspec supports.

    With --shorter-side, large images are shrunk. All others are stored unchanged, byte for byte.

    \b
    vit-tickets pack imagenet/ data/imagenet --shorter-side 256
    vit-tickets pack cifar10/ data/cifar10
    vit-tickets pack my-tars/ --in-place
    """
    from vit_tickets.pipeline.datasets import pack as packing
    from vit_tickets.pipeline.system.locks import alone_in

    if in_place:
        if dataset not in (None, source):
            raise UserError(f"--in-place: expected no DATASET other than SOURCE, found {dataset}")
        written, unshrunk = packing.pack_in_place(source, split), []
    elif dataset is None:
        raise UserError("expected a folder DATASET to write to, found none")
    else:
        with alone_in(dataset):
            result = packing.pack(
                source,
                dataset,
                split=split,
                shard_size=shard_size,
                shorter_side=shorter_side,
                quality=quality,
                overwrite=overwrite,
            )
        written, unshrunk = result.dataset, result.unshrunk
    for name, shards in written.splits.items():
        click.echo(f"{written.root}: {name} has {written.samples(name):,} images in {len(shards)} shards")
        for left_out in written.left_out.get(name, []):
            click.echo(f"{written.root}: {name}: {left_out}")
    click.echo(f"{written.root}: {len(written.classes)} classes")
    if unshrunk:
        shown = ", ".join(unshrunk[:5]) + (" ..." if len(unshrunk) > 5 else "")
        click.echo(f"{len(unshrunk)} images could not be decoded and were packed unchanged: {shown}", err=True)
