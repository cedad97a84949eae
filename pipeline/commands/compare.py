"""The compare command."""

from collections.abc import Sequence

import click

from vit_tickets.pipeline.commands.options import check_ticket, check_unused, splits_option
from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("manifests", nargs=-1, metavar="MANIFEST MANIFEST...")
@splits_option
@click.option("--dataset", help="Take the names of the classes, and for --gallery the images, from this dataset.")
@click.option("--maps", is_flag=True, help="Draw how often each patch is in the tickets, and where manifests differ.")
@click.option(
    "--gallery", metavar="FILE.png", help="Draw images with the scores and tickets of every manifest side by side."
)
@click.option("--images", type=click.IntRange(1), default=6, show_default=True, help="Number of images in --gallery.")
@click.option("--json", "json_file", metavar="FILE", help="Write all numbers to this file.")
def compare(
    manifests: tuple[str, ...],
    splits: tuple[str, ...],
    dataset: str | None,
    maps: bool,
    gallery: str | None,
    images: int,
    json_file: str | None,
) -> None:
    """Compare the tickets of two or more manifests of the same images, or two or more weight tickets.

    The manifests can differ in selector, method, budget or view. Images are matched by key. For every split and pair
    of manifests, this prints how far the tickets of an image overlap (IoU), how the ranks correlate, and in which
    classes the overlap is highest and lowest. Manifests with different views or grids are compared on the coarsest
    grid of the narrowest view; ranks are resampled to it as in training.

    If train and val are both compared, this also prints how far the tickets of train differ from those of val in
    position and in overlap. This matters because a selector may have been trained on the images that it selects
    patches of: compare its manifest with one made by `generate --cross-fit`.

    The option --gallery draws the same images, with what each manifest scores and keeps in them.

    For weight tickets of one network, this prints how far their masks overlap in each layer, and how far masks do
    that keep as many weights of each layer, drawn at random.

    \b
    vit-tickets compare manifests/digits-deit_micro-s0.75 manifests/digits-deit_micro-s0.75-cross-fit
    vit-tickets compare masks/digits-deit_micro-dense-seed0-w0.2 masks/digits-random
    """
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.inspection.overlap import overlap
    from vit_tickets.pipeline.inspection.overlap_report import MOST, describe, record_of
    from vit_tickets.pipeline.inspection.side_by_side import write_side_by_side
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.weights.ticket import is_weight_ticket

    if not 2 <= len(manifests) <= MOST:
        raise UserError(f"expected 2 to {MOST} manifests to compare, found {len(manifests)}")
    for root in manifests:
        check_ticket(root, "a manifest or weight ticket")
    if of_weights := [root for root in manifests if is_weight_ticket(root)]:
        if others := [root for root in manifests if root not in of_weights]:
            raise UserError(f"expected tickets of one kind, found the weight ticket {of_weights[0]} and {others[0]}")
        unused = {"--split": splits, "--dataset": dataset, "--maps": maps, "--gallery": gallery}
        check_unused(unused, of_weights[0])
        compare_weights(manifests, json_file)
        return
    opened = [Manifest.open(root) for root in manifests]
    for name in splits:
        for manifest in opened:
            manifest.split_record(name)
    chosen = splits or [name for name in opened[0].splits if all(name in other.splits for other in opened)]
    if not chosen:
        found = "; ".join(f"{', '.join(manifest.splits)} in {manifest.root}" for manifest in opened)
        raise UserError(f"expected a split that is in all manifests, found {found}")
    opened_dataset = Dataset.open(dataset) if dataset else None
    if gallery:
        if opened_dataset is None:
            raise UserError("--gallery: expected --dataset DATASET, to read the images from, found none")
        count = write_side_by_side(gallery, opened, opened_dataset, chosen[0], images)
        click.echo(f"{gallery}: {count} images of {chosen[0]}")
    classes = opened_dataset.classes if opened_dataset else None
    record = record_of(opened, {name: overlap(opened, name) for name in chosen}, classes)
    for line in describe(record, maps):
        click.echo(line)
    if json_file:
        files.write_json(json_file, record)


def compare_weights(roots: Sequence[str], json_file: str | None) -> None:
    """Print how far the masks of the weight tickets in the folders `roots` overlap, and write the numbers."""
    from vit_tickets.pipeline.inspection.weights_overlap import describe, overlaps, record_of
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.weights import ticket as tickets

    opened = [tickets.read(root) for root in roots]
    pairs = overlaps(opened)
    for line in describe(opened, pairs):
        click.echo(line)
    if json_file:
        files.write_json(json_file, record_of(opened, pairs))
