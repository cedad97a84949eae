"""The verify command."""

import click

from vit_tickets.pipeline.system.errors import UserError, WorkFailed


@click.command()
@click.argument("path")
@click.option(
    "--dataset", help="Compare a manifest or label maps with this dataset, too: keys, labels, order and hashes."
)
def verify(path: str, dataset: str | None) -> None:
    """Check the dataset, manifest or label maps in the folder PATH, and print one line per fault.

    A dataset must hold exactly the tars that dataset.json lists, byte for byte. Every sample needs a unique key, an
    image and a valid class index. In a manifest, columns, types, provenance, ranks, tickets, random subsets, scores
    and sums are checked; in label maps columns, types, provenance, classes, logits and sums.

    The exit status is 0 if nothing is wrong, and 1 otherwise.

    \b
    vit-tickets verify data/digits
    vit-tickets verify manifests/digits-deit_micro-s0.75 --dataset data/digits
    vit-tickets verify manifests/labels/digits-deit_micro --dataset data/digits
    """
    from vit_tickets.pipeline.datasets import shards
    from vit_tickets.pipeline.manifests import labels
    from vit_tickets.pipeline.manifests import manifest as manifests
    from vit_tickets.pipeline.system import files
    from vit_tickets.pipeline.verification.datasets import verify_dataset
    from vit_tickets.pipeline.verification.labels import verify_labels
    from vit_tickets.pipeline.verification.manifests import verify_manifest

    if files.exists(files.join(path, manifests.INDEX)):
        index, findings = files.join(path, manifests.INDEX), verify_manifest(path, dataset, progress=True)
        checked = "columns, provenance, ranks, tickets, random subsets, scores, sums"
    elif files.exists(files.join(path, labels.INDEX)):
        index, findings = files.join(path, labels.INDEX), verify_labels(path, dataset, progress=True)
        checked = "columns, provenance, classes, logits, sums"
    elif files.exists(shards.index_of(path)):
        if dataset:
            raise UserError(f"--dataset: expected a manifest or label maps in PATH, found the dataset {path}")
        index, findings = shards.index_of(path), verify_dataset(path, progress=True)
        checked = "files, hashes, counts, keys, images, labels"
    else:
        expected = f"a dataset ({shards.INDEX}), a manifest ({manifests.INDEX}) or label maps ({labels.INDEX})"
        raise UserError(f"expected {expected} in {path}, found none")
    count = 0
    for finding in findings:
        click.echo(finding)
        count += 1
    if count:
        raise WorkFailed(f"{path}: {count} finding{'s' if count > 1 else ''}")
    splits = files.read_json(index)["splits"]
    sizes = ", ".join(f"{name} {entry['samples']:,} images" for name, entry in splits.items())
    against = f"; compared with {dataset}" if dataset else ""
    click.echo(f"ok: {path}: {sizes}: {checked}{against}")
