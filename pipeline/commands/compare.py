"""The command compare."""

import click

from vit_tickets.pipeline.system.errors import UserError


@click.command()
@click.argument("manifests", nargs=-1, metavar="MANIFEST MANIFEST...")
@click.option("--split", "splits", multiple=True, help="Only this split; may be given again.  [default: all]")
@click.option("--dataset", help="Name classes as this dataset does.")
@click.option("--maps", is_flag=True, help="Draw where in the image tickets lie, and where they differ.")
@click.option("--json", "json_file", metavar="FILE", help="Write all numbers to this file.")
def compare(manifests, splits, dataset, maps, json_file):
    """Compare the tickets of two or more manifests of the same images: of other selectors, methods, budgets, views.

    Says, split by split and for each pair, how far the tickets of an image overlap (IoU) and how their ranks
    correlate, in which classes most and least; and, for train against val, whether tickets lie elsewhere in the image,
    or overlap otherwise, where the selector was trained on the very images that it marks: compare a manifest with one
    that `generate --cross-fit` made. Images are matched by key. Manifests of other views and grids are compared on the
    coarsest grid of the narrowest view, to which ranks are resampled as in training.

    \b
    vit-tickets compare manifests/digits-deit_micro-s0.75 manifests/digits-deit_micro-s0.75-cross-fit
    """
    from vit_tickets.pipeline.datasets.shards import Dataset
    from vit_tickets.pipeline.inspection.overlap import overlap
    from vit_tickets.pipeline.inspection.overlap_report import MOST, describe, record_of
    from vit_tickets.pipeline.manifests.manifest import Manifest
    from vit_tickets.pipeline.system import files

    if not 2 <= len(manifests) <= MOST:
        raise UserError(f"expected 2 to {MOST} manifests to compare, found {len(manifests)}")
    opened = [Manifest.open(root) for root in manifests]
    for name in splits:
        for manifest in opened:
            manifest.split_record(name)
    chosen = splits or [name for name in opened[0].splits if all(name in other.splits for other in opened)]
    if not chosen:
        found = "; ".join(f"{', '.join(manifest.splits)} in {manifest.root}" for manifest in opened)
        raise UserError(f"expected a split that all have, found {found}")
    classes = Dataset.open(dataset).classes if dataset else None
    record = record_of(opened, {name: overlap(opened, name) for name in chosen}, classes)
    for line in describe(record, maps):
        click.echo(line)
    if json_file:
        files.write_json(json_file, record)
