"""The pack command."""

from typing import Any, Literal

import click

from vit_tickets.pipeline.commands.options import overwrite_option
from vit_tickets.pipeline.datasets.sources.options import SampleOptions
from vit_tickets.pipeline.system.errors import UserError
from vit_tickets.pipeline.system.fields import click_options, parsed


@click.command()
@click.argument("source")
@click.argument("dataset", required=False)
@click.option(
    "--split",
    multiple=True,
    help="Pack only this split, by its name in SOURCE or ours; may be repeated. If SOURCE has no splits: the "
    "name of the new one.  [default: all with labels, or train]",
)
@click.option(
    "--no-splits",
    is_flag=True,
    help="Names such as train or test say nothing: all folders of SOURCE are classes, or all its files one split.",
)
@click.option(
    "--class-folder",
    type=click.Choice(["first", "last"]),
    help="Where class folders hold only folders: the class is the first folder, or the path of the last.",
)
@click.option(
    "--val-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Without a val: hold out this share of train as val, of each class the same and by hash of the key, so that "
    "it is always the same images.",
)
@click_options(SampleOptions)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    help="Images per tar file.  [default: 1000, or as many thousands as keep a split at 10,000 files]",
)
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
@click.option(
    "--index",
    metavar="FILE",
    help="As --in-place, but the index is FILE (a .json), for tars in a place that is read-only; FILE then is the "
    "DATASET of other commands.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the splits, classes and numbers of images, and what would be left out, or why SOURCE is refused. Write "
    "nothing, read no pixels.",
)
@overwrite_option
def pack(
    source: str,
    dataset: str | None,
    split: tuple[str, ...],
    no_splits: bool,
    class_folder: Literal["first", "last"] | None,
    val_share: float | None,
    shard_size: int | None,
    shorter_side: int | None,
    quality: int,
    in_place: bool,
    index: str | None,
    dry_run: bool,
    overwrite: bool,
    **values: Any,
) -> None:
    """Pack the images of SOURCE into WebDataset shards in the folder DATASET.

    SOURCE is one of: an image folder (class/image), a Parquet file or folder in the Hugging Face layout (columns image
    and label), a folder of WebDataset tars, or the word digits for the built-in dataset. Any path can be a URL that
    fsspec supports.

    Splits are found by the words train, training; val, valid, validation, eval; test, testing in names of folders,
    tars and Parquet files (dataset_train/, Test-0.parquet, x-validation-00.tar), at SOURCE or below it. Without a val,
    test is packed as val, which is said. What cannot be read in one way only is refused; what is left out is counted.

    With --shorter-side, large images are shrunk. All others are stored unchanged, byte for byte. A call that was
    interrupted goes on when it is repeated: finished shards are kept if what they are made from is as it was.

    \b
    vit-tickets pack imagenet/ --dry-run
    vit-tickets pack imagenet/ data/imagenet --shorter-side 256
    vit-tickets pack photos/ data/photos --val-share 0.2
    vit-tickets pack cifar10/ data/cifar10
    vit-tickets pack val/ data/imagenet --labels-file LOC_val_solution.csv
    vit-tickets pack my-tars/ --in-place
    """
    from vit_tickets.pipeline.datasets import pack as packing
    from vit_tickets.pipeline.datasets.left_out import UNDECODABLE, counted
    from vit_tickets.pipeline.datasets.sources.split import Reading
    from vit_tickets.pipeline.system.locks import alone_in

    if index:
        in_place = True
        check_index(index, overwrite)
    if in_place and dataset not in (None, source):
        raise UserError(f"--in-place: expected no DATASET other than SOURCE, found {dataset}")
    if dataset is None and not in_place and not dry_run:
        raise UserError("expected a folder DATASET to write to, found none")
    if in_place and val_share is not None:
        raise UserError("--val-share: expected a DATASET to pack into, found --in-place, which leaves tars as they are")
    reading = Reading(no_splits=no_splits, class_folder=class_folder, samples=parsed(SampleOptions, values))
    if in_place:
        planned = packing.plan_in_place(source, split, reading)
        result = None if dry_run else packing.write_index(source, planned, index)
    elif dry_run or dataset is None:
        planned, result = packing.plan(source, dataset, split, reading, overwrite, val_share), None
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
                reading=reading,
                val_share=val_share,
            )
        planned = result.plan
    shown = source if dry_run else index or dataset or source
    for line in result.lines if result else planned.lines(shard_size):
        click.echo(f"{shown}: {line}")
    for entry in planned.left_out:
        click.echo(f"{shown}: {entry}")
    click.echo(f"{shown}: {counted(len(planned.classes), 'class')}")
    for note in planned.notes:
        click.echo(f"{shown}: {note}", err=True)
    if result and result.kept:
        click.echo(f"{result.kept:,} shards that an interrupted call had finished were kept", err=True)
    if dry_run:
        click.echo("dry run: nothing was written", err=True)
    elif result and (unshrunk := result.unshrunk):
        names = ", ".join(unshrunk[:5]) + (" ..." if len(unshrunk) > 5 else "")
        found = f"{counted(len(unshrunk), 'image')} could not be decoded and {'was' if len(unshrunk) == 1 else 'were'}"
        click.echo(f"{found} packed unchanged: {names} (all in {dataset}/SPLIT/{UNDECODABLE})", err=True)


def check_index(index: str, overwrite: bool) -> None:
    """Raise UserError if `index` cannot be the index of a dataset, or is there already."""
    from vit_tickets.pipeline.system import files

    if not index.lower().endswith(".json") or files.is_dir(index):
        raise UserError(f"--index: expected the name of a .json file, found {index}")
    if files.exists(index) and not overwrite:
        raise UserError(f"--index: {index} is there already; pass --overwrite to replace it")
